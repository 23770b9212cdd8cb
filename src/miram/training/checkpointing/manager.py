"""What a training keeps on the way, when it may resume from it, and which weights were best."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from miram.configuration import flatten
from miram.errors import MiramError
from miram.provenance import TRAINING_CODE, code_digest
from miram.training.checkpointing.folder import State, TrainingFolder
from miram.training.config import TrainingConfig, identity_of
from miram.training.logging.history import Facts

log = logging.getLogger(__name__)

VALIDATION_LOSS = "validation_log_loss"  # the metric that decides between equals
_RESULT = ("step", "model", "recorder")  # what stays of the state when a training has ended
_AFRESH = "training.resume=false"
_NAMED = 6  # differences named in one message


@dataclass(frozen=True)
class Checkpoints:
    """Where a training keeps its state, and what it is of.

    Attributes:
        folder: Where.
        identity: Whatever besides the budget the trained weights depend on, such as the method
            and the digest of the data; plain values.
        code: Packages of miram whose code the weights depend on.
    """

    folder: TrainingFolder
    identity: dict[str, Any]
    code: tuple[str, ...] = TRAINING_CODE


def start_afresh_once(
    training: TrainingConfig, folder: TrainingFolder
) -> tuple[TrainingConfig, TrainingFolder]:
    """Drop what earlier runs left, where `resume` is false; to be called before workers start.

    A worker that dies lets all start again. They are to resume from what they kept, whatever the
    user asked of the run as a whole: so says the budget that is given back. The folders of the
    training's parts are emptied as well.
    """
    if training.resume:
        return training, folder
    for place in {folder.path, *(path.parent for path in folder.path.rglob("*.pt"))}:
        TrainingFolder(place).clear()
    return training.model_copy(update={"resume": True}), replace(folder, afresh=True)


class CheckpointManager:
    """Writes states when they are due and finds the one to resume from.

    `precision` is what the budget's `auto` stood for. Of several processes one `writes`.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        config: TrainingConfig,
        samples: int,
        precision: str,
        facts: Facts,
        *,
        writes: bool,
    ) -> None:
        self.folder = checkpoints.folder if checkpoints else None
        self.config, self.writes, self.saved_at = config, writes, time.monotonic()
        self.about: State = {"precision": precision, "facts": facts}
        if checkpoints:
            own = {"training": identity_of(config), "samples": samples}
            self.about["identity"] = own | checkpoints.identity
            self.about["code"] = code_digest(*checkpoints.code)

    def find(self) -> State | None:
        """The state to resume from, or that of a finished training with the same settings.

        Raises:
            MiramError: The folder cannot be written to, or an interrupted training in it had
                other settings.
        """
        if self.folder is None:
            return None
        self.folder.check_writable()
        if not self.config.resume:
            self.folder.clear()
            return None
        state = self.folder.result()
        if state is not None:
            if self._same(state):
                log.info(
                    "trained before with the same settings, data and code: taken from %s; %s "
                    "trains again",
                    self.folder.path,
                    _AFRESH,
                )
                return state
            if self.writes:
                self.folder.clear()
            return None
        state = self.folder.latest()
        if state is not None:
            self._refuse_other_settings(state)
            if state["code"] != self.about["code"]:
                log.warning("the code changed since step %d was reached", state["step"])
        return state

    def _same(self, state: State) -> bool:
        changed = differences(state["identity"], self.about["identity"])
        if state["code"] != self.about["code"]:
            changed.append("the code of models and training")
        if changed:
            log.info("trained before, but training again: %s", "; ".join(changed[:3]))
        return not changed

    def _refuse_other_settings(self, state: State) -> None:
        # A training resumes in the numbers it began in, also where `auto` stood for them.
        found = differences(_with_precision(state), _with_precision(self.about))
        if found and self.folder:
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            raise MiramError(
                f"an interrupted training in {self.folder.path} had other settings: "
                f"{'; '.join(found[:_NAMED])}{more}. Give the settings it had, or start afresh "
                f"with --params {_AFRESH}"
            )

    @property
    def same_command(self) -> str:
        """The command that resumes from what was kept, in words."""
        afresh = not self.config.resume or (self.folder is not None and self.folder.afresh)
        return f"the same command without {_AFRESH}" if afresh else "the same command"

    def due(self, epochs: int | None) -> bool:
        """Whether a state should be written; `epochs` have been taken, if one has just ended."""
        every = self.config.checkpoints
        if epochs is not None and every.every_epochs and epochs % every.every_epochs == 0:
            return True
        late = every.every_minutes and time.monotonic() - self.saved_at > 60 * every.every_minutes
        return bool(late)

    def save(self, state: State) -> bool:
        """Write a state down, if this process does that; whether there is one on disk now."""
        self.saved_at = time.monotonic()
        if self.folder is None:
            return False
        return self.folder.save(self.about | state) if self.writes else True

    def finish(self, state: State) -> None:
        """Keep the result alone."""
        if self.folder is not None and self.writes:
            result = self.about | {name: state[name] for name in _RESULT}
            self.folder.finish(result, self.same_command)


def _with_precision(state: State) -> dict[str, Any]:
    """Settings with the precision that was settled in place of `auto`."""
    identity: dict[str, Any] = state["identity"]
    training = {**identity["training"], "precision": state["precision"]}
    return {**identity, "training": training}


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two nested sets of settings differ, such as `training.seed: was 0, is 1`."""
    before, after = flatten(kept), flatten(now)
    return [
        f"{name}: was {before.get(name, 'absent')}, is {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


class BestWeights:
    """The weights with which a validation metric was highest.

    Of equals those with the least `validation_log_loss` count, where validation gives it, and
    else the earliest: where classes are separated perfectly, early weights have the AUC of late
    ones, with probabilities that decide nothing. It is a part of the training's state, so that a
    training that was interrupted selects what one that was not would have.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.value, self.loss, self.step = -math.inf, math.inf, 0
        self.weights: dict[str, Tensor] | None = None

    def offer(self, model: nn.Module, metrics: Mapping[str, float], step: int) -> None:
        """Take a copy of the weights if they are better than all before; NaN never is.

        Raises:
            MiramError: Validation does not give the metric.
        """
        if self.metric not in metrics:
            raise MiramError(
                f"validation gives no metric {self.metric!r}, by which the best state should be "
                f"selected: set select to last or to one of {', '.join(metrics) or 'none'}"
            )
        value = float(metrics[self.metric])
        loss = float(metrics.get(VALIDATION_LOSS, math.inf))
        if (value, -loss) > (self.value, -self.loss):
            self.value, self.loss, self.step = value, loss, step
            state = model.state_dict()
            self.weights = {n: weight.detach().to("cpu", copy=True) for n, weight in state.items()}

    def load_into(self, model: nn.Module) -> None:
        """Give a model the best weights.

        Raises:
            MiramError: No validation gave a metric that is a number.
        """
        if self.weights is None:
            raise MiramError(f"no validation gave a number for {self.metric!r}: set select to last")
        model.load_state_dict(self.weights)
        log.info("selected after step %d: %s %.4g", self.step, self.metric, self.value)

    def state(self) -> dict[str, Any]:
        """What has to be known to select on as if nothing had happened."""
        names = ("value", "loss", "step", "weights")
        return {name: getattr(self, name) for name in names}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from a state."""
        vars(self).update(state)
