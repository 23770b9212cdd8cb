"""A predictor from wherever it is: a registry, a folder, or the file of an encoder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from miram.errors import MiramError

if TYPE_CHECKING:
    from miram.evaluation.features.pooling import FeatureConfig
    from miram.mammography.crops.cut import CropConfig
    from miram.serving.predictor import Predictor

_SCHEMES = ("models:/", "runs:/")
Settings = Callable[[], "tuple[CropConfig, FeatureConfig]"]


def load_predictor(model: str, tracking_uri: Callable[[], str], settings: Settings) -> "Predictor":
    """Load what embeds mammograms; its `origin` tells what was loaded.

    Args:
        model: `models:/...` of a registry, the folder of a predictor or of a registered model,
            or an `encoder.safetensors`.
        tracking_uri: Gives the address of the server, for a registered model.
        settings: Gives how crops are cut and read, for an encoder alone.

    Raises:
        MiramError: There is no such model, or it cannot be read.
    """
    from miram.models.checkpoints.files import EncoderCheckpoint
    from miram.serving.predictor import Predictor
    from miram.serving.regions import TISSUE_PATCHES

    if model.startswith(_SCHEMES):
        return _registered(model, tracking_uri())
    path = Path(model)
    if path.is_dir():
        return replace(Predictor.load(_inside(path)), origin=path.resolve().name)
    if path.suffix != ".safetensors":
        raise MiramError(
            f"no model at {model}: give models:/<name>@champion, the folder of a predictor, or "
            "an encoder.safetensors"
        )
    encoder = EncoderCheckpoint.load(path)
    crops, features = settings()
    crops = crops.model_copy(update={"backgrounds_per_image": TISSUE_PATCHES})
    about = {"encoder": path.name}
    return Predictor(encoder, features, crops, about=about, origin=path.name)


def _registered(model: str, uri: str) -> "Predictor":
    import mlflow
    from mlflow.exceptions import MlflowException

    from miram.serving.predictor import Predictor
    from miram.serving.registry.tracking import require_store, tracking

    require_store(uri)
    with tracking(uri), TemporaryDirectory() as temporary:
        try:
            # By its number, or the alias might have moved on between asking and loading.
            version = _numbered(model)
            folder = mlflow.artifacts.download_artifacts(version, dst_path=temporary)
        except (MlflowException, OSError) as error:
            raise MiramError(f"{model} cannot be had from {uri}: {error}") from error
        return replace(Predictor.load(_inside(Path(folder))), origin=version)


def _numbered(model: str) -> str:
    """The version that an alias means now, as `models:/name/3`; any other address as it is."""
    from mlflow import MlflowClient

    name, _, alias = model.removeprefix("models:/").partition("@")
    if not alias:
        return model
    version = MlflowClient().get_model_version_by_alias(name, alias)
    return f"models:/{name}/{version.version}"


def _inside(folder: Path) -> Path:
    """The predictor within a registered model, or the folder itself."""
    inner = folder / "artifacts" / "predictor"
    return inner if inner.is_dir() else folder
