"""A folder of mammograms and a model, with whatever the project's parameters say of both."""

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.utils import find_kedro_project

from miram.evaluation.features.pooling import FeatureConfig
from miram.integrations.parameters import load_parameters, registry_uri
from miram.mammography.crops.cut import CropConfig
from miram.mammography.lesion_table import validate_lesions
from miram.mammography.sources import SOURCES, Ingested, make_source
from miram.mammography.sources.base import NothingFoundError
from miram.serving.embed import EmbeddingConfig, EmbeddingPlan, plan_embedding
from miram.serving.predictor import Predictor
from miram.serving.registry.versions import load_predictor


def plan_folder(
    folder: Path,
    source: str,
    config: EmbeddingConfig,
    *,
    env: str | None = None,
    data_root: Path | None = None,
) -> EmbeddingPlan:
    """Plan the embedding of a folder, with the options that the project gives the source.

    Outside of a project the source has its own defaults, and only a model that brings its
    settings can be used. `data_root` is where a local registry lies.

    Raises:
        MiramError: The model or the folder cannot be read.
    """
    predictor = load_model(config.model, env=env, data_root=data_root)
    ingested = find_mammograms(folder, source, _options(env, source), predictor)
    return plan_embedding(ingested, folder, predictor, config)


def load_model(model: str, *, env: str | None = None, data_root: Path | None = None) -> Predictor:
    """Load a model, see `load_predictor`, with the registry and the parameters of the project.

    Raises:
        MiramError: There is no such model, or it cannot be read.
    """
    return load_predictor(model, lambda: registry_uri(env, data_root), lambda: _settings(env))


def find_mammograms(
    folder: Path, source: str, options: dict[str, Any] | None, predictor: Predictor
) -> Ingested:
    """Find the mammograms of a folder that a model answers for.

    A folder of DICOM files, if no option says otherwise, is searched for the kinds of images
    that the model reads.

    Returns:
        What was found, with the audit. Where nothing was, the lesion table is empty, so that the
        audit can still be written.

    Raises:
        MiramError: The folder cannot be read.
    """
    if source in ("dicom_folder", "image_table"):  # these can choose
        known = SOURCES[source].model_fields
        options = {**predictor.wanted.model_dump(include=set(known)), **(options or {})}
    try:
        return make_source(source, options).ingest(folder)
    except NothingFoundError as error:
        return Ingested(validate_lesions(pd.DataFrame()), error.audit)


def _settings(env: str | None) -> tuple[CropConfig, FeatureConfig]:
    """How the project cuts crops and reads features, for an encoder that does not say."""
    parameters = load_parameters(env)
    crops = CropConfig.model_validate(parameters["rois"])
    return crops, FeatureConfig.model_validate(parameters["features"])


def _options(env: str | None, source: str) -> dict[str, Any] | None:
    """Options of the source, where there is a project to set them."""
    if find_kedro_project(Path.cwd()) is None:
        return None
    options: dict[str, Any] | None = load_parameters(env).get("sources", {}).get(source)
    return options
