"""How methods and figures are named and drawn, the same on every chart and table."""

from zlib import crc32

from miram.models.methods import BASELINES, METHODS, Method

_FIGURES = {
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
"""The figures by which methods are ranked; a task has one of them."""

LOWER_IS_BETTER = frozenset({"brier", "ece", "log_loss"})


def method_style(method: str) -> Method:
    """Color, dash and symbol of a method; one unknown here always gets the same by its name."""
    known = {**METHODS, **BASELINES}
    return known.get(method) or list(known.values())[crc32(method.encode()) % len(known)]


def metric_label(figure: str) -> str:
    """The name of a figure in words."""
    return _FIGURES.get(figure, figure.replace("_", " "))


def metric_direction(figure: str) -> str:
    """Whether a figure is better when it is `higher` or `lower`."""
    return "lower" if figure in LOWER_IS_BETTER else "higher"
