"""What charts have in common: legend, intervals as error bars, a sentence for nothing."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

from miram.models.methods import Method

MARGIN = {"t": 16, "r": 16, "b": 16, "l": 16}
GREY = "#888888"
PALE = "rgba(140, 150, 160, 0.5)"
LEVEL_LINE = {"dash": "dot", "width": 1, "color": GREY}


def sentence(text: str) -> Figure:
    """A chart that says why there is nothing to draw."""
    figure = Figure()
    figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure.update_layout(height=160)


def legend_below(y: float) -> dict[str, Any]:
    """A legend in a line below the chart, `y` heights of the chart under its lower edge."""
    return {"orientation": "h", "yanchor": "top", "y": -y}


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart until neighbors are a gap away, as little as that takes."""
    order = np.argsort(places, kind="stable")
    moved = np.array(places, np.float64)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    return list(moved - (moved.mean() - np.mean(places)) if len(moved) else moved)


def context(style: Method, *, shown: bool) -> dict[str, Any]:
    """A line in its color and dash, or pale behind those that the chart is about."""
    own = {"color": style.color, "dash": style.dash, "width": 2.5}
    return {"line": own if shown else {"color": PALE, "width": 1}, "showlegend": shown}


def error_bars(rows: pd.DataFrame, estimate: str = "estimate", **style: Any) -> dict[str, Any]:
    """The intervals `lower` to `upper` of rows, as plotly's error bars."""
    return {
        "type": "data",
        "symmetric": False,
        "array": (rows["upper"] - rows[estimate]).tolist(),
        "arrayminus": (rows[estimate] - rows["lower"]).tolist(),
        "thickness": 2,
        **style,
    }
