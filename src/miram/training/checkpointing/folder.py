"""The folder in which a training keeps what it needs to go on after an interruption."""

from dataclasses import dataclass, replace
from pathlib import Path

CHECKPOINTS = "step-*.pt"
FINISHED = "finished.pt"


@dataclass(frozen=True)
class TrainingFolder:
    """Where a method's training keeps its checkpoints.

    Attributes:
        path: The folder; it need not exist.
        afresh: Whether this command dropped what earlier ones had left here, as asked for by
            `training.resume=false`.
    """

    path: Path
    afresh: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether a training was interrupted here, so that the next one goes on."""
        return any(self.path.glob(CHECKPOINTS)) and not self.finished.exists()

    @property
    def finished(self) -> Path:
        """What a training leaves when it has reached its end."""
        return self.path / FINISHED

    def part(self, name: str) -> "TrainingFolder":
        """The folder of one of several trainings of a method, such as a fold or a seed."""
        return replace(self, path=self.path / name)
