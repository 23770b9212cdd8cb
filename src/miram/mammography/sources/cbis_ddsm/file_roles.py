"""The full image, masks and crop of one lesion, found by what the files are.

The crop and mask columns of the case descriptions are often swapped, 104 rows keep the two in
different series, and the file numbers differ between layouts. So the columns only say in which
series to search; what a file is decides, and every repair is noted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import read_header
from miram.mammography.decoding.pictures import is_picture_file, picture_facts
from miram.mammography.decoding.read import read_thumbnail
from miram.mammography.sources.cbis_ddsm.layouts import SeriesIndex, image_key
from miram.mammography.sources.files import PICTURE_SUFFIXES

# Share of pixels that are neither dark nor bright: at most 0.0014 in 60 real JPEG masks, at
# least 0.11 in 49 full images and 0.57 in 187 crops.
_MOST_GREY_OF_MASK = 0.03
_DARK, _BRIGHT = 0.125, 0.875
_THUMBNAIL = 256
# Masks differ from their image by one scale in both axes, 1.149 where two scanners are mixed.
_LARGEST_SCALE = 1.25
_LARGEST_DISTORTION = 1.03
# A full image is never this much smaller than its mask.
_TOO_SMALL = 1.6
# Some mask headers keep `P_00562_LEFT_CC_2.dcm` as the patient id.
_ABNORMALITY = re.compile(
    r"(?:.*_)?P_\d{5}_(?:LEFT|RIGHT)_(?:CC|MLO)(_[1-9]\d*)?(?:\.dcm)?", re.ASCII | re.DOTALL
)


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
class ImageFile:
    """What is known of a file without decoding it.

    Attributes:
        rows: Height in pixels, 0 where unknown; `columns` likewise.
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


class Note(NamedTuple):
    """One remark on a lesion's files, a row of the audit."""

    code: str
    detail: str


@dataclass(frozen=True)
class LesionFiles:
    """The files of one lesion, the masks of the mask column's series first.

    `crop` is what CBIS-DDSM cut; `notes` say what was missing, odd or repaired.
    """

    full: ImageFile | None
    masks: tuple[ImageFile, ...]
    crop: Path | None
    notes: tuple[Note, ...]


