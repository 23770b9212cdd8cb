"""How methods and metrics are named and drawn, the same in every table and on every chart."""

from zlib import crc32

from miram.evaluation.statistics.metrics import METRICS
from miram.models.methods import BASELINES, METHODS, Method

MAIN_METRICS = tuple(name for name, metric in METRICS.items() if metric.main)
"""The metrics by which methods are ranked; a task has one of them."""


def method_style(method: str) -> Method:
    """Color, dash and symbol of a method; one unknown here always gets the same by its name."""
    known = {**METHODS, **BASELINES}
    return known.get(method) or list(known.values())[crc32(method.encode()) % len(known)]


def metric_label(metric: str) -> str:
    """The name of a metric in print."""
    return METRICS[metric].label if metric in METRICS else metric.replace("_", " ")


def metric_direction(metric: str) -> str:
    """Whether a metric is better when it is `higher` or `lower`."""
    return METRICS[metric].better if metric in METRICS else "higher"


def chance_level(metric: str) -> float | None:
    """The value of a metric for scores that know nothing, where there is one."""
    return METRICS[metric].chance if metric in METRICS else None
