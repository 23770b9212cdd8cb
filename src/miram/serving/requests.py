"""What of a mammogram is encoded: its marked lesions, else patches of its breast tissue.

Registered models keep a copy of the code that calls `cut_posted`, so its arguments and results
stay.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miram.errors import MiramError
from miram.mammography.crops.cut import (
    CROPPING_VERSION,
    CropConfig,
    ImageCrops,
    ImageTask,
    LesionTask,
    cut_image,
)
from miram.mammography.crops.geometry import Box
from miram.mammography.decoding.headers import image_facts
from miram.mammography.decoding.pictures import is_picture_file
from miram.mammography.decoding.read import DecodingError, read_header
from miram.mammography.sources.wanted import UnwantedImageError, WantedImages, check_image

TISSUE_PATCHES = 16  # of a mammogram in which nothing is marked


def cut_regions(task: ImageTask, raw_root: Path, config: CropConfig) -> ImageCrops:
    """Cut what an encoder is to see of a mammogram, by the code that cut its training crops.

    A marked lesion is cut as for training. A mammogram in which nothing is marked has no crop
    of its own in training, and a whole breast scaled down to one is at a scale that the encoder
    never saw. It gives patches instead, as pretraining takes them from such images: of the
    size of a lesion, inside the breast, at places that follow from `image_id`;
    `backgrounds_per_image` is their number.

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
    """Check that crops are cut here as they were for a model, by its `CROPPING_VERSION`.

    Raises:
        MiramError: They are not: its features would not be those it was evaluated on.
    """
    if version != CROPPING_VERSION:
        raise MiramError(
            f"the model was made for crops of version {version}, this miram cuts version "
            f"{CROPPING_VERSION}: register it again from a study of this version, or install the "
            "miram that it was registered with"
        )


@dataclass(frozen=True)
class PostedCrops:
    """What was cut from a posted file."""

    crops: NDArray[np.uint16]  # (n, H, H)
    masks: NDArray[np.uint8]  # (n, h, h), lesion coverage with 255 for all of a cell
    squares: list[list[int]]  # [x0, y0, x1, y1] of each crop in pixels of the mammogram
    notes: list[str]  # what the sender should know: what the audit of crops would say


def cut_posted(content: bytes, box: Any, settings: dict[str, Any]) -> PostedCrops:
    """Cut a lesion, or patches of breast tissue, from a DICOM file.

    Args:
        content: The file.
        box: [x0, y0, x1, y1] of the lesion in pixels, x1 and y1 one past its edge; None for
            patches of breast tissue, see `cut_regions`.
        settings: `settings.json` of the model.

    Raises:
        MiramError: The file is no mammogram that the model reads, no single grey image, or the
            box does not lie in it.
    """
    require_cropping(settings["cropping_version"])
    config = CropConfig.from_stored(settings["crops"])
    wanted = WantedImages.model_validate(settings.get("wanted", {}))
    with TemporaryDirectory() as name:
        path = Path(name) / "posted.dcm"
        path.write_bytes(content)
        return _cut(path, box, config, _of_dicom(path, wanted))


def cut_file(path: Path, box: Any, config: CropConfig, wanted: WantedImages) -> PostedCrops:
    """Cut a lesion, or patches of breast tissue, from a DICOM file, or a PNG, TIFF or JPEG.

    A picture does not say what it is, so `wanted` is asked of DICOM files alone.

    Raises:
        MiramError: As for `cut_posted`, whose `box` this is.
    """
    try:
        if not is_picture_file(path):
            return _cut(path, box, config, _of_dicom(path, wanted))
        facts = image_facts(path)
    except DecodingError as error:
        raise MiramError(f"{error.detail} ({error.code})") from error
    except OSError as error:
        raise MiramError(error.strerror or str(error)) from error
    return _cut(path, box, config, _Image("", facts.rows, facts.columns))


class _Image(NamedTuple):
    uid: str  # empty where the file has none
    rows: int
    columns: int


def _of_dicom(path: Path, wanted: WantedImages) -> _Image:
    try:
        header = read_header(path)
        check_image(path, header, wanted)
    except UnwantedImageError as error:
        reads = {
            "other_modality": ", ".join(wanted.modalities),
            "mask_or_crop": "whole mammograms",
            "for_processing": "processed ones",
        }
        raise MiramError(
            f"{error.fact}: this model reads {reads.get(error.code, 'ordinary mammograms')}"
        ) from error
    except DecodingError as error:
        raise MiramError(f"{error.detail} ({error.code})") from error
    return _Image(header.sop_instance_uid, header.rows, header.columns)


def _cut(path: Path, box: Any, config: CropConfig, image: _Image) -> PostedCrops:
    lesions: tuple[LesionTask, ...] = ()
    notes: list[str] = []
    if box is not None:
        given = _box(box, image.rows, image.columns)
        inside = given.clipped(image.rows, image.columns)
        if inside != given:
            notes.append(
                f"the box reaches over the edge of an image of {image.columns} columns and "
                f"{image.rows} rows; only what is inside was taken"
            )
        lesions = (LesionTask("box", (), inside),)
    # The places of the patches follow from this name, here as when a folder is embedded.
    image_id = image.uid or hashlib.sha256(path.read_bytes()).hexdigest()
    cut = cut_regions(ImageTask(image_id, path.name, "", lesions), path.parent, config)
    reasons = [f"{row['detail']} ({row['code']})" for row in cut.problems]
    if not cut.rows:
        raise MiramError("; ".join(reasons))
    squares = [[int(row[f"crop_{side}"]) for side in ("x0", "y0", "x1", "y1")] for row in cut.rows]
    return PostedCrops(cut.crops, cut.masks, squares, notes + reasons)


def _box(values: Any, rows: int, columns: int) -> Box:
    try:
        given = x0, y0, x1, y1 = tuple(map(_number, values))
        # Outwards, as boxes of a table are rounded for training.
        box = Box(*map(math.floor, (x0, y0)), *map(math.ceil, (x1, y1)))
    except (TypeError, ValueError, OverflowError):
        raise MiramError("box is [x0, y0, x1, y1], four numbers of pixels") from None
    if max(given) < 1.1 and any(number % 1 for number in given):
        raise MiramError(f"box {list(given)} is in parts of the image: give it in pixels")
    if x0 >= x1 or y0 >= y1 or box.clipped(rows, columns) is None:
        raise MiramError(
            f"box {list(given)} has no pixel in an image of {columns} columns and {rows} "
            "rows; it is [x0, y0, x1, y1]"
        )
    return box


def _number(value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError("no number")
    return float(value)
