"""Whether the methods of a run can be trained, asked before the long work."""

from typing import Any

from kedro.pipeline import Pipeline

from miram.errors import MiramError
from miram.models.methods import METHODS

_CROPS = "crops"


def check_models(pipeline: Pipeline, catalog: Any) -> None:
    """Build the model of every method that is to be trained, without weights, and compare sizes.

    Otherwise a setting that fits nothing would be told after hours of cropping and training.

    Args:
        pipeline: What is to run.
        catalog: Holds the parameters, and the crop store if an earlier run has made it.

    Raises:
        MiramError: The parts of a model do not fit each other, or the crops do not fit it.
    """
    made = pipeline.all_outputs()
    trained = [method for method in METHODS if f"{method}.encoder" in made]
    if not trained:
        return
    cut = _CROPS in made
    crops = catalog.load("params:rois" if cut else _CROPS)
    side = crops.image_size
    encoder = catalog.load("params:encoder")
    _check_encoder(encoder)
    for name in trained:
        method = catalog.load(f"params:{name}.method")
        try:
            _check_model(method, encoder, side, cut=cut)
        except MiramError as error:
            raise MiramError(f"method {name}: {error}") from error


def _check_encoder(encoder: Any) -> None:
    from miram.models.method_kinds import RandomConfig, build_on_meta_device

    if encoder.channels != 1:
        raise MiramError(
            f"encoder.channels is {encoder.channels}, but mammograms have 1: set it to 1; weights "
            "for 3 channels are summed where a training starts from them"
        )
    build_on_meta_device(RandomConfig(), encoder)


def _check_model(method: Any, encoder: Any, side: int, *, cut: bool) -> None:
    from miram.models.method_kinds import build_on_meta_device

    build_on_meta_device(method, encoder)
    needed = method.crop_size(encoder)
    # A frozen model trains on no crops, and features are made at its own side.
    if side % needed and method.trained:
        recut = "" if cut else " and run `kedro run --pipeline rois`"
        raise MiramError(
            f"crops of side {side} do not serve a method that takes side {needed}: set "
            f"rois.image_size to a multiple of {needed}{recut}, or change encoder.image_size"
        )
