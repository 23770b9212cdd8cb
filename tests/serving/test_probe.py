"""The probe in service: which lesions it has seen, and that it is kept as plain arrays."""

import numpy as np
import pytest
import small_predictor as small

from miram.errors import MiramError
from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.scoring import features_by_fold
from miram.serving.predictor import ServedProbe, fit_served_probe

LESIONS = small.make_lesions()
FEATURES = small.make_features(LESIONS)
CONFIG = AssessmentConfig(tasks=("pathology", "pathology4"), bootstrap_draws=100)


def fit(strategy, task="pathology"):
    splits = small.make_splits(LESIONS, strategy)
    return splits, fit_served_probe(FEATURES, LESIONS, splits, task, CONFIG)


@pytest.mark.parametrize("task", ["pathology", "pathology4"])
def test_with_the_official_split_it_is_the_probe_whose_metrics_are_reported(task):
    splits, probe = fit("official", task)
    by_fold = features_by_fold(FEATURES, splits["lesion_id"])
    predictions = assess_features(by_fold, LESIONS, splits, CONFIG).predictions
    reported = predictions[predictions["task"] == task].pivot(
        index="lesion_id", columns="class", values="calibrated"
    )
    rows = FEATURES.set_index("lesion_id").loc[reported.index].to_numpy()
    found = probe.probabilities(rows)
    columns = [probe.classes.index(name) for name in reported.columns]
    np.testing.assert_allclose(found[:, columns], reported.to_numpy(), atol=1e-9)
    assert probe.classifier.patients == 15


def test_under_cross_validation_it_learns_from_all_lesions():
    _, probe = fit("cv")
    assert (probe.classifier.lesions, probe.classifier.patients) == (60, 20)


def test_probabilities_name_every_class_and_add_up():
    _, probe = fit("official")
    assert probe.classes == ("benign", "malignant")
    rows = FEATURES.drop(columns="lesion_id").to_numpy()
    found = probe.probabilities(rows)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found[:, 1], probe.classifier.predict(rows))


@pytest.mark.parametrize("task", ["pathology", "pathology4"])
def test_it_is_kept_as_plain_arrays_and_comes_back_the_same(task, tmp_path):
    _, probe = fit("official", task)
    probe.save(tmp_path / "probe.npz")
    with np.load(tmp_path / "probe.npz", allow_pickle=False) as file:
        assert {"mean", "std", "coef", "intercept", "classes"} <= set(file.files)
        assert tuple(file["classes"]) == probe.classes
    again = ServedProbe.load(tmp_path / "probe.npz")
    rows = FEATURES.drop(columns="lesion_id").to_numpy()
    np.testing.assert_array_equal(again.probabilities(rows), probe.probabilities(rows))
    assert (again.task, again.classes) == (task, probe.classes)
    assert again.classifier.inner_loss == probe.classifier.inner_loss


def test_a_file_of_before_inner_losses_were_kept_is_read(tmp_path):
    _, probe = fit("official")
    probe.save(tmp_path / "probe.npz")
    with np.load(tmp_path / "probe.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "inner_loss"}
    np.savez(tmp_path / "older.npz", **arrays)
    rows = FEATURES.drop(columns="lesion_id").to_numpy()
    again = ServedProbe.load(tmp_path / "older.npz")
    np.testing.assert_array_equal(again.probabilities(rows), probe.probabilities(rows))
    assert again.classifier.warning == probe.classifier.warning


def test_a_file_that_is_no_probe_is_named(tmp_path):
    (tmp_path / "probe.npz").write_bytes(b"no")
    with pytest.raises(MiramError, match=r"probe\.npz is no probe that miram wrote"):
        ServedProbe.load(tmp_path / "probe.npz")


def test_an_encoder_per_fold_cannot_be_served():
    splits = small.make_splits(LESIONS, "cv")
    with pytest.raises(MiramError, match=r"splits\.strategy=official"):
        fit_served_probe(FEATURES.assign(fold="fold0"), LESIONS, splits, "pathology", CONFIG)


def test_a_task_that_the_lesions_cannot_answer_is_refused():
    benign = LESIONS.assign(pathology="BENIGN")
    with pytest.raises(MiramError, match="no probe can be fitted for task pathology"):
        fit_served_probe(FEATURES, benign, small.make_splits(benign), "pathology", CONFIG)
