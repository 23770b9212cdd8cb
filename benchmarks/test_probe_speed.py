"""Speed of the probe: `make bench`. Processor seconds count; the machine is shared.

Goal: all tasks of one encoder from cached features in 60 s on 2 cores, for 3,568 lesions with
768 features each, the bootstrap of 2,000 draws included. The lesions are simulated with the sizes
and label frequencies of CBIS-DDSM, since a benchmark has to run without it.
"""

import time

import numpy as np
import pandas as pd
import pytest

from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.label_efficiency import label_efficiency_table
from miram.evaluation.predictions import calibration_table, subgroup_metrics
from miram.evaluation.probes.scoring import WHOLE
from miram.evaluation.tasks.definitions import TASKS

LESIONS, WIDTH = 3568, 768
# Lesions per patient, and how often; a few patients have very many.
SIZES = {1: 0.215, 2: 0.64, 3: 0.028, 4: 0.05, 6: 0.045, 8: 0.01, 16: 0.012}
LABELS = {
    "mass_shape": {
        "IRREGULAR": 0.311,
        "OVAL": 0.250,
        "LOBULATED": 0.236,
        "ROUND": 0.100,
        "ARCHITECTURAL_DISTORTION": 0.093,
        "LYMPH_NODE": 0.027,
        "FOCAL_ASYMMETRIC_DENSITY": 0.016,
        "ASYMMETRIC_BREAST_TISSUE": 0.015,
    },
    "mass_margins": {
        "ILL_DEFINED": 0.289,
        "CIRCUMSCRIBED": 0.278,
        "SPICULATED": 0.249,
        "OBSCURED": 0.188,
        "MICROLOBULATED": 0.087,
    },
    "calc_type": {
        "PLEOMORPHIC": 0.492,
        "PUNCTATE": 0.130,
        "LUCENT_CENTERED": 0.130,
        "AMORPHOUS": 0.119,
        "ROUND_AND_REGULAR": 0.097,
        "FINE_LINEAR_BRANCHING": 0.075,
        "VASCULAR": 0.057,
        "COARSE": 0.046,
        "EGGSHELL": 0.020,
        "DYSTROPHIC": 0.012,
        "LARGE_RODLIKE": 0.008,
        "SKIN": 0.007,
        "MILK_OF_CALCIUM": 0.001,
    },
    "calc_distribution": {
        "CLUSTERED": 0.676,
        "SEGMENTAL": 0.149,
        "LINEAR": 0.103,
        "REGIONAL": 0.073,
        "DIFFUSELY_SCATTERED": 0.028,
    },
}
SECOND_LABEL = 0.1  # share of lesions with two labels of a kind


def draw(rng: np.random.Generator, shares: dict, count: int) -> np.ndarray:
    weights = np.array(list(shares.values()))
    return rng.choice(np.array(list(shares), dtype=object), count, p=weights / weights.sum())


