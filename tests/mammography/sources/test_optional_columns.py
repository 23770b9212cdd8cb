"""Every column of a lab's own table but patient, image and place may be absent or partly empty."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_lesions import FEW_FITS

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.evaluate import evaluate_table
from miram.evaluation.predictions import calibration_table, subgroup_metrics
from miram.evaluation.tasks.definitions import TASKS
from miram.evaluation.tasks.targets import task_targets
from miram.integrations.datasets.tables import Table
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import plan_crops
from miram.mammography.sources import make_source
from miram.mammography.splits import SplitConfig, assign_splits

PATIENTS = 12
OPTIONAL = {
    "laterality": ["LEFT", "RIGHT"],
    "view": ["CC", "MLO"],
    "abnormality_id": ["1", "2"],
    "abnormality_type": ["mass", "calcification"],
    "pathology": ["BENIGN", "MALIGNANT", "BENIGN_WITHOUT_CALLBACK"],
    "density": ["1", "2", "3", "4"],
    "assessment": ["2", "3", "4", "5"],
    "subtlety": ["1", "5"],
    "mass_shape": ["OVAL", "ROUND"],
    "mass_margins": ["OBSCURED", "SPICULATED"],
    "calc_type": ["PUNCTATE", "SKIN"],
    "calc_distribution": ["CLUSTERED", "LINEAR"],
}
ASKED = AssessmentConfig(tasks="all", bootstrap_draws=100, linear_probe=FEW_FITS)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    for patient in range(PATIENTS):
        Image.fromarray(np.full((40, 40), 9, np.uint8)).save(folder / f"{patient}.png")
    return folder


def full_table():
    rows = pd.DataFrame({"patient": np.repeat(np.arange(PATIENTS), 2)})
    table = pd.DataFrame(
        {
            "patient_id": "P" + rows["patient"].astype(str),
            "image_path": rows["patient"].astype(str) + ".png",
            "box_x0": np.tile([4, 5], PATIENTS), "box_y0": 4, "box_x1": 20, "box_y1": 20,
        }
    )  # fmt: skip
    for step, (name, values) in enumerate(OPTIONAL.items(), start=1):
        table[name] = [values[(row * step // 2) % len(values)] for row in range(len(table))]
    return table


FULL = full_table()


@pytest.mark.slow
@settings(max_examples=16)
@given(
    kept=st.sets(st.sampled_from(sorted(OPTIONAL))),
    empty=st.lists(st.tuples(st.sampled_from(sorted(OPTIONAL)), st.integers(0, 23)), max_size=40),
)
def test_any_subset_of_columns_reaches_metrics_with_a_row_for_each_skipped_task(root, kept, empty):
    table = FULL.astype(object)
    for name, row in empty:
        table.loc[row, name] = ""
    table.drop(columns=sorted(set(OPTIONAL) - kept)).to_csv(root / "images.csv", index=False)
    ingested = make_source("image_table").ingest(root)
    stored = Table(filepath=str(root / "lesions.parquet"))
    stored.save(ingested.lesions)
    lesions = stored.load()
    assert len(lesions) == len(FULL)
    assert plan_crops(lesions, root, CropConfig(image_size=16, context=1.0)).tasks
    splits = assign_splits(lesions, SplitConfig(strategy="cv", folds=2))
    assert splits["split"].nunique() == 2
    for task in TASKS.values():
        targets = task_targets(lesions, task)
        absent = {task.column, *filter(None, [task.by])} - kept
        absent |= {"abnormality_type"} - kept if task.abnormality_type else set()
        if absent:
            assert not targets.supported
            assert all(name in targets.skipped[-1].reason for name in absent)
    evaluate(lesions, splits, set(OPTIONAL) - kept)


@pytest.mark.parametrize("absent", [("abnormality_type",), (), tuple(OPTIONAL)])
def test_metrics_subgroups_and_calibration_do_without_columns(root, absent):
    FULL.drop(columns=list(absent)).to_csv(root / "images.csv", index=False)
    lesions = make_source("image_table").ingest(root).lesions
    splits = assign_splits(lesions, SplitConfig(strategy="cv", folds=2))
    assert ("mass_shape" in evaluate(lesions, splits, set(absent))) == bool(absent)


def evaluate(lesions, splits, absent):
    """Ask all tasks of random features; gives the tasks that are skipped."""
    features = np.random.default_rng(0).standard_normal((len(lesions), 3))
    features = pd.DataFrame(features, columns=["f0", "f1", "f2"]).assign(seed=0)
    features.insert(0, "lesion_id", splits["lesion_id"])
    found = evaluate_table(features, lesions, splits, ASKED)
    skipped = {row["task"] for row in found.metrics["skipped"] if row["what"] == "task"}
    assert set(found.metrics["tasks"]) | skipped == set(TASKS)
    subgroups = subgroup_metrics(found.predictions, lesions, found.metrics, ASKED)
    assert not set(subgroups.get("subgroup", ())) & absent
    assert set(calibration_table(found.predictions, found.metrics).get("task", ())) <= set(TASKS)
    return skipped
