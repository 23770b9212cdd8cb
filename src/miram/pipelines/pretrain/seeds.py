"""The trainings of one method, one per seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from miram.training.checkpointing.folder import TrainingFolder

if TYPE_CHECKING:
    from miram.training.config import TrainingConfig


@dataclass(frozen=True)
class OneTraining:
    """One of the trainings of a method.

    Attributes:
        config: Its budget, with its one seed.
        folder: Where it keeps its state.
        prefix: Before the names of its figures; empty for the first.
    """

    config: "TrainingConfig"
    folder: TrainingFolder
    prefix: str


def each_training(training: "TrainingConfig", folder: TrainingFolder) -> Iterator[OneTraining]:
    """Give every training that is asked for, ready to begin.

    The figures of the first go by their plain names, those of the seeds behind it under a prefix
    such as `seed1/`: methods compare on the plain names.

    Args:
        training: The budget, with the seeds.
        folder: Of the method; with several seeds each has a part of it.
    """
    from miram.training.checkpointing.manager import start_afresh_once

    for place, one in enumerate(training.each_seed()):
        part = folder.part(f"seed{one.seed}") if training.seeds else folder
        yield OneTraining(*start_afresh_once(one, part), f"seed{one.seed}/" if place else "")
