"""The report: one self-contained HTML page about a whole study."""

import base64
import gzip
import inspect
import json
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from miram.errors import MiramError
from miram.mammography.sources import source_note
from miram.provenance import git_commit, versions
from miram.reporting.facts.data import data_facts, split_facts
from miram.reporting.facts.methods import most_runs, over_runs, saw_images
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import ends, number, p_value, percent, percents
from miram.reporting.sections import SECTIONS, Section
from miram.reporting.styles import method_style


def render_report(
    study: Study, sections: Sequence[Section] = SECTIONS, day: date | None = None
) -> str:
    """Write the page of a study.

    The page needs no network and no other file, and the same study gives the same page. It shows
    the sections that apply, in their order.

    Raises:
        MiramError: Two sections share an anchor or the place of a chart.
    """
    shown = [section for section in sections if section.applies(study)]
    folders = {Path(inspect.getfile(type(section).data)).parent for section in shown}
    environment, shared = _environment(tuple(sorted(folders))), shared_facts(study)
    parts: list[tuple[Section, str, Markup]] = []
    charts: dict[str, Any] = {}
    for section in shown:
        data = section.data(study)
        own = _plain(data.get("charts", {}))
        _require_new(section, own, charts, [part for part, *_ in parts])
        charts |= own
        template = environment.get_template(section.template)
        # The template has escaped all values.
        html = Markup(template.render({**shared, **data, "charts": own}))  # nosec B704
        parts.append((section, data.get("line", ""), html))
    return environment.get_template("report.html").render(
        **shared,
        sections=parts,
        facts=data_facts(study),
        methods=len(study.methods),
        day=f"{day.day} {day:%B %Y}" if day else "",
        digest=study.crops.digest,
        note=source_note(study.source),
        charts=charts,
        commit=git_commit(),
        versions=versions(),
        plotly=Markup(_packed_plotly()),  # nosec B704
    )


def shared_facts(study: Study) -> dict[str, Any]:
    """What the macros of every section need.

    Returns:
        `split`: `SplitFacts`; `saw_images`: methods that saw images of the evaluated patients;
        `over_runs`: what estimates are means over, in words; `first_run`: of which seed or repeat
        a curve is that cannot be a mean; `styles`: by method; `draws`: of the bootstrap.
    """
    names = [*study.methods, *study.leaderboard["method"]]
    return {
        "split": split_facts(study.splits),
        "saw_images": saw_images(study),
        "over_runs": over_runs(study.methods),
        "first_run": " and ".join(most_runs(study.methods)),
        "styles": {name: method_style(name) for name in names},
        "draws": study.assessment.bootstrap_draws,
    }


@cache
def _environment(folders: tuple[Path, ...]) -> Environment:
    """Templates of miram and those beside sections of one's own, each compiled once."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("miram.reporting"), FileSystemLoader(folders)]),
        autoescape=True,
        undefined=StrictUndefined,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        signed="{:+.3f}".format,
        interval=ends,
        p_value=p_value,
        percent=percent,
        percents=percents,
    )
    return environment


def _require_new(
    section: Section, own: Mapping[str, Any], charts: Mapping[str, Any], earlier: list[Section]
) -> None:
    twice = {*own} & {*charts} | {section.anchor} & {one.anchor for one in earlier}
    if twice:
        raise MiramError(
            f"two sections of the report use the id {min(twice)!r}: rename the template or the "
            f"chart of {type(section).__name__}"
        )


@cache
def _packed_plotly() -> str:
    """The plotting library, compressed to two fifths; the browser unpacks it."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode("ascii")


def _plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Charts as plain JSON values; the page brings its own light and dark theme."""
    return {
        name: json.loads(figure.update_layout(template="none").to_json())
        for name, figure in figures.items()
    }
