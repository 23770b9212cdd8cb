"""What a training leaves beside its weights is read as it was written."""

import numpy as np
import pandas as pd
import pytest

from miram.integrations.datasets.training_record import TrainingRecord, TrainingRecordDataset

HISTORY = pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]})
ARRAYS = {"scale1_target": np.ones((2, 4, 4), np.uint8)}
SCORES = pd.DataFrame({"crop_id": ["01", "2"], "patient_id": ["01", "1"], "psnr": [20.0, 21.5]})


@pytest.fixture
def dataset(tmp_path):
    return TrainingRecordDataset(str(tmp_path / "history.csv"))


def test_names_of_crops_and_patients_stay_texts(dataset):
    dataset.save(TrainingRecord(HISTORY, ARRAYS, SCORES))
    found = dataset.load()
    pd.testing.assert_frame_equal(found.fidelity, SCORES)
    pd.testing.assert_frame_equal(found.history, HISTORY)
    assert found.reconstructions["scale1_target"].tolist() == ARRAYS["scale1_target"].tolist()


def test_a_method_without_decoders_leaves_no_scores_of_one_that_had_some(dataset):
    dataset.save(TrainingRecord(HISTORY, ARRAYS, SCORES))
    dataset.save(TrainingRecord(HISTORY))
    assert dataset.load().fidelity.empty
