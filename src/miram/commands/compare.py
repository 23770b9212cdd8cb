"""`miram compare`: is a method of a finished study better than another one?"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
        protocol: How methods were evaluated: `linear` or `finetuned`.
        strategy: How patients were split.
        leakage: What became of patients in both parts of the split.
        repeats: Number of cross-validations; metrics are means over these.
        data_digests: Name of the crop store that each was evaluated on; None where unknown.
        seed: Seed of the draws.
        comparisons: One per method, paired; Holm over all of them.
        left_out: Methods of the study that were not evaluated on the task.
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

    Differences are paired: each bootstrap draw evaluates both methods on the same
    patients. p is two-sided, and corrected after Holm for the number of methods.

    Example: miram compare miram_nystrom mae --reference random --task pathology
    """
    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.score_files import json_values

    given = {"bootstrap_draws": draws, "seed": seed}
    comparison = {"reference": reference, "metric": metric}
    settings = {name: value for name, value in given.items() if value is not None}
    chosen = {name: value for name, value in comparison.items() if value is not None}
    config = AssessmentConfig.model_validate({**settings, "comparison": chosen})
    found = compare_study(data_root, tuple(methods or ()), task, config, protocol)
    if as_json:
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
        methods: Their names; empty for all that were evaluated on the task.
        task: Name of the task.
        config: Reference, metric, draws and seed.
        protocol: How methods were evaluated.

    Raises:
        MiramError: There is no such method or task, nothing to compare, or methods were evaluated
            under different splits or on different lesions.
        StatisticsError: The task has no such metric.
    """
    from miram.commands.study import read_results
    from miram.errors import MiramError
    from miram.evaluation.results import data_digest, one_policy
    from miram.evaluation.statistics.metrics import require_metric
    from miram.reporting.facts.findings import paired_with_reference

    comparison = config.comparison
    wanted = _wanted(data_root, methods, comparison.reference, protocol)
    results = {name: read_results(data_root, name, protocol) for name in wanted}
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
    from miram.commands.study import methods_of
    from miram.errors import MiramError
    from miram.models.methods import BASELINES

    there = methods_of(data_root, protocol)
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


def _print(found: Compared) -> None:
    from rich.console import Console

    from miram.commands.comparison_table import comparison_table, metric_notes
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
