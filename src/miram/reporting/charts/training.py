"""Charts of losses, reconstructions and the leaderboard."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray
from plotly.colors import qualitative
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from miram.reporting.charts.styles import MAIN_METRICS, method_style
from miram.reporting.facts.leaderboard import FINETUNED
from miram.reporting.facts.words import counted

TEMPLATE = "plotly_white"
PARTS = ("target", "masked", "prediction")
NOT_TRAINED = "Nothing is trained: the encoder keeps its initial weights."
_ROW_HEIGHT = 34  # pixels per method on the leaderboard chart
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


def trainings_of(method: str, history: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The histories of the trainings of a method: `mae`, or of several seeds `mae, seed 1`.

    Args:
        method: Its name.
        history: Of all its trainings, with `seed` where there are several.
    """
    if "seed" not in history or history.empty:
        return {method: history}
    return {f"{method}, seed {seed}": part for seed, part in history.groupby("seed", sort=False)}


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
    """How a line is called: the legend names all seeds once, and shows or hides them together.

    Args:
        name: In the legend.
        training: What is told besides where one points at the line; empty for a single training.
        place: Of the training among those of this name.
    """
    if not training:
        return {"name": name}
    told = f"{name}{training}: %{{y:.4g}}<extra></extra>"
    return {"name": name, "legendgroup": name, "showlegend": not place, "hovertemplate": told}


def loss_columns(histories: Iterable[pd.DataFrame]) -> list[str]:
    """The losses that were logged by any method, the sum first, then by scale."""
    found = {
        name
        for history in histories
        for name in history
        if str(name).startswith("loss_scale") and not history[name].isna().all()
    }
    return ["loss", *sorted(found)]


def loss_label(column: str) -> str:
    """A loss column in words."""
    return "sum of scales" if column == "loss" else column.replace("loss_scale", "scale ")


def leaderboard_figure(leaderboard: pd.DataFrame) -> Figure:
    """Draw every method's main figure with its 95 % interval, one panel per task.

    Args:
        leaderboard: Table of `miram.reporting.facts.leaderboard.leaderboard_table`.
    """
    main = leaderboard[leaderboard["metric"].isin(MAIN_METRICS)]
    if main.empty:
        return sentence("No task could be evaluated.")
    groups = list(main.groupby("task", sort=False))
    figure = make_subplots(
        rows=len(groups),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[panel_title(task, rows) for task, rows in groups],
        row_heights=[len(rows) + 1 for _, rows in groups],
        vertical_spacing=0.12 / len(groups),
    )
    for place, (_, rows) in enumerate(groups, start=1):
        for _, row in rows.iterrows():
            figure.add_trace(_interval_mark(row), row=place, col=1)
        # The best on top: plotly counts upwards.
        figure.update_yaxes(autorange="reversed", automargin=True, row=place, col=1)
        figure.add_vline(x=0.5, line={"dash": "dot", "width": 1, "color": "#888"}, row=place, col=1)
    figure.update_xaxes(range=[0, 1])
    figure.update_xaxes(title="ROC AUC, 95 % interval", row=len(groups), col=1)
    # From the right, a title has the whole width of a narrow screen.
    figure.update_annotations(x=1, xanchor="right", font_size=13)
    rows_drawn = sum(len(rows) + 1.5 for _, rows in groups)
    figure.update_layout(
        template=TEMPLATE,
        showlegend=False,
        height=int(100 + _ROW_HEIGHT * rows_drawn),
        margin={"t": 40, "r": 16, "b": 60, "l": 16},
    )
    return figure


def reconstruction_sheet(arrays: Mapping[str, NDArray[np.uint8]]) -> Sheet:
    """Draw target, its part not hidden, and reconstruction of a few crops at each scale.

    With `norm_pix` the predictions carry mean and contrast of the true patches, so that only the
    pattern inside a patch is the decoder's own.

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
        side = images.shape[-1]
        line[0].set_ylabel(f"{part}\nscale {scale}, {side} px", fontsize=8)
    return sheet


def scales_of(arrays: Mapping[str, NDArray[np.uint8]]) -> list[int]:
    """The scales that were reconstructed, ascending."""
    ends = (name.removeprefix("scale").split("_")[0] for name in arrays)
    return sorted({int(scale) for scale in ends})


def panel_title(task: str, rows: pd.DataFrame) -> str:
    """A task with what its figures rest on.

    Args:
        task: Its name.
        rows: Of the leaderboard.
    """
    lesions, patients = int(rows["lesions"].iloc[0]), int(rows["patients"].iloc[0])
    return f"{task}: {counted(lesions, 'lesion')}, {counted(patients, 'patient')}"


def error_bar(row: pd.Series) -> dict[str, object]:
    """The interval of a row of the leaderboard, as plotly's error bars want it."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [row["upper"] - row["estimate"]],
        "arrayminus": [row["estimate"] - row["lower"]],
        "thickness": 2,
    }


def _interval_mark(row: pd.Series) -> Scatter:
    style = method_style(row["method"])
    tuned = row["protocol"] == FINETUNED
    text = f"{row['estimate']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})"
    return Scatter(
        x=[row["estimate"]],
        y=[f"{row['method']}, fine-tuned" if tuned else row["method"]],
        mode="markers",
        error_x=error_bar(row),
        marker={"color": style.color, "symbol": style.symbol, "size": 10},
        name=row["method"],
        hovertemplate=f"%{{y}}: {text}<extra></extra>",
    )


def _loss_layout(figure: Figure) -> Figure:
    return figure.update_layout(
        template=TEMPLATE,
        xaxis_title="step",
        yaxis_title="loss",
        # With several seeds, one box with all lines would hide the chart.
        hovermode="closest" if any(line.legendgroup for line in figure.data) else "x unified",
        showlegend=True,
        legend={"orientation": "h", "yanchor": "top", "y": -0.34},
        margin={"t": 16, "r": 16, "b": 16, "l": 16},
        height=360,
    )


def sentence(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = Figure()
    figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure.update_layout(template=TEMPLATE, height=160)
