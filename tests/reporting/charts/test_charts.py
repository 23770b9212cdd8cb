"""Charts and sheets show what they were given, and say so where there is nothing."""

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from project_paths import STUDIED

from miram.models.methods import METHODS
from miram.reporting.charts.drawing import spread
from miram.reporting.charts.images import picture
from miram.reporting.charts.training import (
    loss_figure,
    loss_panels,
    reconstruction_sheet,
    scales_of,
)
from miram.reporting.styles import method_style


@pytest.fixture
def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": [5, 10],
            "epoch": [0, 1],
            "loss": [3.0, 2.0],
            "loss_scale1": [1.0, 0.5],
            "loss_scale2": [2.0, 1.5],
        }
    )


def _luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_losses_stand_together_by_scale_and_are_named_at_their_ends(history: pd.DataFrame) -> None:
    scales = ["loss_scale1", "loss_scale2"]
    histories = {
        "random": history.iloc[:0],
        "mae": history.drop(columns="loss_scale2"),
        "miram_nystrom": history,
        "moco_v3": history.drop(columns=scales),
    }
    assert loss_panels(histories) == {
        "loss, scale 1": {"mae": "loss_scale1", "miram_nystrom": "loss_scale1"},
        "loss, scale 2": {"miram_nystrom": "loss_scale2"},
        "loss, without scales": {"moco_v3": "loss"},
    }
    figure = loss_figure(histories)
    assert [line.name for line in figure.data] == [
        "mae",
        "miram_nystrom",
        "miram_nystrom",
        "moco_v3",
    ]
    labels = [(one.text, one.x, one.font.color) for one in figure.layout.annotations]
    assert labels == [(line.name, 10, line.line.color) for line in figure.data]
    # Equal losses, but names one below the other.
    first, second = figure.layout.annotations[:2]
    assert abs(first.y - second.y) > 0.02


@pytest.mark.parametrize(
    ("places", "expected"),
    [([0, 10], [0, 10]), ([5, 5], [4, 6]), ([3, 1, 1], [3.667, -0.333, 1.667]), ([], [])],
)
def test_labels_are_moved_apart_no_further_than_they_need(
    places: list[float], expected: list[float]
) -> None:
    assert spread(places, 2) == pytest.approx(expected, abs=1e-3)


def test_reconstruction_sheet_shows_true_grey_levels_of_every_scale() -> None:
    arrays = {
        f"scale{scale}_{part}": np.full((3, 8 * scale, 8 * scale), 10 * scale, np.uint8)
        for scale in (1, 2)
        for part in ("target", "masked", "prediction")
    }
    sheet = reconstruction_sheet(arrays)
    assert len(sheet.axes) == 2 * 3 * 3
    assert {axis.images[0].get_clim() for axis in sheet.axes} == {(0.0, 255.0)}
    shown = {int(np.asarray(axis.images[0].get_array()).max()) for axis in sheet.axes}
    assert shown == {10, 20}


def test_reconstruction_sheet_of_a_method_without_decoders_says_so(tmp_path: Path) -> None:
    sheet = reconstruction_sheet({})
    assert "reconstructs nothing" in sheet.texts[0].get_text()
    sheet.savefig(tmp_path / "sheet.png")
    assert scales_of({}) == []


def test_hidden_patches_are_outlined_and_nothing_else_is_colored() -> None:
    image = np.full((16, 16), 77, np.uint8)
    plain, outlined = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))
        for uri in (picture(image), picture(image, np.array([[False, True], [False, False]])))
    )
    side = len(plain)
    assert np.ptp(plain.astype(int), axis=2).max() <= 8
    colored = np.ptp(outlined.astype(int), axis=2) > 60
    assert colored[: side // 2, side // 2].mean() > 0.9  # left edge of the patch
    assert colored[side // 2, side // 2 + 4 :].mean() > 0.9  # its lower edge
    assert not colored[side // 2 + 8 :].any() and not colored[:, : side // 2 - 8].any()


def test_methods_can_be_distinguished_on_white_and_on_black() -> None:
    styles = [method_style(name) for name in METHODS]
    assert len({method_style(name).color for name in STUDIED}) == len(STUDIED)
    assert len({style.symbol for style in styles}) == len(styles)
    for style in styles:
        light = _luminance(style.color)
        assert 1.05 / (light + 0.05) >= 3, style
        assert (light + 0.05) / (_luminance("#171d23") + 0.05) >= 3, style
    assert method_style("somebody_elses") == method_style("somebody_elses")
