"""How methods and figures are named and drawn, the same on every chart and table."""

from dataclasses import dataclass
from zlib import crc32

from miram.evaluation.statistics.metrics import METRICS


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
    # Anchors have greys of their own, told apart by their marks.
    "hog": MethodStyle("#66727c", "solid", "square-open"),
    "lbp": MethodStyle("#66727c", "dash", "circle-open"),
    "intensity": MethodStyle("#66727c", "dot", "diamond-open"),
    "box_size": MethodStyle("#66727c", "dashdot", "hexagon-open"),
}

MAIN_METRICS = tuple(name for name, metric in METRICS.items() if metric.main)
"""The metrics by which methods are ranked; a task has one of them."""


def method_style(method: str) -> MethodStyle:
    """The style of a method; a method unknown here always gets the same one by its name."""
    known = list(_STYLES.values())
    return _STYLES.get(method) or known[crc32(method.encode()) % len(known)]


def metric_label(metric: str) -> str:
    """The name of a metric in words."""
    return METRICS[metric].label if metric in METRICS else metric.replace("_", " ")


def metric_direction(metric: str) -> str:
    """Whether a metric is better when it is `higher` or `lower`."""
    return METRICS[metric].better if metric in METRICS else "higher"
