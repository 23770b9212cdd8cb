"""What a training keeps on the way, and when it may go on from what was kept."""

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

from miram.provenance import source_digest
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.state_files import (
    State,
    check_writable,
    differences,
    finish,
    finished_state,
    latest_state,
    refuse_difference,
    restart,
    save_state,
)
from miram.training.config import TrainingConfig, identity_of
from miram.training.logging.facts import Facts

log = logging.getLogger(__name__)

_RESULT = ("step", "model", "recorder")  # what stays of the state when a training has ended
_AFRESH = "training.resume=false"


@dataclass(frozen=True)
class Keep:
    """Where a training keeps its state, and what it is of.

    Attributes:
        folder: Where.
        identity: Whatever besides the budget the trained weights depend on, such as the method
            and the digest of the data; plain values.
    """

    folder: TrainingFolder
    identity: dict[str, Any]

    def part(self, name: str, **identity: Any) -> "Keep":
        """Of one of several trainings of a method, such as a fold."""
        return Keep(self.folder.part(name), {**self.identity, **identity})


def begun(
    training: TrainingConfig, folder: TrainingFolder
) -> tuple[TrainingConfig, TrainingFolder]:
    """Drop what earlier runs left, where that is asked for; once, before workers start.

    A worker that dies lets all start again. They are to go on from what they kept, whatever the
    user asked of the run as a whole.

    Args:
        training: The budget.
        folder: Of the training; those of its parts are emptied as well.

    Returns:
        The budget for the workers, which go on from what they find, and the folder.
    """
    if training.resume:
        return training, folder
    for place in {folder.path, *(path.parent for path in folder.path.rglob("*.pt"))}:
        restart(TrainingFolder(place))
    return training.model_copy(update={"resume": True}), replace(folder, afresh=True)


class Keeper:
    """Writes states when they are due and finds the one to go on from.

    Args:
        keep: Where and what; None keeps nothing.
        config: The budget.
        samples: How many are trained on.
        precision: In which it is computed, where the budget says `auto`.
        facts: Of this run.
        writes: Whether this process writes; one of several does.
    """

    def __init__(
        self,
        keep: Keep | None,
        config: TrainingConfig,
        samples: int,
        precision: str,
        facts: Facts,
        *,
        writes: bool,
    ) -> None:
        self.keep, self.config, self.writes = keep, config, writes
        self.saved_at = time.monotonic()
        self.about: State = {"code": source_digest(), "precision": precision, "facts": facts}
        if keep is not None:
            own = {"training": identity_of(config), "samples": samples}
            self.about["identity"] = own | keep.identity

    def find(self) -> State | None:
        """The state to go on from, or that of a finished training with the same settings.

        Raises:
            MiramError: The folder cannot be written to, or an interrupted training in it had
                other settings.
        """
        if self.keep is None:
            return None
        folder = self.keep.folder
        check_writable(folder)
        if not self.config.resume:
            restart(folder)
            return None
        state = finished_state(folder)
        if state is not None:
            if self._same(state):
                log.info(
                    "trained before with the same settings, data and code: taken from %s; %s "
                    "trains again",
                    folder.path,
                    _AFRESH,
                )
                return state
            if self.writes:
                restart(folder)
            return None
        found = latest_state(folder)
        if found is not None:
            kept, now = found["identity"], self.about["identity"]
            if "precision" in found:  # a training goes on in the numbers it began in
                kept, now = _with_precision(found), _with_precision(self.about)
            refuse_difference(kept, now, folder.path)
            if found["code"] != self.about["code"]:
                log.warning("the code changed since step %d was reached", found["step"])
        return found

    def _same(self, state: State) -> bool:
        changed = differences(state["identity"], self.about["identity"])
        if state["code"] != self.about["code"]:
            changed.append("the code of models and training")
        if changed:
            log.info("trained before, but training again: %s", "; ".join(changed[:3]))
        return not changed

    @property
    def same_command(self) -> str:
        """The command that goes on from what was kept, in words."""
        afresh = not self.config.resume or (self.keep is not None and self.keep.folder.afresh)
        return f"the same command without {_AFRESH}" if afresh else "the same command"

    def due(self, epochs: int | None) -> bool:
        """Whether a state should be written.

        Args:
            epochs: How many have been taken, if one has just ended.
        """
        every = self.config.checkpoints
        if epochs is not None and every.every_epochs and epochs % every.every_epochs == 0:
            return True
        late = every.every_minutes and time.monotonic() - self.saved_at > 60 * every.every_minutes
        return bool(late)

    def save(self, state: State) -> bool:
        """Write a state down, if this process does that; whether there is one on disk now."""
        self.saved_at = time.monotonic()
        if self.keep is None:
            return False
        if not self.writes:
            return True
        return save_state(self.keep.folder, self.about | state, self.config.checkpoints.keep)

    def finish(self, state: State) -> None:
        """Keep the result alone."""
        if self.keep is not None and self.writes:
            result = self.about | {name: state[name] for name in _RESULT}
            finish(self.keep.folder, result, self.same_command)


def _with_precision(state: State) -> dict[str, Any]:
    """Settings with the precision that was settled in place of `auto`."""
    identity: dict[str, Any] = state["identity"]
    training = {**identity["training"], "precision": state["precision"]}
    return {**identity, "training": training}
