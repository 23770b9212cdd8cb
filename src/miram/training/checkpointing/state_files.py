"""The state of a training on disk: written whole or not at all, the newest few kept."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from miram.configuration import flatten
from miram.errors import MiramError
from miram.files import atomic_path
from miram.training.checkpointing.folder import CHECKPOINTS, TrainingFolder

log = logging.getLogger(__name__)

State = dict[str, Any]
_NAMED = 6  # differences told in one message


def save_state(folder: TrainingFolder, state: State, keep: int) -> bool:
    """Write the state after a step, and drop all but the newest.

    A failure costs a warning: what was kept before stays, and the training goes on.

    Args:
        folder: Where.
        state: Has `step`; tensors and plain values by name.
        keep: How many of the newest stay.

    Returns:
        Whether it was written.
    """
    path = folder.path / f"step-{state['step']:09d}.pt"
    try:
        write_state(path, state)
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
        log.warning(
            "the state after step %d could not be kept (%s): the training goes on, and what was "
            "kept before stays",
            state["step"],
            error,
        )
        return False
    for old in _newest_first(folder)[keep:]:
        old.unlink(missing_ok=True)
    return True


def write_state(path: Path, state: State) -> None:
    """Write a state, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        # Through a file object, so that a full disk is an OSError with the system's words.
        torch.save(state, file)


def finish(folder: TrainingFolder, state: State, again: str) -> None:
    """Write what a finished training leaves, and drop the states on the way.

    Args:
        folder: Where.
        state: What stays.
        again: The command that goes on from the last state, in words.

    Raises:
        MiramError: It cannot be written.
    """
    try:
        write_state(folder.finished, state)
    except (OSError, RuntimeError) as error:
        raise MiramError(
            f"the finished training cannot be written to {folder.path} ({error}): make room, then "
            f"run {again}, which goes on from the last state kept"
        ) from error
    for old in _newest_first(folder):
        old.unlink(missing_ok=True)


def restart(folder: TrainingFolder) -> None:
    """Drop whatever an earlier training left."""
    for old in [folder.finished, *_newest_first(folder)]:
        old.unlink(missing_ok=True)


def latest_state(folder: TrainingFolder) -> State | None:
    """Read the newest state that is readable; None where there is none."""
    for path in _newest_first(folder):
        state = _read_or_warn(path, "an older state is taken")
        if state is not None:
            return state
    return None


def finished_state(folder: TrainingFolder) -> State | None:
    """Read what a finished training left; None where there is nothing, or nothing readable."""
    if not folder.finished.exists():
        return None
    return _read_or_warn(folder.finished, "the method is trained again")


def _read_or_warn(path: Path, instead: str) -> State | None:
    try:
        return read_state(path)
    except Exception as error:  # whatever a damaged file makes the reader raise
        log.warning("%s cannot be read (%s): %s", path, error, instead)
        return None


def read_state(path: Path) -> State:
    """Read a state; only tensors and plain values, so no code can come with it."""
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def check_writable(folder: TrainingFolder) -> None:
    """Make sure that states can be written, before long work starts.

    Raises:
        MiramError: They cannot.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.path):
            pass
    except OSError as error:
        raise MiramError(
            f"the training cannot keep its state in {folder.path} ({error.strerror}): choose a "
            "folder you may write to with data_root"
        ) from error


def refuse_difference(kept: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with other settings or other data.

    Args:
        kept: Settings of the interrupted training, nested.
        now: Settings of this one.
        folder: Where the interrupted one is.

    Raises:
        MiramError: They differ; the differences are named.
    """
    found = differences(kept, now)
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise MiramError(
            f"an interrupted training in {folder} had other settings: "
            f"{'; '.join(found[:_NAMED])}{more}. Give the settings it had, or start afresh with "
            "--params training.resume=false"
        )


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Tell where two nested sets of settings differ, such as `training.seed: was 0, is 1`."""
    before, after = flatten(kept), flatten(now)
    return [
        f"{name}: was {before.get(name, 'absent')}, is {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _newest_first(folder: TrainingFolder) -> list[Path]:
    return sorted(folder.path.glob(CHECKPOINTS), reverse=True)
