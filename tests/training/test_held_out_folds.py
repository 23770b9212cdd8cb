"""An encoder for each fold, which has seen no image of the fold's patients."""

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from tiny import ENCODER, METHOD, assert_same, make_store, stripes

from miram.models.checkpoints.joined import split_folds
from miram.models.checkpoints.split_record import split_record
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.pretrain import pretrain, pretrain_by_fold

TRAINING = tiny.TRAINING.model_copy(update={"epochs": 1, "batch_size": 4})
LESIONS, BACKGROUND = 24, 6
PATIENTS = [f"P{n % 12}" for n in range(LESIONS + BACKGROUND)]
CROPS = stripes(LESIONS + BACKGROUND, least=1)


def collection(folder, crops=CROPS):
    """Two lesions of each of twelve patients, and a background patch of six of them."""
    names = [f"lesion{n}" for n in range(LESIONS)] + [f"patch{n}" for n in range(BACKGROUND)]
    kinds = ["lesion"] * LESIONS + ["background"] * BACKGROUND
    return make_store(folder / "crops", crops, names, PATIENTS, kinds=kinds)


def two_assignments():
    """Three folds by patient, assigned twice."""
    number = np.arange(LESIONS) % 12
    return pd.DataFrame(
        {
            "lesion_id": [f"lesion{n}" for n in range(LESIONS)],
            "patient_id": PATIENTS[:LESIONS],
            "strategy": "cv",
            "leakage": "drop",
            "split": [f"fold{n % 3}" for n in number],
            "split_repeat2": [f"repeat2_fold{n // 4}" for n in number],
            "pretrain": True,
        }
    )


FOLDS = [*(f"fold{n}" for n in range(3)), *(f"repeat2_fold{n}" for n in range(3))]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return pretrain_by_fold(
        collection(tmp_path_factory.mktemp("own")), two_assignments(), ENCODER, METHOD, TRAINING
    )


def test_images_of_a_patient_touch_no_encoder_of_the_patients_folds(found, tmp_path):
    # Patient P5 is in fold2 and repeat2_fold1, and has a background patch besides.
    changed = CROPS.copy()
    changed[[n for n, patient in enumerate(PATIENTS) if patient == "P5"]] = 30_000
    again = pretrain_by_fold(
        collection(tmp_path, changed), two_assignments(), ENCODER, METHOD, TRAINING
    )
    first, second = split_folds(found.encoder), split_folds(again.encoder)
    assert list(first) == list(second) == FOLDS
    same = [
        fold
        for fold, encoder in first.items()
        if all(torch.equal(value, second[fold].state[key]) for key, value in encoder.state.items())
    ]
    assert same == ["fold2", "repeat2_fold1"]


def test_the_encoder_of_a_fold_is_that_of_the_other_patients_alone(found, tmp_path):
    outside = np.flatnonzero([int(patient[1:]) % 3 != 0 for patient in PATIENTS])
    alone = pretrain(collection(tmp_path), outside, ENCODER, METHOD, TRAINING)
    assert_same(split_folds(found.encoder)["fold0"].state, alone.encoder.state)


def test_header_and_history_record_every_fold(found):
    header = found.encoder.metadata
    assert header["splits"] == split_record(two_assignments(), by_part=True)
    assert (header["holds"], header["folds"]) == ("encoder", FOLDS)
    assert (found.pretrained.metadata["holds"], found.pretrained.metadata["folds"]) == (
        "pretrained",
        FOLDS,
    )
    assert list(found.history["fold"].unique()) == FOLDS
    # Steps of 4: 16 lesions and 4 patches for each of the first folds, then 18, 20 and 22 crops.
    assert found.history["step"].tolist() == list(range(1, 5 * 3 + 4 + 5 + 5 + 1))


def test_the_whole_method_of_a_fold_is_made_again(found):
    parts = split_folds(found.pretrained)
    assert list(parts) == FOLDS
    made = parts["fold1"].build()
    assert_same(made.encoder.state_dict(), split_folds(found.encoder)["fold1"].state)


def test_folds_that_are_finished_are_not_trained_again(tmp_path, caplog):
    store, folder = collection(tmp_path), TrainingFolder(tmp_path / "training")
    arguments = (store, two_assignments(), ENCODER, METHOD, TRAINING)
    first = pretrain_by_fold(*arguments, folder=folder)
    seen = []

    def validation(rows):
        seen.append(rows)
        return None

    again = pretrain_by_fold(*arguments, folder=folder, validation=validation)
    assert_same(first.encoder.state, again.encoder.state)
    pd.testing.assert_frame_equal(first.history, again.history)
    patients = [{PATIENTS[row] for row in rows} for rows in seen]
    assert [len(one) for one in patients] == [8] * 6
    assert "P0" not in patients[0] and "P0" in patients[1]
