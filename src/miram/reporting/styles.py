"""How methods and metrics are named and drawn, the same in every table and on every chart."""

from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn.

    Attributes:
        color: Hexadecimal color, at least 3:1 on white and on near black.
        dash: Plotly line style; a second cue, so that color is never the only one.
        symbol: Plotly marker, a third cue.
    """

    color: str
    dash: str
    symbol: str


# Hues after Okabe & Ito (2008), safe for the common color blindnesses; the light ones are
# darkened to be seen on white.
_STYLES = {
    "random": MethodStyle("#7d7d7d", "dot", "x"),
    "supervised": MethodStyle("#a3791b", "dash", "cross"),
    "mae": MethodStyle("#0d7fc0", "solid", "circle"),
    "miram_softmax": MethodStyle("#d55e00", "solid", "square"),
    "miram_linformer": MethodStyle("#0a9270", "dash", "diamond"),
    "miram_performer": MethodStyle("#c2609a", "dashdot", "triangle-up"),
    "miram_nystrom": MethodStyle("#b87a00", "longdash", "star"),
    "miram_cross": MethodStyle("#7468c7", "solid", "pentagon"),
    "hiend_mae": MethodStyle("#3d8f3d", "dot", "hexagon"),
    "moco_v3": MethodStyle("#b0494f", "longdashdot", "triangle-down"),
    # Hand-crafted baselines share a grey; their markers differ.
    "hog": MethodStyle("#66727c", "solid", "square-open"),
    "lbp": MethodStyle("#66727c", "dash", "circle-open"),
    "intensity": MethodStyle("#66727c", "dot", "diamond-open"),
    "box_size": MethodStyle("#66727c", "dashdot", "hexagon-open"),
}

_METRICS = {
    "auc": "ROC AUC",
    "auc_macro": "ROC AUC, macro",
    "auc_micro": "ROC AUC, micro",
    "average_precision": "Average precision",
    "average_precision_micro": "Average precision, micro",
    "sensitivity_at_90_specificity": "Sensitivity at 90 % specificity",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "log_loss": "Log loss",
}

MAIN_METRICS = ("auc", "auc_macro")
"""The metrics by which methods are ranked; a task has one of them."""

_LOWER_IS_BETTER = frozenset({"brier", "ece", "log_loss"})


def method_style(method: str) -> MethodStyle:
    """The style of a method; an unknown method always gets the same one by its name."""
    known = list(_STYLES.values())
    return _STYLES.get(method) or known[crc32(method.encode()) % len(known)]


def metric_label(metric: str) -> str:
    """The name of a metric in print."""
    return _METRICS.get(metric, metric.replace("_", " "))


def metric_direction(metric: str) -> str:
    """Whether a metric is better when it is `higher` or `lower`."""
    return "lower" if metric in _LOWER_IS_BETTER else "higher"
