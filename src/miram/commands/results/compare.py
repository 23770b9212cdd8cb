"""`miram compare`: is a method of a finished study better than another one?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from miram.commands.options import (
    AsJson,
    ComparedMetric,
    DataRoot,
    Draws,
    DrawsSeed,
    complete_result,
    given,
)
from miram.errors import MiramError
from miram.files import check, versions_of
from miram.models.methods import BASELINES, METHODS

if TYPE_CHECKING:
    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.results import Evaluation
    from miram.evaluation.statistics.comparison import Comparison


class Protocol(StrEnum):
    """How methods were evaluated: by a probe on frozen features, or fine-tuned."""

    linear = "linear"
    finetuned = "finetuned"

    @property
    def pipeline(self) -> str:
        """The pipeline that evaluates so."""
        return "finetune" if self is Protocol.finetuned else "probe"

    def file(self, name: str) -> str:
        """Name of a file that this pipeline left, such as `metrics.json`."""
        return f"finetuned_{name}" if self is Protocol.finetuned else name


@dataclass(frozen=True)
class Compared:
    """Methods of a study against a reference, on one task."""

    task: str
    metric: str
    protocol: str
    strategy: str  # how patients were split
    leakage: str  # what became of patients in both parts of the split
    repeats: int  # cross-validations; metrics are means over these
    data_digests: dict[str, str | None]  # of the crops of each method; None where unknown
    seed: int  # of the draws
    comparisons: "tuple[Comparison, ...]"  # paired; Holm over all of them
    left_out: tuple[str, ...]  # methods that were not evaluated on the task


def compare(
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            help="methods or hand-crafted baselines; without names all methods of the study",
            autocompletion=complete_result,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="what they are compared with; random if not given",
            autocompletion=complete_result,
        ),
    ] = None,
    task: Annotated[str, typer.Option(help="name of the task")] = "pathology",
    metric: ComparedMetric = None,
    protocol: Annotated[
        Protocol, typer.Option(help="linear: probes on frozen features; or finetuned")
    ] = Protocol.linear,
    data_root: DataRoot = Path("data"),
    draws: Draws = None,
    seed: DrawsSeed = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods of a finished study with one of them, on the same patients.

    Differences are paired: each bootstrap draw evaluates both methods on the same
    patients. p is two-sided, and corrected after Holm for the number of methods.

    Example: miram compare miram_nystrom mae --reference random --task pathology
    """
    from pydantic_core import to_json

    from miram.evaluation.config import AssessmentConfig

    comparison = given(reference=reference, metric=metric)
    settings = given(bootstrap_draws=draws, seed=seed, comparison=comparison)
    config = AssessmentConfig.model_validate(settings)
    found = compare_study(data_root, tuple(methods or ()), task, config, protocol)
    if as_json:
        typer.echo(to_json(found, inf_nan_mode="null").decode())
    else:
        _print(found)


def compare_study(
    data_root: Path,
    methods: tuple[str, ...],
    task: str,
    config: "AssessmentConfig",
    protocol: Protocol,
) -> Compared:
    """Compare methods, or all that were evaluated, with `config.comparison.reference`.

    Raises:
        MiramError: There is no such method or task, nothing to compare, or methods were evaluated
            under different splits or on different lesions.
        StatisticsError: The task has no such metric.
    """
    from miram.evaluation.results import data_digest, one_policy
    from miram.evaluation.statistics.metrics import require_metric
    from miram.reporting.facts.findings import paired_with_reference

    comparison = config.comparison
    wanted = _wanted(data_root, methods, comparison.reference, protocol)
    results = {name: _read(data_root, name, protocol) for name in wanted}
    found = {name: item for name, item in results.items() if task in item.metrics["tasks"]}
    missing = [name for name in (comparison.reference, *methods) if name not in found]
    if missing:
        answered = results[missing[0]].metrics["tasks"]
        raise MiramError(
            f"{missing[0]} was not evaluated on the task {task!r}: choose among "
            f"{', '.join(answered)}"
        )
    if len(found) < 2:
        raise MiramError(f"there is no other method to compare with {comparison.reference!r}")
    one_policy({name: item.metrics for name, item in found.items()})
    facts = found[comparison.reference].metrics
    kind = facts["tasks"][task]["kind"]
    if comparison.metric is not None:
        require_metric(comparison.metric, kind)
    rows = paired_with_reference(
        {name: item.predictions for name, item in found.items()},
        task,
        kind,
        comparison,
        draws=config.bootstrap_draws,
        seed=config.seed,
    )
    return Compared(
        task=task,
        metric=comparison.metric_for(kind),
        protocol=protocol.value,
        strategy=facts["strategy"],
        leakage=facts["leakage"],
        repeats=facts.get("repeats", 1),
        data_digests={name: data_digest(item.metrics) for name, item in found.items()},
        seed=config.seed,
        comparisons=tuple(rows),
        left_out=tuple(name for name in wanted if name not in found),
    )


