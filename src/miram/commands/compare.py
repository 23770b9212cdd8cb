"""`miram compare`: is a method of a finished study better than another one?"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miram.commands.study import Protocol, complete_result

if TYPE_CHECKING:
    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.statistics.comparison import Comparison


@dataclass(frozen=True)
class Compared:
    """Methods of a study against a reference, on one task.

    Attributes:
        task: Name of the task.
        metric: The metric compared.
        protocol: How methods were judged: `linear` or `finetuned`.
        strategy: How patients were split.
        leakage: What became of patients on both sides of the split.
        repeats: How often patients were dealt into folds; metrics are means over these.
        data_digests: Name of the crop store that each was judged on; None where it was not told.
        seed: Seed of the draws.
        comparisons: One per method, paired; Holm over all of them.
        left_out: Methods of the study that were not judged on the task.
    """

    task: str
    metric: str
    protocol: str
    strategy: str
    leakage: str
    repeats: int
    data_digests: dict[str, str | None]
    seed: int
    comparisons: "tuple[Comparison, ...]"
    left_out: tuple[str, ...]


def compare(
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            help="methods or anchors; without names all methods of the study",
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
    metric: Annotated[
        str | None, typer.Option(help="metric compared; ROC AUC if not given")
    ] = None,
    protocol: Annotated[
        Protocol, typer.Option(help="linear: probes on frozen features; or finetuned")
    ] = Protocol.linear,
    data_root: Annotated[Path, typer.Option(help="folder of the study's data")] = Path("data"),
    draws: Annotated[int | None, typer.Option(help="bootstrap draws")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of the draws")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print the result for machines, on one line")
    ] = False,
) -> None:
    """Compare methods of a finished study with one of them, on the same patients.

    Differences are paired: each bootstrap draw judges both methods on the same
    patients. p is two-sided, and corrected after Holm for the number of methods.

    Example: miram compare miram_nystrom mae --reference random --task pathology
    """
    config = _config(
        {"bootstrap_draws": draws, "seed": seed}, {"reference": reference, "metric": metric}
    )
    found = compare_study(data_root, tuple(methods or ()), task, config, protocol)
    if as_json:
        from miram.evaluation.score_files.evaluate import json_values

        typer.echo(json.dumps(json_values(asdict(found)), allow_nan=False))
    else:
        _print(found)


def compare_study(
    data_root: Path,
    methods: tuple[str, ...],
    task: str,
    config: "AssessmentConfig",
    protocol: Protocol = Protocol.linear,
) -> Compared:
    """Compare methods of a study with `config.comparison.reference`.

    Args:
        data_root: Folder of the study's data.
        methods: Their names; empty for all that were judged on the task.
        task: Name of the task.
        config: Reference, metric, draws and seed.
        protocol: How methods were judged.

    Raises:
        MiramError: There is no such method, task or metric, nothing to compare, or methods were
            judged under different splits or on different lesions.
    """
    from miram.commands.study import read_results
    from miram.errors import MiramError
    from miram.evaluation.comparability import data_digest, one_policy
    from miram.reporting.facts.findings import paired_with_reference

    comparison = config.comparison
    wanted = _wanted(data_root, methods, comparison.reference, protocol)
    results = {name: read_results(data_root, name, protocol) for name in wanted}
    judged = {name: item for name, item in results.items() if task in item.metrics["tasks"]}
    missing = [name for name in (comparison.reference, *methods) if name not in judged]
    if missing:
        answered = results[missing[0]].metrics["tasks"]
        raise MiramError(
            f"{missing[0]} was not judged on the task {task!r}: choose among {', '.join(answered)}"
        )
    if len(judged) < 2:
        raise MiramError(f"there is no other method to compare with {comparison.reference!r}")
    one_policy({name: item.metrics for name, item in judged.items()})
    facts = judged[comparison.reference].metrics
    kind = facts["tasks"][task]["kind"]
    _require_figure(comparison.metric, kind, task)
    rows = paired_with_reference(
        {name: item.predictions for name, item in judged.items()},
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
        data_digests={name: data_digest(item.metrics) for name, item in judged.items()},
        seed=config.seed,
        comparisons=tuple(rows),
        left_out=tuple(name for name in wanted if name not in judged),
    )


def _config(given: dict[str, Any], comparison: dict[str, Any]) -> "AssessmentConfig":
    """Check what was given; what was not keeps the default of the evaluation."""
    from miram.evaluation.config import AssessmentConfig

    def named(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    return AssessmentConfig.model_validate({**named(given), "comparison": named(comparison)})


def _wanted(
    data_root: Path, methods: tuple[str, ...], reference: str, protocol: Protocol
) -> tuple[str, ...]:
    """The methods to read, the reference among them, each once."""
    from miram.commands.study import methods_of
    from miram.errors import MiramError
    from miram.models.methods import BASELINES

    there = methods_of(data_root, protocol)
    # As in the report, anchors take no part unless they are named: Holm counts every model.
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


def _require_figure(metric: str | None, kind: Any, task: str) -> None:
    from miram.errors import MiramError
    from miram.evaluation.statistics.metrics import metrics_of

    if metric is not None and metric not in metrics_of(kind):
        raise MiramError(
            f"the {kind} task {task!r} has no metric {metric!r}: choose among "
            f"{', '.join(metrics_of(kind))}"
        )


def _print(found: Compared) -> None:
    from rich.console import Console

    from miram.commands.comparison_table import (
        comparison_table,
        holm_note,
        means_note,
        too_few_note,
    )
    from miram.reporting.facts.words import counted

    first = found.comparisons[0]
    counts = f"{counted(first.lesions, 'lesion')} of {counted(first.patients, 'patient')}"
    console = Console(highlight=False)
    console.print(comparison_table(found.comparisons, f"{found.task}, {counts}"))
    lines = [
        f"Protocol: {found.protocol}. Data version: {_data_versions(found.data_digests)}.",
        f"Split: {found.strategy}{f', mean over {found.repeats} repeats' * (found.repeats > 1)}; "
        f"lesions of patients on both sides: {found.leakage}.",
        "Intervals: 95 % percentile intervals of a bootstrap over patients, "
        f"{first.draws} draws, seed {found.seed}.",
        holm_note(found.comparisons),
        *means_note(
            {first.reference: first.reference_seeds}
            | {row.method: row.seeds for row in found.comparisons}
        ),
        *too_few_note(first.patients),
        *(f"Left out: {name} was not judged on this task." for name in found.left_out),
    ]
    for line in lines:
        console.print(line, markup=False)


def _data_versions(digests: dict[str, str | None]) -> str:
    """The crop store of all methods, or that of each where they differ."""
    told = {name: digest or "not told" for name, digest in digests.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return ", ".join(f"{digest} of {name}" for name, digest in told.items())
