"""The part of a model card that tells how well the encoder was judged."""

from typing import Any

import pandas as pd
from numpy import isfinite

from miram.evaluation.prediction_tables import subgroup_figures
from miram.evaluation.predictions import task_scores
from miram.models.names import SUPERVISED
from miram.reporting.method_facts import assessment_config
from miram.reporting.study import Study
from miram.reporting.styles import MAIN_FIGURES, figure_label
from miram.reporting.summary import RANDOM, majority_answer
from miram.reporting.tables import Table
from miram.reporting.words import interval, number, p_value

_REFERENCES = (RANDOM, SUPERVISED)


def task_section(study: Study, method: str, task: str) -> dict[str, Any]:
    """What a card says of one task.

    Args:
        study: The finished study.
        method: Name of the method.
        task: Name of a task that was evaluated.

    Returns:
        The task's facts from the metrics, and tables of its figures (`table`), classes
        (`classes_table`), other probes (`probes`) and other encoders (`beside`).
    """
    found = study.methods[method].metrics["tasks"][task]
    return {
        **found,
        "table": _figures(found),
        "beside": _beside(study, method, task),
        "guess": _guess(study, method, task),
        "classes_table": _classes(found),
        "probes": _probes(found),
    }


def _figures(found: dict[str, Any]) -> Table:
    """All figures; of several seeds or repeats with the standard deviation between them."""
    counts = {"seed": len(found.get("seeds", [0])), "repeat": found.get("repeats", 1)}
    several = [name for name, count in counts.items() if count > 1]
    rows = [
        (
            figure_label(name),
            values["estimate"],
            interval(values["lower"], values["upper"]),
            *(number(values[f"{name}_deviation"]) for name in several),
        )
        for name, values in found["figures"].items()
    ]
    heads = ("Figure", "Estimate", "95 % interval", *(f"SD over {name}s" for name in several))
    return Table(heads, tuple(rows))


def _classes(found: dict[str, Any]) -> Table:
    """Each class against the rest; empty for a binary task, whose figures say it already."""
    rows = [] if found["kind"] == "binary" else found.get("per_class", [])
    cells = [
        (row["class"], row["lesions"], row["patients"], *_area(row["figures"]["auc"]))
        for row in rows
    ]
    return Table(("Class", "Lesions", "Patients", "ROC AUC", "95 % interval"), tuple(cells))


def _probes(found: dict[str, Any]) -> Table:
    """The main figure when the features are read in another way."""
    main = next(name for name in MAIN_FIGURES if name in found["figures"])
    rows = [
        (name, *_area(probe["figures"][main])) for name, probe in found.get("protocols", {}).items()
    ]
    return Table(("Probe", figure_label(main), "95 % interval"), tuple(rows))


def _area(figure: dict[str, Any]) -> tuple[str, str]:
    return number(figure["estimate"]), interval(figure["lower"], figure["upper"])


def _guess(study: Study, method: str, task: str) -> str:
    """What an answer that looks at no image achieves, in words."""
    config = assessment_config(study)
    result = study.methods[method]
    found = result.metrics["tasks"][task]
    scores = task_scores(result.predictions, task)
    answer, share = majority_answer(
        scores, found["kind"], found["classes"], config.bootstrap_draws, config.seed
    )
    always = f"answering “{answer}”" if answer else "giving every label its more frequent value"
    what = "these lesions" if answer else "the single labels"
    return (
        f"Always {always} is right for {number(share.estimate)} of {what} "
        f"(95 % interval {interval(share.lower, share.upper)})."
    )


def _beside(study: Study, method: str, task: str) -> Table:
    """The main figure beside those of the untrained and the supervised encoder."""
    board = study.probes
    chosen = board[(board["task"] == task) & board["figure"].isin(MAIN_FIGURES)]
    names = list(dict.fromkeys([method, *_REFERENCES]))
    rows = [
        (row.method, row.estimate, interval(row.lower, row.upper), row.lesions, row.patients)
        for name in names
        for row in chosen[chosen["method"] == name].itertuples()
    ]
    head = figure_label(chosen["figure"].iloc[0]) if len(chosen) else "Figure"
    return Table(("Encoder", head, "95 % interval", "Lesions", "Patients"), tuple(rows))


def subgroup_sections(study: Study, method: str, table: pd.DataFrame | None) -> dict[str, Table]:
    """The main figure in every subgroup, by task; tasks without subgroups are absent.

    Args:
        study: The finished study.
        method: Name of the method.
        table: Table of `subgroup_figures` for this method; computed if not given.
    """
    if table is None:
        result = study.methods[method]
        table = subgroup_figures(
            result.predictions, study.lesions, result.metrics, assessment_config(study)
        )
    main = table[table["figure"].isin(MAIN_FIGURES)]
    heads = ("Subgroup", "Value", "Lesions", "Patients")
    return {
        str(task): Table(
            (*heads, figure_label(rows["figure"].iloc[0]), "95 % interval", "Verdict"),
            tuple(_subgroup_cells(row) for row in rows.itertuples()),
        )
        for task, rows in main.groupby("task", sort=False)
    }


def _subgroup_cells(row: Any) -> tuple[Any, ...]:
    verdict = f"{row.verdict} (p {p_value(row.p_holm)})" if isfinite(row.p_holm) else row.verdict
    ends = interval(row.lower, row.upper)
    return row.subgroup, row.value, row.lesions, row.patients, row.estimate, ends, verdict
