"""Costs appear beside metrics as they were counted, and nothing unknown is drawn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from miram.models.describe import describe
from miram.models.encoder import EncoderConfig
from miram.models.methods.kinds import RandomConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.reporting.facts.study import Study
from miram.reporting.sections.costs import COLUMNS, cost_figure, cost_rows, cost_table

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=32,
    patch_size=8,
    overrides={"embed_dim": 32, "depth": 2, "num_heads": 2},
)
LOW = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2}
METHODS: dict[str, Any] = {
    "random": {"kind": "random"},
    "mae": {"kind": "masked_autoencoder", "decoder_dim": 32, "decoders": [LOW]},
    "miram_nystrom": {"kind": "of no method"},  # such as hand-crafted features
}


@pytest.fixture(scope="module")
def described(study: Study) -> Study:
    """The study with parameters that describe two of its three methods."""
    blocks = {name: {"method": method} for name, method in METHODS.items()}
    return replace(study, parameters={**study.parameters, "encoder": ENCODER, **blocks})


@pytest.fixture(scope="module")
def table(described: Study) -> pd.DataFrame:
    return cost_table(described)


@pytest.fixture(scope="module")
def costs(table: pd.DataFrame) -> dict[str, Any]:
    """The row of each method."""
    return {str(name): row for name, row in table.set_index("method").iterrows()}


def two_tasks(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.assign(task="other")], ignore_index=True)


def test_costs_are_those_that_describe_counts(costs: dict[str, Any]) -> None:
    parts = describe(MaskedAutoencoderConfig.model_validate(METHODS["mae"]), ENCODER)
    assert len(parts) == 2
    found = costs["mae"]
    assert found.parameters == parts[0].parameters + parts[1].parameters
    assert found.gmacs * 1e9 == pytest.approx(parts[0].macs + parts[1].macs)
    memory = parts[0].activation_bytes + parts[1].activation_bytes
    assert found.activation_mib * 2**20 == pytest.approx(memory)


def test_what_is_not_trained_costs_nothing_to_train(costs: dict[str, Any]) -> None:
    assert (costs["random"].parameters, costs["random"].gmacs) == (0, 0.0)


def test_the_decoders_do_not_change_what_encoding_costs(costs: dict[str, Any]) -> None:
    (whole,) = describe(RandomConfig(), ENCODER)
    assert costs["random"].encoding_gmacs * 1e9 == pytest.approx(whole.macs)
    assert costs["mae"].encoding_gmacs == costs["random"].encoding_gmacs


def test_a_method_of_unknown_cost_keeps_its_row_without_one(
    table: pd.DataFrame, costs: dict[str, Any]
) -> None:
    unknown = costs["miram_nystrom"]
    assert unknown[["gmacs", "parameters", "encoding_gmacs"]].isna().all()
    assert unknown["estimate"] > 0
    (row,) = [row for row in cost_rows(table).rows if row[1] == "miram_nystrom"]
    assert row[-4:] == (None,) * 4


def test_parameters_without_an_encoder_give_no_cost(study: Study) -> None:
    assert cost_table(replace(study, parameters={}))["encoding_gmacs"].isna().all()


def test_every_cost_appears_beside_metric_interval_and_numbers(
    study: Study, table: pd.DataFrame, costs: dict[str, Any]
) -> None:
    assert tuple(table.columns) == COLUMNS
    main = study.leaderboard[study.leaderboard["metric"] == "auc"].reset_index(drop=True)
    shared = ["method", "task", "metric", "estimate", "lower", "upper", "lesions", "patients"]
    pd.testing.assert_frame_equal(table[shared], main[shared])
    mae = costs["mae"]
    (row,) = [row for row in cost_rows(table).rows if row[1] == "mae"]
    assert row[4] == f"{mae.lower:.3f} to {mae.upper:.3f}"
    counted = (mae.parameters / 1e6, mae.gmacs, mae.activation_mib, mae.encoding_gmacs)
    assert row[5:] == (mae.lesions, mae.patients, *counted)


def test_the_chart_shows_cost_estimate_and_interval_ends(
    table: pd.DataFrame, costs: dict[str, Any]
) -> None:
    marks = {mark.name: mark for mark in cost_figure(table).data}
    assert set(marks) == {"random", "mae"}
    for name, mark in marks.items():
        row = costs[name]
        assert (mark.x[0], mark.y[0]) == (row["gmacs"], row["estimate"])
        ends = mark.y[0] - mark.error_y.arrayminus[0], mark.y[0] + mark.error_y.array[0]
        np.testing.assert_allclose(ends, (row["lower"], row["upper"]))
    title = cost_figure(table).layout.annotations[0].text
    assert title == f"pathology: {row['lesions']} lesions, {row['patients']} patients"


def test_tasks_have_panels_and_methods_their_names_above_the_first(table: pd.DataFrame) -> None:
    figure = cost_figure(two_tasks(table))
    assert {mark.yaxis for mark in figure.data} == {"y", "y2"}
    colors = {mark.name: mark.marker.color for mark in figure.data}
    labels = {one.text: one for one in figure.layout.annotations if one.textangle == -90}
    assert {name: one.font.color for name, one in labels.items()} == colors
    assert {one.yref for one in labels.values()} == {"y domain"}


def test_a_method_missing_from_the_first_panel_is_named_all_the_same(table: pd.DataFrame) -> None:
    table = two_tasks(table)
    table = table[~((table["task"] == "pathology") & (table["method"] == "mae"))]
    labels = [one.text for one in cost_figure(table).layout.annotations if one.textangle == -90]
    assert sorted(labels) == ["mae", "random"]


def test_nothing_to_draw_is_said(study: Study) -> None:
    figure = cost_figure(cost_table(study))
    assert not figure.data
    assert "No method" in figure.layout.annotations[0].text
