"""Nodes of the promote pipeline; torch is imported when a node runs."""

from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.evaluation.results import Evaluation
from miram.integrations.deferred import (
    AssessmentConfig,
    EncoderCheckpoint,
    FeatureConfig,
    Predictor,
    PromotionConfig,
)
from miram.mammography.crops.store import CropStore


def build_predictor(
    method: str,
    encoder: EncoderCheckpoint,
    features: pd.DataFrame,
    evaluated: Evaluation,
    crops: CropStore,
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    reading: FeatureConfig,
    evaluation: AssessmentConfig,
    promote: PromotionConfig,
) -> Predictor:
    """Fit the probe on all training lesions and put it beside its encoder.

    Of a method with several seeds the first that was evaluated is served; the metrics beside it
    are means over the seeds.
    """
    from miram.models.checkpoints.joined import split_seeds
    from miram.serving.predictor import Predictor as Built
    from miram.serving.predictor import check_origin, crop_settings, fit_served_probe

    if promote.method not in (None, method):
        raise MiramError(
            f"promote.method is {promote.method} in a file of parameters, but the catalog reads "
            f"{method}: give it as --params promote.method={promote.method}"
        )
    metrics = evaluated.metrics
    check_origin(encoder, crops, features, metrics, reading)
    seed = metrics["seeds"][0]
    fitted = fit_served_probe(features, lesions, splits, promote.task, evaluation, seed)
    about = {
        "method": method,
        "data_digest": crops.digest,
        "split": splits["strategy"].iloc[0],
        "seed": seed,
        "seeds": "+".join(map(str, metrics["seeds"])),
    }
    return Built(
        split_seeds(encoder)[seed],
        reading,
        crop_settings(crops, promote.patches),
        fitted,
        about,
        wanted=promote.wanted,
    )


def register_model(
    method: str,
    predictor: Predictor,
    evaluated: Evaluation,
    evaluation: AssessmentConfig,
    promote: PromotionConfig,
) -> dict[str, Any]:
    """Register a version in MLflow, and move the alias `champion` if it is earned.

    Returns:
        What was done: name, version, alias, the reason and the comparison.
    """
    from miram.integrations.mlflow.hook import running_hook
    from miram.serving.registry.versions import Release, register

    release = Release(
        method=method,
        predictor=predictor,
        metrics=evaluated.metrics,
        predictions=evaluated.predictions,
        config=promote,
        draws=evaluation.bootstrap_draws,
        seed=evaluation.seed,
    )
    hook = running_hook()
    return register(release, hook.config, hook.run_id)
