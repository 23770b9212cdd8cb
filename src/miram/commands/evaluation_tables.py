"""The metrics of any model's scores, as they are shown on the screen."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from miram.evaluation.score_files.evaluate import Evaluation


def print_evaluation(found: "Evaluation") -> None:
    """Show metrics, comparisons and what to know about them."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in found.warnings:
        console.print(Text(f"WARNING: {line}", style="bold red"))
    console.print(_metrics(found))
    if found.comparisons:
        console.print(_comparisons(found))
    for line in _notes(found):
        console.print(line, markup=False)


def _metrics(found: "Evaluation") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from miram.reporting.facts.words import interval as ends
    from miram.reporting.facts.words import number

    title = (
        f"{found.task} ({', '.join(found.classes)}): {found.lesions} lesions of "
        f"{found.patients} patients"
    )
    table = Table(title=Text(title), title_justify="left")
    for name in ("model", "metric"):
        table.add_column(name, overflow="fold")
    seeds = any(result.seeds > 1 for result in found.models.values())
    repeats = any(result.repeats > 1 for result in found.models.values())
    spreads = [*(["SD over seeds"] if seeds else []), *(["SD over repeats"] if repeats else [])]
    for name in ("estimate", "95 % interval", *spreads):
        table.add_column(name, justify="right", no_wrap=True)
    for model, result in found.models.items():
        table.add_section()
        shown = model
        for metric, interval in result.metrics.items():
            cells = [metric, number(interval.estimate), ends(interval.lower, interval.upper)]
            if seeds:
                cells.append(_spread(result.seed_deviation[metric]))
            if repeats:
                cells.append(_spread(result.repeat_deviation[metric]))
            table.add_row(Text(shown), *cells)
            shown = ""
            if metric == "auc" and result.delong:
                delong = result.delong
                area, width = number(delong.auc), ends(delong.lower, delong.upper)
                table.add_row("", "auc, DeLong", area, width)
    return table


def _spread(deviation: float | None) -> str:
    from miram.reporting.facts.words import number

    return "" if deviation is None else number(deviation)


def _comparisons(found: "Evaluation") -> "Table":
    from miram.commands.comparison_table import comparison_table

    delong = {}
    if found.comparisons[0].metric == "auc":
        tests = {name: model.delong_test for name, model in found.models.items()}
        delong = {name: test.p_value for name, test in tests.items() if test is not None}
    return comparison_table(found.comparisons, "the same lesions", delong)


def _notes(found: "Evaluation") -> list[str]:
    from miram.commands.comparison_table import holm_note, means_note, too_few_note
    from miram.reporting.facts.words import interval, number

    majority = found.majority
    answer = (
        f"Always answering {found.majority_answer!r}"
        if found.majority_answer
        else "Giving every label its more frequent value"
    )
    ends = interval(majority.lower, majority.upper)
    lines = [
        f"{answer} has an accuracy of {number(majority.estimate)} ({ends}).",
        "Intervals: 95 % percentile intervals of a bootstrap over patients, "
        f"{found.config.draws} draws, seed {found.config.seed}.",
    ]
    seeds = {name: model.seeds for name, model in found.models.items()}
    lines += means_note(seeds, delong=found.kind == "binary")
    lines += [
        f"The scores of {name} are of the protocol {model.protocol}, the only one it has."
        for name, model in found.models.items()
        if model.protocol not in (None, found.config.protocol)
    ]
    if found.comparisons:
        lines.append(holm_note(found.comparisons))
    lines += _beside(found)
    lines += too_few_note(found.patients)
    lines += [f"Left out: {row.lesions} {row.what}: {row.reason}." for row in found.skipped]
    if found.unscored:
        lines.append(f"{found.unscored} lesions of the label table have no score.")
    return lines


def _beside(found: "Evaluation") -> list[str]:
    """Say of which metrics an estimate lies beside its own interval, and why that can be."""
    names = dict.fromkeys(
        metric
        for result in found.models.values()
        for metric, interval in result.metrics.items()
        if interval.estimate < interval.lower or interval.estimate > interval.upper
    )
    if not names:
        return []
    return [
        f"{', '.join(names)}: some estimates lie beside their own interval. Resampling repeats "
        "lesions, which shifts such a metric in every draw."
    ]
