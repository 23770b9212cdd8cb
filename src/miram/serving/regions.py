"""What of a mammogram is encoded: its marked lesions, else patches of its breast tissue."""

from dataclasses import replace
from pathlib import Path

from miram.errors import MiramError
from miram.mammography.crops.cut import (
    CROPPING_VERSION,
    CropConfig,
    ImageCrops,
    ImageTask,
    cut_image,
)

TISSUE_PATCHES = 16  # of a mammogram in which nothing is marked


def cut_regions(task: ImageTask, raw_root: Path, config: CropConfig) -> ImageCrops:
    """Cut what an encoder is to see of a mammogram, by the code that cut its training crops.

    A marked lesion is cut as for training. A mammogram in which nothing is marked has no crop
    of its own in training, and a whole breast scaled down to one is at a scale that the encoder
    never saw. It gives patches instead, as pretraining takes them from such images: of the
    size of a lesion, inside the breast, at places that follow from `image_id`.

    Args:
        task: The mammogram and its marked lesions.
        raw_root: Folder of the raw data.
        config: How crops were cut for training; `backgrounds_per_image` is the number of
            patches of an unmarked mammogram.

    Returns:
        The crops. A mammogram without a single one has an audit row with the action `left out`.
    """
    if task.lesions:
        config = config.model_copy(update={"backgrounds_per_image": 0})
    # Patches to be looked at may hold a lesion; only those to train on as background may not.
    cut = cut_image(replace(task, no_backgrounds=""), raw_root, config)
    if cut.rows or any(problem["action"] == "left out" for problem in cut.problems):
        return cut
    return replace(cut, problems=[{**row, "action": "left out"} for row in cut.problems])


def require_cropping(version: int) -> None:
    """Check that crops are cut here as they were cut for a model.

    Args:
        version: `CROPPING_VERSION` when the model was made.

    Raises:
        MiramError: They are not: its features would not be those it was judged by.
    """
    if version != CROPPING_VERSION:
        raise MiramError(
            f"the model was made for crops of version {version}, this miram cuts version "
            f"{CROPPING_VERSION}: register it again from a study of this version, or install the "
            "miram that it was registered with"
        )
