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
        where: On what they were evaluated.
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


def metric_notes(
    rows: "Sequence[Comparison]",
    seeds: Mapping[str, int],
    patients: int,
    *,
    draws: int,
    seed: int,
) -> list[str]:
    """Lines that say what intervals and p-values are, and what they rest on.

    Args:
        rows: The comparisons shown, if any.
        seeds: Number of trainings by model.
        patients: Number of patients.
        draws: Bootstrap draws.
        seed: Their seed.
    """
    from miram.evaluation.statistics.subgroups import MIN_PATIENTS
    from miram.reporting.facts.words import counted, listed

    lines = [
        "Intervals: 95 % percentile intervals of a bootstrap over patients, "
        f"{draws} draws, seed {seed}."
    ]
    if rows:
        models = counted(len(rows), "model")
        lines.append(
            f"Differences: paired bootstrap over patients, two-sided p, Holm over {models}."
        )
    several = {name: count for name, count in seeds.items() if count > 1}
    if len(several) == len(seeds) and len(set(several.values())) == 1:
        lines.append(f"Metrics: mean over {next(iter(several.values()))} trainings of each model.")
    elif several:
        counts = listed(f"{count} of {name}" for name, count in several.items())
        lines.append(f"Metrics: mean over trainings, {counts}.")
    if patients < MIN_PATIENTS:
        lines.append(f"{patients} patients are too few for a verdict.")
    return lines