class FileResolver:
    """Finds the files of one lesion after the other."""

    def __init__(self, index: SeriesIndex) -> None:
        self.index = index
        self._identify = cache(partial(identify, index=index))  # lesions share files

    def resolve(self, image_series: str, crop_series: str, mask_series: str) -> LesionFiles:
        """Find full image, masks and crop of a lesion by the series of its three columns.

        DICOM headers and Kaggle's header table identify most files. Other pictures are
        identified by size: a mask has the shape of its full image. Where that leaves not exactly
        one mask, a thumbnail is decoded: a mask is black and white. A full image and a mask of
        equal size that have changed series, both without a header, are not noticed.
        """
        notes: list[Note] = []
        image_home, crop_home, mask_home = (
            self.index.files.get(uid, ()) for uid in (image_series, crop_series, mask_series)
        )
        images = self._read(image_home, notes)
        # A dictionary keeps the order and drops what both columns name.
        others = self._read(dict.fromkeys((*mask_home, *crop_home)), notes)
        own = {image.path for image in images}
        others = [file for file in others if file.path not in own]
        full = self._full_image(images, others, notes)
        if full is None:
            notes.append(Note("image_missing", _missing(images, image_series)))
        rest = [file for file in (*images, *others) if full is None or file.path != full.path]
        rest = _with_roles(rest, full, notes)
        masks = _of_role(rest, FileRole.MASK, mask_home)
        crops = _of_role(rest, FileRole.CROP, crop_home)
        if masks and not any(mask.path in mask_home for mask in masks):
            if not any(mask.path in crop_home for mask in masks):
                detail = f"the mask {masks[0].path.name} is in the series of the image column"
                notes.append(Note("swapped_columns", detail))
            elif any(crop.path in mask_home for crop in crops):
                detail = f"the mask column names the crop's series {mask_series}, and the reverse"
                notes.append(Note("swapped_columns", detail))
            else:
                detail = f"no mask in series {mask_series}, but in the crop column's {crop_series}"
                notes.append(Note("mask_in_crop_series", detail))
        if not masks:
            notes.append(Note("mask_missing", _missing(rest, mask_series)))
        if len(masks) > 1:
            notes.append(Note("several_masks", self._names(masks)))
        if not crops:
            notes.append(Note("crop_missing", "only the mask and the full image are needed"))
        if len(crops) > 1:
            notes.append(Note("several_crops", f"the first of {self._names(crops)} is taken"))
        chosen = [file.path for file in (full, *masks) if file is not None]
        if len({path.suffix.lower() in PICTURE_SUFFIXES for path in chosen}) > 1:
            names = ", ".join(path.name for path in chosen)
            notes.append(Note("mixed_formats", f"DICOM and pictures: {names}"))
        return LesionFiles(full, tuple(masks), crops[0].path if crops else None, tuple(notes))

    def _read(self, paths: Iterable[Path], notes: list[Note]) -> list[ImageFile]:
        """Identify files but those that cannot be read and poorer copies, which are noted."""
        files = [self._identify(path) for path in paths]
        notes += [Note("unreadable", file.problem) for file in files if file.problem]
        return self._without_copies([file for file in files if not file.problem], notes)

    def _without_copies(self, files: list[ImageFile], notes: list[Note]) -> list[ImageFile]:
        """Of the copies of a file that stand in several folders, keep the largest.

        Copies of the same bytes are not in the index. Where they differ, one mostly broke off.
        """
        groups: dict[tuple[str, int, int], list[ImageFile]] = {}
        for file in files:
            groups.setdefault((file.instance, file.rows, file.columns), []).append(file)
        dropped: set[Path] = set()
        for group in groups.values():
            best = min(group, key=_worth)
            copies = [file for file in group if file.path.parent != best.path.parent]
            if copies:
                dropped |= {file.path for file in copies}
                sizes = (f"{self._name(file)} ({file.size:,} bytes)" for file in (best, *copies))
                detail = f"the first of {', '.join(sizes)} is taken"
                notes.append(Note("differing_copies", detail))
        return [file for file in files if file.path not in dropped]

    def _full_image(
        self, images: list[ImageFile], others: list[ImageFile], notes: list[Note]
    ) -> ImageFile | None:
        """Choose the full image: by role in its own series, by role elsewhere, else by content."""
        own = [file for file in images if file.role == FileRole.FULL]
        if not own:
            own = [file for file in images if file.role == FileRole.UNKNOWN]
            elsewhere = [file for file in others if file.role == FileRole.FULL]
            largest = max((file.area for file in others), default=0)
            if elsewhere:
                return _elsewhere(min(elsewhere, key=_worth), notes)
            unnamed = [file for file in others if file.role == FileRole.UNKNOWN]
            if own and unnamed and largest > _TOO_SMALL * max(file.area for file in own):
                greys = [file for file in (*own, *unnamed) if _two_valued(file, notes) is False]
                grey = min(greys, key=_worth, default=None)
                if grey is not None and grey not in own:
                    return _elsewhere(grey, notes)
        own.sort(key=_worth)
        if len(own) > 1:
            notes.append(Note("several_images", f"the largest of {self._names(own)} is taken"))
        return own[0] if own else None

    def _name(self, file: ImageFile) -> str:
        return file.path.relative_to(self.index.root).as_posix()

    def _names(self, files: list[ImageFile]) -> str:
        return ", ".join(map(self._name, files))


def identify(path: Path, index: SeriesIndex) -> ImageFile:
    """Read what header and tables say of a file of the index.

    A picture without a row in Kaggle's header table has the role UNKNOWN.
    """
    try:
        if is_picture_file(path):
            rows, columns = picture_facts(path)[:2]
            instance, role = image_key(path), FileRole.UNKNOWN
            if info := index.infos.get(instance):
                folder = path.parent.name
                role = role_of(info.bits_allocated, info.description, info.patient_id, folder)
        else:
            header = read_header(path)
            rows, columns = header.rows, header.columns
            names = (header.patient_id, *(part.name for part in path.parents))
            role = role_of(header.bits_allocated, header.series_description, *names)
            instance = header.sop_instance_uid or f"{header.series_uid}/{path.name}"
        size = path.stat().st_size
    except (DecodingError, OSError) as error:
        return ImageFile(path, FileRole.UNKNOWN, 0, 0, str(error))
    return ImageFile(path, role, rows, columns, instance=instance, size=size)


def is_cbis_ddsm(description: str, *names: str) -> bool:
    """Whether SeriesDescription, PatientID or a folder name are those of CBIS-DDSM."""
    described = description.strip().lower() in _DESCRIPTIONS
    return described or any(names_abnormality(name) is not None for name in names)


