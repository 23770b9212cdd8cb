"""The metrics of validation lesions, by which epoch and temperature are chosen."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from miram.finetuning.evaluate import ClassifierMetrics
from miram.finetuning.model import VALIDATION_AUC


def test_the_metrics_take_the_classes_that_validation_shows():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 10)  # the third class is not there
    scores = random.dirichlet(np.ones(3), 20)
    patients = np.arange(20)
    found = ClassifierMetrics("single", 0)(labels, scores, patients)
    expected = np.mean([roc_auc_score(labels == k, scores[:, k]) for k in (0, 1)])
    assert found[VALIDATION_AUC] == pytest.approx(expected)
    assert found[f"{VALIDATION_AUC}.lower"] <= found[VALIDATION_AUC]
    two = np.column_stack([1 - scores[:, 0], scores[:, 0]])
    binary = ClassifierMetrics("binary", 0)(labels, two, patients)
    assert binary[VALIDATION_AUC] == pytest.approx(roc_auc_score(labels, scores[:, 0]))
    assert binary["validation_lesions"] == 20
    assert binary["validation_log_loss"] == pytest.approx(log_loss(labels, scores[:, 0]))
