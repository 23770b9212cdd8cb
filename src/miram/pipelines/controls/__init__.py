"""The controls pipeline: `kedro run --pipeline controls --namespaces mae`. No part of the study."""

import logging
from dataclasses import asdict
from typing import Any

import pandas as pd
from kedro.pipeline import Node, Pipeline

from miram.integrations.deferred import AssessmentConfig, EncoderCheckpoint, FeatureConfig
from miram.mammography.crops.store import CropStore
from miram.models.methods import METHODS
from miram.pipelines.namespaces import for_each

log = logging.getLogger(__name__)


def run_controls(
    encoder: EncoderCheckpoint,
    features: pd.DataFrame,
    crops: CropStore,
    splits: pd.DataFrame,
    lesions: pd.DataFrame,
    config: FeatureConfig,
    evaluation: AssessmentConfig,
) -> dict[str, dict[str, Any]]:
    """Evaluate an encoder on its main task with permuted labels, and with blank pixels.

    Of a method with several seeds the first is taken.

    Returns:
        The fields of a `Control` for `permuted_labels` and `blank_pixels`.

    Raises:
        MiramError: The encoder was trained under other splits, or the lesions cannot answer the
            task.
    """
    from miram.evaluation.controls import blank, blank_pixels, permuted_labels
    from miram.evaluation.features.extract import feature_table
    from miram.evaluation.probes.scoring import features_by_seed, features_to_evaluate

    ids = splits["lesion_id"]
    rows = crops.rows(ids)
    empty = feature_table(encoder, ids, blank(crops.crops[rows]), crops.masks[rows], config)
    [(seed, trained), *_] = features_to_evaluate(features, splits, evaluation.seeds).items()
    nothing = features_by_seed(empty, ids)[seed]
    found = {
        "permuted_labels": permuted_labels(trained, lesions, splits, evaluation),
        "blank_pixels": blank_pixels(nothing, lesions, splits, evaluation),
    }
    for name, one in found.items():
        log.info(
            "%s: %s of %s %.3f (%.3f to %.3f), %d lesions of %d patients",
            name.replace("_", " "),
            one.metric,
            one.task,
            one.estimate,
            one.lower,
            one.upper,
            one.lesions,
            one.patients,
        )
    return {name: asdict(one) for name, one in found.items()}


def create_pipeline(**_: object) -> Pipeline:
    """Evaluate every method where there is nothing to find."""
    data = ["encoder", "features", "crops", "splits", "lesions"]
    node = Node(
        run_controls,
        inputs=[*data, "params:features", "params:evaluation"],
        outputs="controls",
        name="run_controls",
    )
    return for_each([node], METHODS)
