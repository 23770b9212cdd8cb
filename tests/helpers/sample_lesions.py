"""A made-up collection of lesions whose features carry what the labels say, as far as wanted."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from miram.evaluation.tasks.definitions import (
    CALC_DISTRIBUTIONS,
    CALC_TYPES,
    MASS_MARGINS,
    MASS_SHAPES,
)

LISTS = {
    "mass_shape": ("mass", MASS_SHAPES),
    "mass_margins": ("mass", MASS_MARGINS),
    "calc_type": ("calcification", CALC_TYPES),
    "calc_distribution": ("calcification", CALC_DISTRIBUTIONS),
}


KINDS = ("mass", "calcification")
FEW_FITS = {"regularization": (1e-2, 1.0), "inner_folds": 2}
"""Linear probe of tests that need any probe: a fit in ten of what the default takes."""


@dataclass
class Sample:
    """Features (n, d), lesion table and splits of the same lesions, in the same order."""

    features: np.ndarray
    lesions: pd.DataFrame
    splits: pd.DataFrame

    def take(self, rows):
        splits = self.splits.iloc[rows].reset_index(drop=True)
        return Sample(self.features[rows], self.lesions, splits)


def make_sample(patients=160, *, signal=1.5, strategy="official", seed=0, width=8):
    """About two lesions per patient; feature 0 is `signal` higher for malignant lesions."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    n = len(patient)
    malignant = (rng.random(patients) < 0.45)[patient]
    table = pd.DataFrame(
        {
            "lesion_id": [f"L{row:04d}" for row in rng.permutation(n)],
            "patient_id": [f"P_{one:05d}" for one in patient],
            "abnormality_type": rng.choice(KINDS, patients)[patient],
            "pathology": np.where(
                malignant, "MALIGNANT", rng.choice(["BENIGN", "BENIGN_WITHOUT_CALLBACK"], n)
            ),
            "density": pd.array((1 + rng.integers(0, 4, patients))[patient], dtype="Int64"),
            "assessment": pd.array((2 + rng.integers(0, 4, patients))[patient], dtype="Int64"),
            "subtlety": pd.array(rng.integers(1, 6, n), dtype="Int64"),
            "laterality": rng.choice(["LEFT", "RIGHT"], n),
            "view": rng.choice(["CC", "MLO"], n),
        }
    )
    for column, (kind, names) in LISTS.items():
        table[column] = [
            sorted({str(name) for name in rng.choice(names, rng.integers(1, 3))})
            if here == kind
            else None
            for here in table["abnormality_type"]
        ]
    sides = rng.choice(["train", "val", "test"], patients, p=[0.5, 0.1, 0.4])[patient]
    folds = np.array([f"fold{fold}" for fold in rng.integers(0, 4, patients)])[patient]
    splits = table[["lesion_id", "patient_id"]].assign(
        strategy=strategy, leakage="drop", split=sides if strategy == "official" else folds
    )
    features = rng.standard_normal((n, width))
    features[:, 0] += signal * malignant
    return Sample(features, table, splits)
