"""The three kinds of classification task, told apart by the shapes of labels and scores.

| kind | labels | scores |
|---|---|---|
| `binary` | (n,) of 0 and 1 | (n,) probability of class 1 |
| `single`, one of K classes | (n,) of 0 … K-1 | (n, K) probabilities |
| `multi`, any of K labels | (n, K) of 0 and 1 | (n, K) probabilities |
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from miram.errors import MiramError

Kind = Literal["binary", "single", "multi"]

RANKING = {
    "binary": ("auc", "average_precision", "sensitivity_at_90_specificity"),
    "single": ("auc_macro", "auc_micro", "average_precision", "average_precision_micro"),
    "multi": ("auc_macro", "auc_micro", "average_precision", "average_precision_micro"),
}
_DECISION = ("accuracy", "balanced_accuracy", "f1")
_PROBABILITY = ("brier", "ece", "log_loss")

METRICS: dict[str, tuple[str, ...]] = {
    kind: (*ranking, *_DECISION, *_PROBABILITY) for kind, ranking in RANKING.items()
}
"""Names of the metrics of each kind of task, in the order of the tables."""

PRIMARY_METRIC: dict[str, str] = {"binary": "auc", "single": "auc_macro", "multi": "auc_macro"}
"""The metric by which methods are ranked and compared."""


def decisions(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The class decided for each sample: the most probable one, the first of equals."""
    return (scores > 0.5).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)


def one_hot(labels: npt.NDArray[Any], classes: int) -> npt.NDArray[np.bool_]:
    """(n,) classes or (n, K) of 0 and 1 as (n, K) bool."""
    return labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(classes)


def kind_of(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Kind:
    """Tell the kind of a task from the shapes of its labels and scores.

    Raises:
        MiramError: If the shapes belong to no kind, or there is no sample.
    """
    if len(labels) == len(scores) > 0:
        if labels.ndim == 1 and scores.ndim == 1:
            return "binary"
        if labels.ndim == 1 and scores.ndim == 2:
            return "single"
        if labels.ndim == 2 and labels.shape == scores.shape:
            return "multi"
    raise MiramError(
        f"labels of shape {labels.shape} and scores of shape {scores.shape} do not belong together:"
        " give (n,) and (n,) for two classes, (n,) and (n, K) for one of K classes, (n, K) and"
        " (n, K) for several labels at once, with n > 0"
    )