def names_abnormality(folder: str) -> bool | None:
    """Whether a CBIS-DDSM folder name has an abnormality number; None for any other text."""
    match = _ABNORMALITY.fullmatch(folder.strip())
    return None if match is None else match[1] is not None


def role_of(bits_allocated: int, description: str, *names: str) -> FileRole:
    """Derive a file's role from its header fields.

    MASK for 8 bits; else by the SeriesDescription, often blank; else by the first of `names`
    (PatientID, folders) that is one of CBIS-DDSM, CROP where it has an abnormality number.
    """
    if bits_allocated == 8:
        return FileRole.MASK
    described = _DESCRIPTIONS.get(description.strip().lower(), FileRole.UNKNOWN)
    if bits_allocated != 16 or described in (FileRole.FULL, FileRole.CROP):
        return described
    for name in names:
        abnormality = names_abnormality(name)
        if abnormality is not None:
            return FileRole.CROP if abnormality else FileRole.FULL
    return FileRole.UNKNOWN


def shaped_alike(file: ImageFile, full: ImageFile) -> bool:
    """Whether a file has the shape of a full image, up to the scanners' scale."""
    if not file.area or not full.area:
        return False
    height, width = file.rows / full.rows, file.columns / full.columns
    scale_fits = all(1 / _LARGEST_SCALE <= ratio <= _LARGEST_SCALE for ratio in (height, width))
    return scale_fits and max(height, width) <= _LARGEST_DISTORTION * min(height, width)


def is_two_valued(path: Path) -> bool:
    """Whether the thumbnail of a file is black and white but for 3 % of its pixels, as a mask is.

    JPEG is decoded at a reduced scale, in some 10 ms. DecodingError or OSError where that fails.
    """
    levels = read_thumbnail(path, _THUMBNAIL)
    grey = (levels > _DARK) & (levels < _BRIGHT)
    return float(grey.mean()) <= _MOST_GREY_OF_MASK


def _worth(file: ImageFile) -> tuple[int, int, str]:
    """Sort the largest image first; of equal ones the largest file, since others broke off."""
    return -file.area, -file.size, str(file.path)


def _elsewhere(file: ImageFile, notes: list[Note]) -> ImageFile:
    detail = f"the full image {file.path.name} is in a series of the crop or mask column"
    notes.append(Note("swapped_columns", detail))
    return file


def _with_roles(
    files: list[ImageFile], full: ImageFile | None, notes: list[Note]
) -> list[ImageFile]:
    """Give a role to the files whose role is unknown: by size, where that fails by content."""
    unknown = [file for file in files if file.role == FileRole.UNKNOWN]
    if not unknown:
        return files
    by_size = {
        file.path: FileRole.MASK if full and shaped_alike(file, full) else FileRole.CROP
        for file in unknown
    }
    named_masks = sum(file.role == FileRole.MASK for file in files)
    sized_masks = list(by_size.values()).count(FileRole.MASK)
    roles = by_size
    if full is None or named_masks + sized_masks != 1:
        roles = {file.path: _by_content(file, by_size, full, notes) for file in unknown}
    return [replace(file, role=roles.get(file.path, file.role)) for file in files]


def _by_content(
    file: ImageFile, by_size: dict[Path, FileRole], full: ImageFile | None, notes: list[Note]
) -> FileRole:
    two_valued = _two_valued(file, notes)
    if two_valued is None:
        return FileRole.UNKNOWN
    role = FileRole.MASK if two_valued else FileRole.CROP
    if full is not None and role != by_size[file.path]:
        shape = f"{file.rows} x {file.columns} beside an image of {full.rows} x {full.columns}"
        detail = f"{file.path.name} is a {role} by content but not by size: {shape}"
        notes.append(Note("role_doubtful", detail))
    return role


def _two_valued(file: ImageFile, notes: list[Note]) -> bool | None:
    try:
        return is_two_valued(file.path)
    except (DecodingError, OSError) as error:
        note = Note("unreadable", f"{file.path} cannot be decoded: {error}")
        if note not in notes:
            notes.append(note)
        return None


def _of_role(files: list[ImageFile], role: FileRole, home: tuple[Path, ...]) -> list[ImageFile]:
    chosen = [file for file in files if file.role == role]
    return sorted(chosen, key=lambda file: (file.path not in home, str(file.path)))


def _missing(files: list[ImageFile], series_uid: str) -> str:
    if not files:
        return f"no file of series {series_uid}: is the download complete?"
    found = ", ".join(f"{file.path.name} ({file.role})" for file in files)
    return f"series {series_uid} has none among: {found}"
