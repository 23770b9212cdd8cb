"""A metric, a task or a protocol of one's own is one object, and is seen wherever these are."""

from typing import ClassVar

import numpy as np
import pytest

from miram.errors import MiramError
from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig, ComparisonConfig
from miram.evaluation.probes.protocols import Probe, ProbeScores
from miram.evaluation.probes.scoring import WHOLE
from miram.evaluation.statistics.comparison import compare_methods
from miram.evaluation.statistics.metrics import METRICS, Metric
from miram.evaluation.tasks.definitions import TASKS, TaskConfig
from miram.reporting.facts.leaderboard import leaderboard_table
from miram.reporting.styles import metric_direction, metric_label
from miram.serving.registry.tracking import flatten_metrics


@pytest.fixture
def assess(sample):
    given = sample(40)

    def run(kind=AssessmentConfig, **settings):
        config = kind.model_validate({"bootstrap_draws": 100, **settings})
        return assess_features({WHOLE: given.features}, given.lesions, given.splits, config).metrics

    return run


def _misses(given):
    return given.false_negative[-1] / given.total


def test_a_metric_is_one_object_and_reaches_metrics_leaderboard_and_mlflow(assess, monkeypatch):
    metric = Metric("missed", "Share missed", _misses, "decisions", ("binary",), better="lower")
    monkeypatch.setitem(METRICS, metric.name, metric)
    found = assess()
    entry = found["tasks"]["pathology"]["metrics"]["missed"]
    assert 0 <= entry["lower"] <= entry["estimate"] <= entry["upper"] <= 1
    board = leaderboard_table({"mine": found}).set_index("metric")
    assert board.loc["missed", "estimate"] == entry["estimate"]
    assert (metric_label("missed"), metric_direction("missed")) == ("Share missed", "lower")
    assert flatten_metrics(found)["pathology.missed.upper"] == entry["upper"]


def test_methods_can_be_compared_by_a_metric_of_ones_own(monkeypatch):
    monkeypatch.setitem(METRICS, "missed", Metric("missed", "Missed", _misses, "decisions"))
    labels = np.arange(40) % 2
    scores = {"all": np.ones(40), "none": np.zeros(40)}
    options = {"reference": "all", "metric": "missed", "draws": 100, "seed": 0}
    (row,) = compare_methods(labels, scores, np.arange(40) // 2, **options)
    assert row.difference == 0.5
    assert ComparisonConfig(metric="missed").metric_for("binary") == "missed"


def test_a_metric_of_each_class_stands_in_the_tables_of_classes(assess, monkeypatch):
    metric = Metric("missed", "Share missed", _misses, "decisions", (), per_class=True)
    monkeypatch.setitem(METRICS, metric.name, metric)
    entry = assess()["tasks"]["pathology"]
    assert "missed" in entry["per_class"][0]["metrics"] and "missed" not in entry["metrics"]


def test_a_task_is_one_definition_and_reaches_metrics_and_leaderboard(assess, monkeypatch):
    task = TaskConfig(name="side", kind="binary", column="laterality", positive=("LEFT",))
    monkeypatch.setitem(TASKS, task.name, task)
    found = assess(tasks="side")
    assert list(found["tasks"]) == ["side"]
    assert set(leaderboard_table({"mine": found})["task"]) == {"side"}


class MeanProbe(Probe):
    """How near a lesion is to the mean of the positives, against that of the negatives."""

    protocol: ClassVar[str] = "nearest_mean"

    sharpness: float = 1.0

    def scores(self, train, features):
        means = [train.features[train.labels == label].mean(axis=0) for label in (0, 1)]
        negative, positive = (np.linalg.norm(features - mean, axis=1) for mean in means)
        return ProbeScores(1 / (1 + np.exp(self.sharpness * (positive - negative))))


class WithMeanProbe(AssessmentConfig):
    nearest_mean: MeanProbe = MeanProbe()


@pytest.mark.parametrize("asked", ["all", "linear+nearest_mean"])
def test_a_protocol_is_one_class_and_one_line_and_reaches_the_metrics(assess, asked):
    settings = {"nearest_mean": {"sharpness": 3}, "mae_probe": {"epochs": 1}}
    entry = assess(WithMeanProbe, protocols=asked, **settings)["tasks"]["pathology"]
    assert 0.5 < entry["protocols"]["nearest_mean"]["metrics"]["auc"]["estimate"] <= 1
    assert list(entry["metrics"]) == list(entry["protocols"]["nearest_mean"]["metrics"])
    with pytest.raises(MiramError, match="no protocol 'nearest_mean': choose among linear, mae"):
        assess(protocols="linear+nearest_mean")
