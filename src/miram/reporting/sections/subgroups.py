"""Does the main metric hold in every subgroup: a chart of two methods, and the table behind it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

from miram.evaluation.statistics.subgroups import MIN_PATIENTS, TOO_FEW
from miram.reporting.charts.drawing import LEVEL_LINE, error_bars, sentence
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.study import MethodResult, Study, joined
from miram.reporting.facts.words import Table, counted, interval, known_numbers, number, p_value
from miram.reporting.sections.section import Section
from miram.reporting.styles import MAIN_METRICS, chance_level, method_style

_NAMES = {"abnormality_type": "type"}
_ROW_HEIGHT = 44  # pixels per subgroup: two lines of text


class Subgroups(Section):
    """The main metric of the drawn methods by subgroup; tasks without subgroups are left out."""

    title = "Subgroups"
    template = "subgroups.html"

    def applies(self, study: Study) -> bool:
        """Whether a variable of the lesion table divides the evaluated lesions of any task."""
        return any(
            not subgroup_rows(study.methods, one.task, one.drawn).empty
            for one in study_findings(study)
        )

    def data(self, study: Study) -> dict[str, Any]:
        """Every task with its table, and the charts."""
        views, charts, compared, differing = [], {}, 0, 0
        for place, finding in enumerate(study_findings(study)):
            rows = subgroup_rows(study.methods, finding.task, finding.drawn)
            if rows.empty:
                continue
            chart = f"subgroups-{place}"
            charts[chart] = subgroup_figure(rows)
            verdicts = rows.loc[rows["method"] == finding.drawn[0], "verdict"]
            compared += int((~verdicts.isin([TOO_FEW, "undefined"])).sum())
            differing += int(verdicts.isin(["higher", "lower"]).sum())
            views.append({"finding": finding, "chart": chart, "table": subgroup_table(rows)})
        line = f"{differing} of {compared} subgroups differ significantly from the other lesions"
        if not compared:
            line = f"No subgroup has {MIN_PATIENTS} patients in it and outside it"
        return {"views": views, "charts": charts, "min_patients": MIN_PATIENTS, "line": line}


def subgroup_rows(
    methods: Mapping[str, MethodResult], task: str, names: Sequence[str]
) -> pd.DataFrame:
    """Main metric of the methods named in every subgroup of a task, grouped by subgroup."""
    table = joined({name: methods[name] for name in names}, "subgroups")
    table = table[(table["task"] == task) & table["metric"].isin(MAIN_METRICS)]
    return table if table.empty else table.iloc[np.argsort(_places(table), kind="stable")]


def _places(rows: pd.DataFrame) -> pd.Series:
    """Numbers of the subgroups of rows, in the order in which they appear."""
    return rows.groupby(["subgroup", "value"], sort=False).ngroup()


def subgroup_figure(rows: pd.DataFrame) -> Figure:
    """Draw the rows of `subgroup_rows` with their 95 % intervals.

    Subgroups with fewer patients than a verdict needs get an open marker; those without an
    interval are left out.
    """
    rows = rows[rows["lower"].notna()]
    if rows.empty:
        return sentence("Every subgroup lacks a class of this task, or has too few patients.")
    places, methods = _places(rows), rows["method"].unique()
    figure = Figure()
    for place, method in enumerate(methods):
        here = rows[rows["method"] == method]
        shift = 0.26 * (place - (len(methods) - 1) / 2)  # side by side within a row
        y = (places[rows["method"] == method] + shift).tolist()
        figure.add_scatter(x=here["estimate"].tolist(), y=y, **_markers(method, here))
    if (chance := chance_level(rows["metric"].iloc[0])) is not None:
        figure.add_vline(x=chance, line=LEVEL_LINE)
    labels = [_label(row) for row in rows.drop_duplicates(["subgroup", "value"]).itertuples()]
    figure.update_xaxes(range=[-0.02, 1.02], title="ROC AUC, 95 % interval")
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.4, -0.6]
    )
    return figure.update_layout(
        legend={"orientation": "h", "yanchor": "bottom", "y": 1},
        margin={"t": 40, "r": 16, "b": 50, "l": 16},
        height=100 + _ROW_HEIGHT * len(labels),
    )


def subgroup_table(rows: pd.DataFrame) -> Table:
    """The rows of `subgroup_rows` with lesions, patients, intervals and verdicts."""
    return Table.of(
        {
            "Subgroup": map(_name, rows.itertuples()),
            "Method": rows["method"],
            "Lesions": rows["lesions"],
            "Patients": rows["patients"],
            "Estimate": known_numbers(rows["estimate"].where(rows["lower"].notna())),
            "95 % interval": map(interval, rows["lower"], rows["upper"]),
            "Verdict": rows["verdict"],
            "Difference from the others": map(_difference, rows.itertuples()),
            "p, Holm": [p_value(p) if np.isfinite(p) else None for p in rows["p_holm"]],
        }
    )


def _difference(row: Any) -> str:
    if not np.isfinite(row.difference):
        return ""
    return f"{number(row.difference)} ({interval(row.difference_lower, row.difference_upper)})"


def _name(row: Any) -> str:
    return f"{_NAMES.get(row.subgroup, row.subgroup)}: {row.value}"


def _label(row: Any) -> str:
    size = f"{counted(int(row.lesions), 'lesion')}, {counted(int(row.patients), 'patient')}"
    return f"{escape(_name(row), quote=False)}<br><sub>{size}</sub>"


def _markers(method: str, rows: pd.DataFrame) -> dict[str, Any]:
    style = method_style(method)
    symbols = [style.symbol + "-open" * (verdict == TOO_FEW) for verdict in rows["verdict"]]
    return {
        "error_x": error_bars(rows),
        "mode": "markers",
        "marker": {"color": style.color, "symbol": symbols, "size": 9},
        "name": method,
        "text": [
            f"{escape(_name(row), quote=False)}: {number(row.estimate)} "
            f"({interval(row.lower, row.upper)})"
            f"<br>{row.lesions} lesions, {row.patients} patients: {row.verdict}"
            for row in rows.itertuples()
        ],
        "hovertemplate": "%{text}<extra>" + method + "</extra>",
    }