def _wanted(
    data_root: Path, methods: tuple[str, ...], reference: str, protocol: Protocol
) -> tuple[str, ...]:
    """The methods to read, the reference among them, each once."""
    there = _methods_of(data_root, protocol)
    # As in the report, baselines take no part unless they are named: Holm counts every model.
    usual = [name for name in there if name not in BASELINES]
    wanted = tuple(dict.fromkeys((reference, *(methods or usual))))
    for name in wanted:
        if name not in there:
            if protocol is Protocol.finetuned:
                raise MiramError(
                    f"{name!r} was not fine-tuned in this study: choose method and --reference "
                    f"among {', '.join(there)}, or run finetune for it"
                )
            raise MiramError(f"{name!r} is not in this study: choose among {', '.join(there)}")
    return wanted


def _methods_of(data_root: Path, protocol: Protocol) -> list[str]:
    """Names of the methods that a study has predictions of, in the order of the reports."""
    there = _outputs(data_root).glob(f"*/{protocol.file('predictions.parquet')}")
    found = {path.parent.name for path in there}
    if not found:
        raise MiramError(
            f"no {protocol.file('predictions')} under {_outputs(data_root)}: kedro run --pipeline "
            f"{protocol.pipeline} makes them, or name another folder with --data-root"
        )
    known = [name for name in (*METHODS, *BASELINES) if name in found]
    return [*known, *sorted(found - set(known))]


def _read(data_root: Path, method: str, protocol: Protocol) -> "Evaluation":
    """Metrics and predictions of a method, checked to be what was written."""
    import pandas as pd

    from miram.evaluation.results import Evaluation

    folder, metrics = _outputs(data_root) / method, protocol.file("metrics.json")
    versions = versions_of(folder / metrics)
    if not versions:
        raise MiramError(
            f"{folder} holds predictions without {metrics}: "
            f"kedro run --pipeline {protocol.pipeline} --namespaces {method} makes both"
        )
    table = folder / protocol.file("predictions.parquet")
    check(versions[-1])
    check(table)
    metrics = json.loads(versions[-1].read_text(encoding="utf-8"))
    predictions = pd.read_parquet(table)
    if protocol is Protocol.finetuned:
        # There is but one protocol, which readers of the table do not know by name.
        predictions = predictions.drop(columns="protocol")
    return Evaluation(metrics, predictions)


def _outputs(data_root: Path) -> Path:
    return data_root / "07_model_output"


def _print(found: Compared) -> None:
    from miram.reporting.facts.words import counted

    first = found.comparisons[0]
    counts = f"{counted(first.lesions, 'lesion')} of {counted(first.patients, 'patient')}"
    console = Console(highlight=False)
    console.print(comparison_table(found.comparisons, f"{found.task}, {counts}"))
    digests = {name: digest or "unknown" for name, digest in found.data_digests.items()}
    versions = set(digests.values())
    each = ", ".join(f"{digest} of {name}" for name, digest in digests.items())
    repeats = f", mean over {found.repeats} repeats" if found.repeats > 1 else ""
    seeds = {row.method: row.seeds for row in found.comparisons}
    lines = [
        f"Protocol: {found.protocol}. "
        f"Data version: {versions.pop() if len(versions) == 1 else each}.",
        f"Split: {found.strategy}{repeats}; lesions of patients in both parts: {found.leakage}.",
        *metric_notes(
            found.comparisons,
            {first.reference: first.reference_seeds} | seeds,
            first.patients,
            draws=first.draws,
            seed=found.seed,
        ),
        *(f"Left out: {name} was not evaluated on this task." for name in found.left_out),
    ]
    for line in lines:
        console.print(line, markup=False)


def comparison_table(
    rows: "Sequence[Comparison]", where: str, delong: Mapping[str, float] | None = None
) -> Table:
    """One row per method: difference, interval and p-values; of DeLong's test by method."""
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
    trainings: Mapping[str, int],
    patients: int,
    *,
    draws: int,
    seed: int,
) -> list[str]:
    """Lines that say what intervals and p-values are, and what they rest on."""
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
    several = {name: count for name, count in trainings.items() if count > 1}
    if len(several) == len(trainings) and len(set(several.values())) == 1:
        lines.append(f"Metrics: mean over {next(iter(several.values()))} trainings of each model.")
    elif several:
        counts = listed(f"{count} of {name}" for name, count in several.items())
        lines.append(f"Metrics: mean over trainings, {counts}.")
    if patients < MIN_PATIENTS:
        lines.append(f"{patients} patients are too few for a verdict.")
    return lines
