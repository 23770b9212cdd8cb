"""A study as the commands see it: names for the shell, and results in its data folder."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from miram.errors import MiramError
from miram.files import check, versions_of

if TYPE_CHECKING:
    from miram.evaluation.results import Evaluation


def complete_method() -> list[str]:
    """Methods, for the shell's completion; typer leaves out what does not match."""
    from miram.models.methods import METHODS

    return list(METHODS)


def complete_result() -> list[str]:
    """Methods and baselines: all that a study has predictions of."""
    from miram.models.methods import BASELINES

    return [*complete_method(), *BASELINES]


class Stopped(MiramError):
    """A command was stopped by Ctrl-C and goes on where it is given again."""

    exit_code = 128 + signal.SIGINT  # as shells have it


@contextmanager
def resumable() -> Iterator[None]:
    """Say after Ctrl-C that the same command goes on.

    Raises:
        Stopped: Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped("stopped; the same command goes on from what is finished") from None


OneOrAllMethods = Annotated[
    str | None,
    typer.Argument(help="name of a method; all if not given", autocompletion=complete_method),
]


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


def methods_of(data_root: Path, protocol: Protocol = Protocol.linear) -> list[str]:
    """Names of the methods that a study has predictions of, in the order of the reports.

    Args:
        data_root: Folder of the study's data.
        protocol: How they were evaluated.

    Raises:
        MiramError: There are none.
    """
    from miram.models.methods import BASELINES, METHODS

    there = _outputs(data_root).glob(f"*/{protocol.file('predictions.parquet')}")
    found = {path.parent.name for path in there}
    if not found:
        raise MiramError(
            f"no {protocol.file('predictions')} under {_outputs(data_root)}: kedro run --pipeline "
            f"{protocol.pipeline} makes them, or name another folder with --data-root"
        )
    known = [name for name in (*METHODS, *BASELINES) if name in found]
    return [*known, *sorted(found - set(known))]


def read_results(
    data_root: Path, method: str, protocol: Protocol = Protocol.linear
) -> "Evaluation":
    """Read metrics and predictions of a method.

    Args:
        data_root: Folder of the study's data.
        method: One of `methods_of`.
        protocol: How it was evaluated.

    Raises:
        MiramError: Its metrics are missing, or a file is not what was written.
    """
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