def simulated_lesions(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """A lesion table with CBIS-DDSM's structure, and each lesion's patient."""
    sizes = draw(rng, SIZES, LESIONS).astype(int)
    patient = np.repeat(np.arange(LESIONS), sizes)[:LESIONS]
    count = patient[-1] + 1
    kind = draw(rng, {"mass": 0.475, "calcification": 0.525}, count)[patient]
    pathologies = {"BENIGN": 0.40, "BENIGN_WITHOUT_CALLBACK": 0.19, "MALIGNANT": 0.41}
    table = pd.DataFrame(
        {
            "lesion_id": [f"L{row:05d}" for row in range(LESIONS)],
            "patient_id": [f"P_{one:05d}" for one in patient],
            "abnormality_type": kind,
            "pathology": draw(rng, pathologies, count)[patient],
            "density": draw(rng, {1: 0.15, 2: 0.385, 3: 0.31, 4: 0.155}, count)[patient],
            "assessment": draw(rng, {0: 0.07, 2: 0.18, 3: 0.13, 4: 0.46, 5: 0.16}, count)[patient],
            "subtlety": draw(rng, {1: 0.05, 2: 0.12, 3: 0.27, 4: 0.25, 5: 0.31}, LESIONS),
            "laterality": draw(rng, {"LEFT": 0.5, "RIGHT": 0.5}, LESIONS),
            "view": draw(rng, {"CC": 0.5, "MLO": 0.5}, LESIONS),
        }
    )
    for column, shares in LABELS.items():
        first, second = draw(rng, shares, count)[patient], draw(rng, shares, LESIONS)
        two = rng.random(LESIONS) < SECOND_LABEL
        wanted = "mass" if column.startswith("mass") else "calcification"
        table[column] = [
            sorted({one, other} if both else {one}) if here == wanted else None
            for one, other, both, here in zip(first, second, two, kind, strict=True)
        ]
    return table, patient


def simulated_features(
    rng: np.random.Generator, table: pd.DataFrame, patient: np.ndarray
) -> np.ndarray:
    """Features with the falling spectrum of an encoder, in which patients and labels show."""
    signals = [table["pathology"].eq("MALIGNANT"), table["abnormality_type"].eq("mass")]
    signals += [table[name] for name in ("density", "assessment")]
    for column, shares in LABELS.items():
        signals += [
            table[column].map(lambda here, one=name: one in (here or ())) for name in shares
        ]
    shown = np.column_stack([signal.to_numpy(float) for signal in signals])
    shown = (shown - shown.mean(axis=0)) / np.maximum(shown.std(axis=0), 1e-3)
    hidden = 200
    latent = rng.standard_normal((LESIONS, hidden))
    latent += rng.standard_normal((patient[-1] + 1, hidden))[patient]
    latent[:, 20 : 20 + shown.shape[1]] += shown
    spectrum = np.arange(1, hidden + 1) ** -0.7
    mixed = (latent * spectrum) @ rng.standard_normal((hidden, WIDTH))
    return (mixed + 0.05 * rng.standard_normal(mixed.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def collection():
    rng = np.random.default_rng(0)
    table, patient = simulated_lesions(rng)
    count = patient[-1] + 1
    side = draw(rng, {"train": 0.68, "val": 0.10, "test": 0.22}, count)[patient]
    splits = table[["lesion_id", "patient_id"]].assign(
        strategy="official", leakage="drop", split=side
    )
    return {WHOLE: simulated_features(rng, table, patient)}, table, splits


def processor_seconds(work, *arguments) -> float:
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def everything(features, lesions, splits, config: AssessmentConfig) -> None:
    """What the nodes of the probe pipeline do once the features are there."""
    found = assess_features(features, lesions, splits, config)
    assert set(found.metrics["tasks"]) == set(TASKS)
    calibration_table(found.predictions, found.metrics)
    subgroup_metrics(found.predictions, lesions, found.metrics, config)


def measure(benchmark, work, collection, config: AssessmentConfig) -> None:
    seconds: list[float] = []
    benchmark.pedantic(
        lambda: seconds.append(processor_seconds(work, *collection, config)), rounds=1
    )
    benchmark.extra_info["processor_seconds"] = seconds[0]


def test_all_tasks_of_one_encoder_by_the_linear_probe(benchmark, collection):
    measure(benchmark, everything, collection, AssessmentConfig(tasks="all"))


def test_all_tasks_of_one_encoder_by_every_protocol(benchmark, collection):
    import miram.evaluation.probes.mae  # noqa: F401  torch is imported before the clock starts

    measure(benchmark, everything, collection, AssessmentConfig(tasks="all", protocols="all"))


def test_label_efficiency_of_one_task(benchmark, collection):
    config = AssessmentConfig(tasks="pathology", label_efficiency={"enabled": True})
    features, *rest = collection
    measure(benchmark, label_efficiency_table, ({0: features}, *rest), config)
