"""The state of a training on disk: written whole or not at all, the newest few kept."""

import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from miram.errors import MiramError, causes
from miram.files import check, recorded_path

log = logging.getLogger(__name__)

State = dict[str, Any]
"""Tensors and plain values by name; of a training it has `step`."""

_CHECKPOINTS = "step-*.pt"
_KEPT = 2  # states; the older one serves where the newest cannot be read


@dataclass(frozen=True)
class TrainingFolder:
    """Where a method's training keeps its checkpoints; the folder need not exist."""

    path: Path
    afresh: bool = False  # whether this command dropped what earlier ones left, as asked for

    @property
    def unfinished(self) -> bool:
        """Whether a training was interrupted here, so that the next one resumes it."""
        return any(self.path.glob(_CHECKPOINTS)) and not self.finished.exists()

    @property
    def finished(self) -> Path:
        """What a training leaves when it has reached its end."""
        return self.path / "finished.pt"

    def part(self, name: str) -> "TrainingFolder":
        """The folder of one of several trainings of a method, such as a fold or a seed."""
        return replace(self, path=self.path / name)

    def save(self, state: State) -> bool:
        """Write the state after a step and drop all but the newest; whether it was written.

        A failure costs a warning: what was kept before stays, and the training continues.
        """
        try:
            write_state(self.path / f"step-{state['step']:09d}.pt", state)
        except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
            log.warning(
                "the state after step %d could not be kept (%s): the training continues, and what "
                "was kept before stays",
                state["step"],
                error,
            )
            return False
        for old in self._newest_first()[_KEPT:]:
            old.unlink(missing_ok=True)
        return True

    def finish(self, state: State, again: str) -> None:
        """Write what a finished training leaves, and drop the states on the way.

        Raises:
            MiramError: It cannot be written; `again` is the command that resumes, in words.
        """
        try:
            write_state(self.finished, state)
        except (OSError, RuntimeError) as error:
            raise MiramError(
                f"the finished training could not be kept: {error}. Then {again} resumes from the "
                "last state kept"
            ) from error
        for old in self._newest_first():
            old.unlink(missing_ok=True)

    def clear(self) -> None:
        """Drop whatever an earlier training left."""
        for old in [self.finished, *self._newest_first()]:
            old.unlink(missing_ok=True)

    def latest(self) -> State | None:
        """Read the newest state that is readable; None where there is none."""
        for path in self._newest_first():
            state = _read_or_warn(path, "an older state is taken")
            if state is not None:
                return state
        return None

    def result(self) -> State | None:
        """Read what a finished training left; None where there is nothing, or nothing readable."""
        if not self.finished.exists():
            return None
        return _read_or_warn(self.finished, "the method is trained again")

    def check_writable(self) -> None:
        """Make sure that states can be written, before long work starts.

        Raises:
            MiramError: They cannot.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise MiramError(
                f"the training cannot keep its state in {self.path} ({error.strerror}): choose a "
                "folder you may write to with data_root"
            ) from error

    def _newest_first(self) -> list[Path]:
        return sorted(self.path.glob(_CHECKPOINTS), reverse=True)


def write_state(path: Path, state: State) -> None:
    """Write a state, whole or not at all."""
    import torch  # only here, so that commands that do not train need not wait for it

    with recorded_path(path) as temporary, temporary.open("wb") as file:
        # Through a file object, so that a full disk is an OSError with the system's words, which
        # torch's writer may hide behind its own.
        try:
            torch.save(state, file)
        except RuntimeError as error:
            raise next((one for one in causes(error) if isinstance(one, OSError)), error) from error


def read_state(path: Path) -> State:
    """Read a state; only tensors and plain values, so no code can come with it.

    Raises:
        MiramError: It is not what was written.
    """
    import torch

    check(path)
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _read_or_warn(path: Path, instead: str) -> State | None:
    try:
        return read_state(path)
    except Exception as error:  # whatever a damaged file makes the reader raise
        log.warning("%s cannot be read (%s): %s", path, error, instead)
        return None
