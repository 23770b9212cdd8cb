"""Charts of a training: how losses fell, what decoders reconstructed."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from miram.reporting.charts.drawing import MARGIN, spread
from miram.reporting.facts.methods import loss_columns, loss_label, trainings_of
from miram.reporting.styles import method_style

PARTS = ("target", "masked", "prediction")
_PANEL_HEIGHT = 260  # pixels


def loss_figure(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the losses of all methods, each line named at its end.

    There is a panel for each scale that was reconstructed, and one for the methods without scales;
    they share the axis of steps.
    """
    panels = loss_panels(histories)
    figure = make_subplots(
        rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.12 / len(panels)
    )
    for row, (title, lines) in enumerate(panels.items(), start=1):
        ends: dict[str, tuple[float, float]] = {}
        for method, column in lines.items():
            style = method_style(method)
            for name, part in trainings_of(method, histories[method]).items():
                figure.add_scatter(
                    x=list(part["step"]),
                    y=list(part[column]),
                    mode="lines",
                    line={"color": style.color, "dash": style.dash, "width": 1.5},
                    name=name,
                    hovertemplate="%{y:.4g} at step %{x}",
                    row=row,
                    col=1,
                )
                ends.setdefault(method, (part["step"].iloc[-1], part[column].iloc[-1]))
        drawn = np.concatenate([histories[name][column] for name, column in lines.items()])
        gap = 17 / _PANEL_HEIGHT * (np.nanmax(drawn) - np.nanmin(drawn))
        heights = spread([end for _, end in ends.values()], gap)
        for (method, (x, _)), y in zip(ends.items(), heights, strict=True):
            figure.add_annotation(
                text=escape(method, quote=False),
                x=x,
                y=y,
                xanchor="left",
                xshift=6,
                showarrow=False,
                font={"color": method_style(method).color, "size": 12},
                row=row,
                col=1,
            )
        figure.update_yaxes(title=title, row=row, col=1)
    figure.update_xaxes(title="training step", row=len(panels), col=1)
    return figure.update_layout(
        showlegend=False,
        margin={**MARGIN, "r": 130},
        height=60 + _PANEL_HEIGHT * len(panels),
    )


def loss_panels(histories: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, str]]:
    """Which loss of which methods is drawn together, by title: `{title: {method: column}}`."""
    scales = loss_columns(histories.values())[1:]
    found = {
        f"loss, {loss_label(scale)}": {
            method: scale
            for method, history in histories.items()
            if scale in history and history[scale].notna().any()
        }
        for scale in scales
    }
    own = {
        method: "loss"
        for method, history in histories.items()
        if not history.empty and not any(method in lines for lines in found.values())
    }
    return found | ({"loss, without scales": own} if own else {})


def reconstruction_sheet(arrays: Mapping[str, NDArray[np.uint8]]) -> Sheet:
    """Draw target, its visible part, and reconstruction of a few crops at each scale.

    With `norm_pix` the predictions take mean and contrast of the true patches, so that only the
    pattern inside a patch is the decoder's.

    Args:
        arrays: `scale<s>_target`, `_masked`, `_prediction`: (n, H, H) uint8 in true grey levels;
            empty for a method without decoders.
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
