"""A small study, made by the project's own code from generated pixels and features."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sample_lesions import FEW_FITS

from miram.evaluation.assess import assess_features, assess_seeds
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.scoring import WHOLE
from miram.mammography.audit import audit_rows
from miram.mammography.crops.store import CropStore, write_store
from miram.mammography.lesion_table import validate_lesions
from miram.mammography.splits import SplitConfig, assign_splits
from miram.reporting.facts.leaderboard import leaderboard_table
from miram.reporting.facts.study import MethodResult, Study
from miram.training.logging.history import join_histories

METHODS = {"random": 0.0, "mae": 0.6, "miram_nystrom": 1.2}  # by how much features tell pathology
PATIENTS, SIDE = 32, 32
MakeStudy = Callable[..., Study]


def _lesions(hostile: str) -> pd.DataFrame:
    rows = []
    for patient in range(PATIENTS):
        for view in ("CC", "MLO"):
            name = f"P_{patient:05d}_{view}"
            rows.append(
                {
                    "lesion_id": name + (hostile if patient == 0 else ""),
                    "patient_id": f"P_{patient:05d}",
                    "image_id": f"1.2.{patient}.{view}",
                    "view": view,
                    "abnormality_type": "mass" if patient % 2 else "calcification",
                    "pathology": "MALIGNANT" if patient // 2 % 2 else "BENIGN",
                    "leaks": patient == 5,
                    "image_path": f"{name}.dcm",
                    "mask_paths": [f"{name}_mask.dcm"],
                    "source_bits": 16,
                }
            )
    table = pd.DataFrame(rows)
    # Patients 0 to 3 train, 4 to 7 test and so on, so that each side has every class and type.
    table["official_split"] = np.where(table.index // 2 % 8 < 4, "train", "test")
    table.loc[table["lesion_id"] == "P_00005_CC", "official_split"] = "train"  # in both parts
    return validate_lesions(table)


def _store(lesions: pd.DataFrame, folder: Path, hostile: str) -> CropStore:
    manifest = pd.DataFrame(
        {
            "crop_id": lesions["lesion_id"].astype(str),
            "kind": "lesion",
            "patient_id": lesions["patient_id"].astype(str),
            "image_id": lesions["image_id"].astype(str),
            "source_bits": 16,
            **{f"box_{end}": 0 for end in ("x0", "y0")},
            **{f"box_{end}": range(10, 10 + len(lesions)) for end in ("x1", "y1")},
            "upsampled": [place < 3 for place in range(len(lesions))],
        }
    )
    pixels = np.random.default_rng(0).integers(0, 2**16, (len(manifest), SIDE, SIDE), np.uint16)
    masks = np.zeros((len(manifest), SIDE // 8, SIDE // 8), np.uint8)
    row = {"lesion_id": "P_00000_CC", "file": "x.dcm", "code": f"small_lesion{hostile}"}
    write_store(
        folder,
        [{"crops": pixels, "masks": masks}],
        manifest=manifest,
        audit=audit_rows([{**row, "action": "upsampled", "detail": "20 px enlarged to 32 px"}]),
        parameters={"side": SIDE},
        tasks={},
    )
    return CropStore.open(folder)


def _history(method: str) -> pd.DataFrame:
    columns = ["step", "epoch", "loss", "loss_scale1", "lr", "gradient_norm", "images_per_second"]
    if method == "random":
        return pd.DataFrame(columns=columns)
    steps = np.arange(1, 6)
    history = pd.DataFrame(1.0 / steps[:, None] * np.ones(len(columns)), columns=columns)
    return history.assign(step=steps, epoch=0)


def _reconstructions(method: str) -> dict[str, Any]:
    scales = {"random": (), "mae": (1,), "miram_nystrom": (1, 2)}[method]
    arrays = {
        f"scale{scale}_{part}": np.full((4, 16 * scale, 16 * scale), 100, np.uint8)
        for scale in scales
        for part in ("target", "masked", "prediction")
    }
    for scale in scales:
        arrays[f"scale{scale}_masked"][:, : 4 * scale] = 50  # the first row of patches is hidden
        arrays[f"scale{scale}_prediction"][:, : 4 * scale] = 110
    return arrays


def _features(method: str, lesions: pd.DataFrame, seed: int) -> dict[str, Any]:
    malignant = lesions["pathology"].eq("MALIGNANT").to_numpy(float)
    features = np.random.default_rng(seed).normal(size=(len(lesions), 4))
    features[:, 0] += METHODS[method] * malignant
    return {WHOLE: features}


def _result(
    method: str, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> MethodResult:
    found = assess_features(_features(method, lesions, 1), lesions, splits, config)
    return MethodResult(
        found.metrics,
        found.predictions,
        history=_history(method),
        reconstructions=_reconstructions(method),
    )


@pytest.fixture(scope="session")
def make_study(tmp_path_factory: pytest.TempPathFactory) -> MakeStudy:
    """Make a study: `make_study(strategy=..., leakage=..., tasks=..., repeats=..., ...)`."""

    def make(
        *,
        strategy: str = "official",
        leakage: str = "drop",
        tasks: tuple[str, ...] = ("pathology",),
        repeats: int = 1,
        hostile: str = "",
    ) -> Study:
        lesions = _lesions(hostile)
        store = _store(lesions, tmp_path_factory.mktemp("store") / "crops", hostile)
        settings: dict[str, Any] = {
            "strategy": strategy,
            "leakage": leakage,
            "folds": 4,
            "repeats": repeats,
        }
        splits = assign_splits(lesions, SplitConfig.model_validate(settings))
        config = AssessmentConfig.model_validate(
            {"tasks": tasks, "bootstrap_draws": 100, "linear_probe": FEW_FITS}
        )
        results = {name: _result(name, lesions, splits, config) for name in METHODS}
        board = leaderboard_table({name: result.metrics for name, result in results.items()})
        parameters = {
            "source": "phantom",
            "data_root": "/home/somebody/data",
            "encoder": {
                "name": "vit_tiny_patch16_224",
                "image_size": 16,
                "patch_size": 4,
                "overrides": {"depth": 2},
            },
            "evaluation": config,
            "_low": {"scale": 1},
            **{name: {"method": {"kind": f"kind of {name}"}} for name in METHODS},
        }
        return Study(lesions, audit_rows([]), store, splits, board, parameters, results)

    return make


@pytest.fixture(scope="session")
def study(make_study: MakeStudy) -> Study:
    """The plain case: official split, leaking patients dropped, one binary task."""
    return make_study()


@pytest.fixture(scope="session")
def seeded(study: Study) -> Study:
    """The plain case, every method trained with the seeds 5 and 7."""
    config = study.parameters["evaluation"]
    results = {}
    for name, result in study.methods.items():
        by_seed = {seed: _features(name, study.lesions, seed) for seed in (5, 7)}
        found = assess_seeds(by_seed, study.lesions, study.splits, config)
        histories = {seed: result.history.assign(loss=seed) for seed in by_seed}
        results[name] = replace(
            result,
            history=join_histories(histories, "seed"),
            metrics=found.metrics,
            predictions=found.predictions,
        )
    board = leaderboard_table({name: result.metrics for name, result in results.items()})
    parameters = {**study.parameters, "training": {"seed": 0, "seeds": "5+7", "epochs": 1}}
    return replace(study, methods=results, leaderboard=board, parameters=parameters)


@pytest.fixture
def without_random(study: Study) -> Study:
    """The same study without its random encoder."""
    methods = {name: result for name, result in study.methods.items() if name != "random"}
    board = study.leaderboard[study.leaderboard["method"] != "random"]
    return replace(study, methods=methods, leaderboard=board)


@pytest.fixture(scope="session")
def cv_study(make_study: MakeStudy) -> Study:
    return make_study(strategy="cv")


@pytest.fixture(scope="session")
def leaking_study(make_study: MakeStudy) -> Study:
    """One patient is in training and in test."""
    return make_study(leakage="official")


@pytest.fixture(scope="session")
def unanswered_study(make_study: MakeStudy) -> Study:
    """The lesions have no density, and nothing else was asked."""
    return make_study(tasks=("density",))


@pytest.fixture(scope="session")
def four_class_study(make_study: MakeStudy) -> Study:
    """Folds, and a task of four classes."""
    return make_study(strategy="cv", tasks=("pathology4",))
