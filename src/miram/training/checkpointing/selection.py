"""The best state of a training by a metric that is watched, in place of the last one."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from miram.errors import MiramError
from miram.finetuning.model import VALIDATION_LOSS

log = logging.getLogger(__name__)


class Selection:
    """Keeps the weights with which a metric was highest.

    Of equals it keeps those with the least `validation_log_loss`, where the looks give it, and
    else the earliest: where classes are told apart perfectly, early weights have the AUC of late
    ones, with probabilities that decide nothing. It is a part of the training's state, so that a
    training that was interrupted selects what one that was not would have.

    Args:
        metric: Name of the metric, as a look gives it; higher is better.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.value, self.loss, self.step = -math.inf, math.inf, 0
        self.weights: dict[str, Tensor] | None = None

    def offer(self, model: nn.Module, metrics: Mapping[str, float], step: int) -> None:
        """Take a copy of the weights if they are better than all before.

        Args:
            model: What was looked at.
            metrics: What the look found; a metric that is NaN is never the best.
            step: Steps taken.

        Raises:
            MiramError: The look did not give the metric.
        """
        if self.metric not in metrics:
            raise MiramError(
                f"nothing is watched by the name {self.metric!r}, by which the best state should "
                f"be selected: set select to last or to one of {', '.join(metrics) or 'none'}"
            )
        value = float(metrics[self.metric])
        loss = float(metrics.get(VALIDATION_LOSS, math.inf))
        if (value, -loss) > (self.value, -self.loss):
            self.value, self.loss, self.step = value, loss, step
            self.weights = {
                name: weight.detach().to("cpu", copy=True)
                for name, weight in model.state_dict().items()
            }

    def put_into(self, model: nn.Module) -> None:
        """Give a model the best weights.

        Raises:
            MiramError: No look gave a metric that is a number.
        """
        if self.weights is None:
            raise MiramError(
                f"no look at the training gave a number for {self.metric!r}: set select to last"
            )
        model.load_state_dict(self.weights)
        log.info("selected after step %d: %s %.4g", self.step, self.metric, self.value)

    def state(self) -> dict[str, Any]:
        """What has to be known to go on selecting as if nothing had happened."""
        found = {"value": self.value, "loss": self.loss, "step": self.step}
        return {**found, "weights": self.weights}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.value, self.loss, self.step = state["value"], state["loss"], state["step"]
        self.weights = state["weights"]
