"""Eighty lesions of forty patients, a third of whom have malignant ones."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.linear import LinearProbeConfig
from miram.evaluation.probes.scoring import WHOLE
from miram.evaluation.results import Evaluation
from miram.mammography.lesion_table import validate_lesions
from miram.mammography.splits import SplitConfig, assign_splits


def lesions_of_40_patients() -> pd.DataFrame:
    patients = np.repeat(np.arange(40), 2)
    return validate_lesions(
        pd.DataFrame(
            {
                "lesion_id": [f"P_{patient}_{row}" for row, patient in enumerate(patients)],
                "patient_id": [f"P_{patient}" for patient in patients],
                "image_id": [str(row) for row in range(len(patients))],
                "pathology": np.where(patients % 3 == 0, "MALIGNANT", "BENIGN"),
                "leaks": False,
                "image_path": "image.dcm",
                "mask_paths": [[] for _ in patients],
            }
        )
    )


def evaluations(strengths: Mapping[str, float], draws: int) -> Iterator[tuple[str, Evaluation]]:
    """By method what is found of features that tell malignant lesions with such a strength."""
    lesions = lesions_of_40_patients()
    splits = assign_splits(lesions, SplitConfig(strategy="cv", folds=3))
    config = AssessmentConfig(
        bootstrap_draws=draws, linear_probe=LinearProbeConfig(regularization=(0.1,))
    )
    malignant = lesions["pathology"].eq("MALIGNANT").to_numpy(float)
    for method, strength in strengths.items():
        features = np.random.default_rng(0).normal(size=(len(lesions), 4))
        features[:, 0] += strength * malignant
        yield method, assess_features({WHOLE: features}, lesions, splits, config)
