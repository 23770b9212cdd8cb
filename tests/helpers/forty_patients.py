"""Eighty lesions of forty patients, a third of whom have malignant ones."""

import numpy as np
import pandas as pd

from miram.mammography.lesion_table import validate_lesions


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
