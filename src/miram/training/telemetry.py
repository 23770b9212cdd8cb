"""Figures of a running training, told to whoever listens.

They travel as records of Python's logging, so that the loop knows neither MLflow nor any
other tracker: a listener is a `logging.Handler` on `LOGGER`.
"""

import logging

LOGGER = logging.getLogger("miram.telemetry")
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
LOGGER.addHandler(logging.NullHandler())


def tell(step: int, metrics: dict[str, float]) -> None:
    """Tell the figures of a step.

    Args:
        step: Number of the step, from 1.
        metrics: Figures by name.
    """
    LOGGER.info("step %d", step, extra={"step": step, "metrics": metrics})
