"""Charts of a training: how losses fell, what decoders reconstructed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray
from plotly.colors import qualitative
from plotly.graph_objects import Figure

from miram.reporting.charts.drawing import MARGIN, TEMPLATE, legend_below, sentence
from miram.reporting.facts.methods import loss_columns, loss_label, trainings_of
from miram.reporting.styles import method_style

PARTS = ("target", "masked", "prediction")
NOT_TRAINED = "Nothing is trained: the encoder keeps its initial weights."
_LOSS_DASHES = ("solid", "dash", "dot", "dashdot")


def loss_curve(history: pd.DataFrame) -> Figure:
    """Draw how the losses of one method fell.

    Args:
        history: One row per logged step with `step`, `loss` and `loss_scale<s>`, of several
            seeds with `seed`; empty for a method that does not train.

    Returns:
        For every seed one line for the sum and one per scale, or a sentence where nothing was
        trained.
    """
    if history.empty:
        return sentence(NOT_TRAINED)
    figure = Figure()
    for place, (training, part) in enumerate(trainings_of("", history).items()):
        names = loss_columns([history])
        for name, dash, color in zip(names, _LOSS_DASHES, qualitative.Plotly, strict=False):
            figure.add_scatter(
                x=list(part["step"]),
                y=list(part[name]),
                mode="lines",
                line={"dash": dash, "color": color},
                **_named(loss_label(name), training, place),
            )
    return _loss_layout(figure)


def loss_comparison(histories: Mapping[str, pd.DataFrame], column: str) -> Figure:
    """Draw one loss of all methods that have it.

    Args:
        histories: Training history by method.
        column: `loss` or `loss_scale<s>`.
    """
    figure = Figure()
    for method, history in histories.items():
        if history.empty or column not in history or history[column].isna().all():
            continue
        style = method_style(method)
        for place, (training, part) in enumerate(trainings_of(method, history).items()):
            figure.add_scatter(
                x=list(part["step"]),
                y=list(part[column]),
                mode="lines",
                line={"color": style.color, "dash": style.dash},
                **_named(method, training.removeprefix(method), place),
            )
    return _loss_layout(figure)


def _named(name: str, training: str, place: int) -> dict[str, Any]:
    """The name of a line; the legend names all seeds once, and shows or hides them together."""
    if not training:
        return {"name": name}
    hover = f"{name}{training}: %{{y:.4g}}<extra></extra>"
    return {"name": name, "legendgroup": name, "showlegend": not place, "hovertemplate": hover}


def reconstruction_sheet(arrays: Mapping[str, NDArray[np.uint8]]) -> Sheet:
    """Draw target, its visible part, and reconstruction of a few crops at each scale.

    With `norm_pix` the predictions take mean and contrast of the true patches, so that only the
    pattern inside a patch is the decoder's.

    Args:
        arrays: `scale<s>_target`, `_masked`, `_prediction`: (n, H, H) uint8 in true grey levels;
            empty for a method without decoders.

    Returns:
        A sheet with one column per crop and three rows per scale.
    """
    scales = scales_of(arrays)
    if not scales:
        sheet = Sheet(figsize=(7, 1.2))
        sheet.text(0.5, 0.5, "This method reconstructs nothing.", ha="center", va="center")
        return sheet
    rows = [(scale, part) for scale in scales for part in PARTS]
    columns = len(arrays[f"scale{scales[0]}_target"])
    sheet = Sheet(figsize=(1.3 * columns + 1, 1.35 * len(rows)), layout="constrained")
    axes = sheet.subplots(len(rows), columns, squeeze=False)
    for line, (scale, part) in zip(axes, rows, strict=True):
        images = arrays[f"scale{scale}_{part}"]
        for axis, image in zip(line, images, strict=True):
            # Fixed limits: matplotlib's own would stretch each image's contrast.
            axis.imshow(image, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"{part}\nscale {scale}, {images.shape[-1]} px", fontsize=8)
    return sheet


def scales_of(arrays: Mapping[str, NDArray[np.uint8]]) -> list[int]:
    """The scales that were reconstructed, ascending."""
    ends = (name.removeprefix("scale").split("_")[0] for name in arrays)
    return sorted({int(scale) for scale in ends})


def _loss_layout(figure: Figure) -> Figure:
    return figure.update_layout(
        template=TEMPLATE,
        xaxis_title="step",
        yaxis_title="loss",
        # With several seeds, one box with all lines would hide the chart.
        hovermode="closest" if any(line.legendgroup for line in figure.data) else "x unified",
        showlegend=True,
        legend=legend_below(0.34),
        margin=MARGIN,
        height=360,
    )
