"""Paired differences as a table on the screen, for the commands that show them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from miram.evaluation.statistics.comparison import Comparison


def comparison_table(
    rows: "Sequence[Comparison]", where: str, delong: Mapping[str, float] | None = None
) -> "Table":
    """One row per method: difference, interval and p-values.

    Args:
        rows: At least one, all against one reference.
        where: On what they were judged.
        delong: p-values of DeLong's test by method, for a column of their own.
    """
    from rich.table import Table
    from rich.text import Text

    from miram.reporting.facts.words import interval, number, p_value

    title = f"{rows[0].metric} minus that of {rows[0].reference}: {where}"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("model", overflow="fold")
    heads = ["difference", "95 % interval", "p", "p, Holm", *(["p, DeLong"] if delong else [])]
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = [number(row.difference), interval(row.lower, row.upper)]
        cells += [p_value(row.p_value), p_value(row.p_holm)]
        if delong:
            cells += [p_value(delong[row.method])] if row.method in delong else [""]
        table.add_row(Text(row.method), *cells)
    return table


def holm_note(rows: "Sequence[Comparison]") -> str:
    """What the p-values are, and for how many models they are corrected."""
    from miram.reporting.facts.words import counted

    models = counted(len(rows), "model")
    return f"Differences: paired bootstrap over patients, two-sided p, Holm over {models}."


def means_note(seeds: Mapping[str, int], *, delong: bool = False) -> list[str]:
    """A line where metrics are means over several trainings, else none.

    Args:
        seeds: Number of trainings by model.
        delong: Whether DeLong's method would stand beside the metrics of a single training.
    """
    from miram.reporting.facts.words import listed

    several = {name: count for name, count in seeds.items() if count > 1}
    if not several:
        return []
    if len(several) == len(seeds) and len(set(several.values())) == 1:
        line = f"Metrics: mean over {next(iter(several.values()))} trainings of each model"
    else:
        counts = listed(f"{count} of {name}" for name, count in several.items())
        line = f"Metrics: mean over trainings, {counts}"
    return [f"{line}; DeLong is for one." if delong else f"{line}."]


def too_few_note(patients: int) -> list[str]:
    """A line where the patients are too few for any verdict, else none."""
    from miram.reporting.facts.findings import VERDICT_PATIENTS

    few = patients < VERDICT_PATIENTS
    return [f"{patients} patients are too few for a verdict."] if few else []
