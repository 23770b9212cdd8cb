"""From a finished study to a predictor: crops as they were cut, features that are the encoder's."""

from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.evaluation.feature_plan import ORIGIN, plan_features
from miram.evaluation.pooling import FeatureConfig
from miram.mammography.crop_store import CropStore
from miram.mammography.cropping import CROPPING_VERSION, CropConfig
from miram.models.checkpoints import EncoderCheckpoint


def crop_settings(store: CropStore, patches: int) -> CropConfig:
    """How the crops of a store were cut, for cutting new ones alike.

    Args:
        store: The crop store.
        patches: Patches that stand for a mammogram in which nothing is marked.

    Raises:
        MiramError: The store was cut by another version of the cropping.
    """
    parameters = dict(store.info["parameters"])
    version = parameters.pop("version")
    if version != CROPPING_VERSION:
        raise MiramError(
            f"the crop store was cut by version {version} of the cropping, this miram has version "
            f"{CROPPING_VERSION}: run rois, pretrain and probe again before promote"
        )
    return CropConfig.model_validate({**parameters, "backgrounds_per_image": patches})


def check_origin(
    encoder: EncoderCheckpoint,
    store: CropStore,
    features: pd.DataFrame,
    metrics: dict[str, Any],
    config: FeatureConfig,
) -> None:
    """Check that stored features and figures are those of this encoder and of these crops.

    Else a probe fitted on an older encoder's features, or its figures, would be registered with
    a newer one.

    Args:
        encoder: The encoder.
        store: The crop store.
        features: Table of features, which says what it came from.
        metrics: Figures, which say the same.
        config: How tokens become one vector.

    Raises:
        MiramError: They are not.
    """
    lesions = features["lesion_id"].drop_duplicates()
    expected = plan_features(encoder, store, lesions, config).origin
    found = {"features": features.attrs.get(ORIGIN), "figures": metrics.get("features")}
    for what, origin in found.items():
        if origin != expected:
            names = [name for name in expected if (origin or {}).get(name) != expected[name]]
            raise MiramError(
                f"the stored {what} are of another state of {', '.join(names)}: run `kedro run "
                "--pipeline probe` for this method again, or name the encoder that was probed "
                "with --load-versions candidate_encoder:..."
            )
