"""What one CBIS-DDSM file is - full image, crop or mask - by its header or by its content."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import read_header
from miram.mammography.decoding.pictures import is_picture, picture_size
from miram.mammography.decoding.read import DecodingConfig, read_image
from miram.mammography.sources.cbis_ddsm.layouts import ImageInfo, SeriesIndex, image_key
from miram.mammography.sources.cbis_ddsm.paths import names_abnormality

# Share of pixels that are neither dark nor bright: at most 0.0014 in 60 real JPEG masks, at
# least 0.11 in 49 full images and 0.57 in 187 crops.
_MOST_GREY_OF_MASK = 0.03
_DARK, _BRIGHT = 0.125, 0.875
_THUMBNAIL = 256
# Masks differ from their image by one scale in both axes, 1.149 where two scanners are mixed.
_LARGEST_SCALE = 1.25
_LARGEST_DISTORTION = 1.03


class FileRole(StrEnum):
    """What a file shows."""

    FULL = "full"
    CROP = "crop"
    MASK = "mask"
    UNKNOWN = "unknown"


_DESCRIPTIONS = {
    "full mammogram images": FileRole.FULL,
    "cropped images": FileRole.CROP,
    "roi mask images": FileRole.MASK,
}


@dataclass(frozen=True)
class FileLook:
    """What is known of a file without decoding it.

    Attributes:
        path: The file.
        role: What it shows; UNKNOWN where header and tables do not tell.
        rows: Height in pixels, 0 where unknown.
        columns: Width in pixels, 0 where unknown.
        problem: Why the file cannot be read, or empty.
        instance: What copies of the file share: its SOPInstanceUID, else its series and name.
        size: Bytes on disk.
    """

    path: Path
    role: FileRole
    rows: int
    columns: int
    problem: str = ""
    instance: str = ""
    size: int = 0

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.rows * self.columns


def look_at(path: Path, index: SeriesIndex) -> FileLook:
    """Read what header and tables say of a file.

    Args:
        path: An image file of the index.
        index: For Kaggle's header table.

    Returns:
        Role and size. A picture without a row in the header table has role UNKNOWN.
    """
    try:
        if _is_picture_file(path):
            info = index.info(path)
            rows, columns = picture_size(path)
            role, size = _role_of_info(info, path), path.stat().st_size
            return FileLook(path, role, rows, columns, instance=image_key(path), size=size)
        header = read_header(path)
        size = path.stat().st_size
    except (DecodingError, OSError) as error:
        return FileLook(path, FileRole.UNKNOWN, 0, 0, str(error))
    names = (header.patient_id, *(part.name for part in path.parents))
    role = role_of(header.bits_allocated, header.series_description, *names)
    instance = header.sop_instance_uid or f"{header.series_uid}/{path.name}"
    return FileLook(path, role, header.rows, header.columns, instance=instance, size=size)


def is_cbis_ddsm(description: str, *names: str) -> bool:
    """Tell whether SeriesDescription, PatientID or a folder name are those of CBIS-DDSM."""
    described = description.strip().lower() in _DESCRIPTIONS
    return described or any(names_abnormality(name) is not None for name in names)


def role_of(bits_allocated: int, description: str, *names: str) -> FileRole:
    """Tell a file's role from its header fields.

    Args:
        bits_allocated: 8 for masks, 16 for images; 0 where unknown.
        description: SeriesDescription, often blank.
        *names: PatientID and folder names; the first that is a CBIS-DDSM name counts.

    Returns:
        MASK for 8 bits; else by the description; else CROP where a name has an abnormality
        number and FULL where it has none; else UNKNOWN.
    """
    if bits_allocated == 8:
        return FileRole.MASK
    described = _DESCRIPTIONS.get(description.strip().lower(), FileRole.UNKNOWN)
    if bits_allocated != 16:
        return described
    if described in (FileRole.FULL, FileRole.CROP):
        return described
    for name in names:
        abnormality = names_abnormality(name)
        if abnormality is not None:
            return FileRole.CROP if abnormality else FileRole.FULL
    return FileRole.UNKNOWN


def shaped_alike(look: FileLook, full: FileLook) -> bool:
    """Tell whether a file has the shape of a full image, up to the scanners' scale."""
    if not look.area or not full.area:
        return False
    height, width = look.rows / full.rows, look.columns / full.columns
    scale_fits = all(1 / _LARGEST_SCALE <= ratio <= _LARGEST_SCALE for ratio in (height, width))
    return scale_fits and max(height, width) <= _LARGEST_DISTORTION * min(height, width)


def is_two_valued(path: Path) -> bool:
    """Tell by a thumbnail whether a file holds black and white alone, as a mask does.

    Args:
        path: An image file. JPEG is decoded at a reduced scale, which takes some 10 ms.

    Returns:
        Whether at most 3 % of the pixels are grey.

    Raises:
        DecodingError: If a DICOM file cannot be decoded.
        OSError: If a picture cannot be decoded.
    """
    if _is_picture_file(path):
        with Image.open(path) as picture:
            picture.draft("L", (_THUMBNAIL, _THUMBNAIL))
            levels = np.asarray(picture.convert("L")) / 255
    else:
        image = read_image(path, DecodingConfig(voi="none"))
        step = max(1, min(image.pixels.shape) // _THUMBNAIL)
        levels = image.pixels[::step, ::step] / image.white
    grey = (levels > _DARK) & (levels < _BRIGHT)
    return float(grey.mean()) <= _MOST_GREY_OF_MASK


def _role_of_info(info: ImageInfo | None, path: Path) -> FileRole:
    if info is None:
        return FileRole.UNKNOWN
    return role_of(info.bits_allocated, info.description, info.patient_id, path.parent.name)


def _is_picture_file(path: Path) -> bool:
    with path.open("rb") as file:
        return is_picture(file.read(4))
