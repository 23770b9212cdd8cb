"""The trainings of one method, one per seed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from miram.training.folder import TrainingFolder

if TYPE_CHECKING:
    from miram.training.config import TrainingConfig


def each_training(
    training: "TrainingConfig", folder: TrainingFolder
) -> Iterator[tuple["TrainingConfig", TrainingFolder]]:
    """Give the budget and the folder of every training that is asked for.

    While one is under way, its figures go by their plain names, those of the seeds behind the
    first under a prefix such as `seed1/`: methods compare on the plain names.

    Args:
        training: The budget, with the seeds.
        folder: Of the method; with several seeds each has a part of it.
    """
    from miram.training.keeping import begun
    from miram.training.telemetry import told_under

    for place, one in enumerate(training.each_seed()):
        part = folder.part(f"seed{one.seed}") if training.seeds else folder
        with told_under(f"seed{one.seed}/" if place else ""):
            yield begun(one, part), part
