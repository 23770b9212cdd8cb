"""The full image, masks and crop of one lesion, found by what the files are.

The crop and mask columns of the case descriptions are often swapped, 104 rows keep the two in
different series, and the file numbers differ between layouts. So the columns only say in which
series to look; what a file is decides, and every repair is noted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.sources.cbis_ddsm.file_content import (
    FileLook,
    FileRole,
    is_two_valued,
    look_at,
    shaped_alike,
)
from miram.mammography.sources.cbis_ddsm.layouts import SeriesIndex

__all__ = ["FileRole", "LesionFiles", "Note", "NoteCode", "resolve_lesion_files"]

_PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
# A full image is never this much smaller than its mask.
_TOO_SMALL = 1.6


class NoteCode(StrEnum):
    """What was found missing, odd or repaired."""

    IMAGE_MISSING = "image_missing"
    MASK_MISSING = "mask_missing"
    CROP_MISSING = "crop_missing"
    SWAPPED_COLUMNS = "swapped_columns"
    MASK_IN_CROP_SERIES = "mask_in_crop_series"
    SEVERAL_IMAGES = "several_images"
    SEVERAL_MASKS = "several_masks"
    SEVERAL_CROPS = "several_crops"
    DIFFERING_COPIES = "differing_copies"
    ROLE_DOUBTFUL = "role_doubtful"
    MIXED_FORMATS = "mixed_formats"
    UNREADABLE = "unreadable"


class Note(NamedTuple):
    """One remark on a lesion's files, a row of the audit."""

    code: NoteCode
    detail: str


@dataclass(frozen=True)
class LesionFiles:
    """The files of one lesion.

    Attributes:
        full: The full mammogram, or None.
        masks: Its masks, those of the mask column's series first; empty where none was found.
        crop: The crop that CBIS-DDSM made, or None.
        notes: What was missing, odd or repaired.
    """

    full: Path | None
    masks: tuple[Path, ...]
    crop: Path | None
    notes: tuple[Note, ...]


def resolve_lesion_files(
    image_series: str,
    crop_series: str,
    mask_series: str,
    index: SeriesIndex,
    looks: dict[Path, FileLook] | None = None,
) -> LesionFiles:
    """Find the full image, the masks and the crop of a lesion.

    DICOM headers and Kaggle's header table tell most files apart. Other pictures are told
    apart by size: a mask has the shape of its full image. Where that leaves not exactly one
    mask, a thumbnail is decoded: a mask is black and white. A full image and a mask of equal
    size that have changed series, both without a header, are not seen.

    Args:
        image_series: Series UID of the image column.
        crop_series: Series UID of the crop column.
        mask_series: Series UID of the mask column; may equal `crop_series`.
        index: The files on disk.
        looks: Memory of files already looked at, filled here. Give the same dictionary for all
            lesions of a run, since several share an image.

    Returns:
        The files and the notes.
    """
    looks = {} if looks is None else looks
    notes: list[Note] = []
    images = _look_all(index.files(image_series), index, looks, notes)
    # A dictionary keeps the order and drops what both columns name.
    paths = dict.fromkeys((*index.files(mask_series), *index.files(crop_series)))
    others = [
        look
        for look in _look_all(paths, index, looks, notes)
        if look.path not in {image.path for image in images}
    ]
    full = _full_image(images, others, index, notes)
    if full is None:
        notes.append(Note(NoteCode.IMAGE_MISSING, _missing(images, image_series)))
    rest = [look for look in (*images, *others) if full is None or look.path != full.path]
    rest = _settle(rest, full, notes)
    masks = _of_role(rest, FileRole.MASK, index.files(mask_series))
    crops = _of_role(rest, FileRole.CROP, index.files(crop_series))
    _note_places(masks, crops, crop_series, mask_series, index, notes)
    _note_numbers(masks, crops, rest, mask_series, index, notes)
    chosen = [look.path for look in (full, *masks) if look is not None]
    if len({path.suffix.lower() in _PICTURES for path in chosen}) > 1:
        names = ", ".join(path.name for path in chosen)
        notes.append(Note(NoteCode.MIXED_FORMATS, f"DICOM and pictures: {names}"))
    return LesionFiles(
        full=full.path if full else None,
        masks=tuple(mask.path for mask in masks),
        crop=crops[0].path if crops else None,
        notes=tuple(notes),
    )


def _look_all(
    paths: Iterable[Path], index: SeriesIndex, looks: dict[Path, FileLook], notes: list[Note]
) -> list[FileLook]:
    """Look at the files; note and leave out those that cannot be read and poorer copies."""
    for path in paths:
        if path not in looks:
            looks[path] = look_at(path, index)
    found = [looks[path] for path in paths]
    notes += [Note(NoteCode.UNREADABLE, look.problem) for look in found if look.problem]
    return _once([look for look in found if not look.problem], index, notes)


def _once(looks: list[FileLook], index: SeriesIndex, notes: list[Note]) -> list[FileLook]:
    """Of the copies of a file that stand in several folders, keep the largest.

    Copies of the same bytes are not in the index. Where they differ one of them mostly broke
    off, so that the larger is the better one. Files of one folder are never copies.
    """
    groups: dict[tuple[str, int, int], list[FileLook]] = {}
    for look in looks:
        groups.setdefault((look.instance, look.rows, look.columns), []).append(look)
    dropped: set[Path] = set()
    for group in groups.values():
        best = min(group, key=_worth)
        copies = [look for look in group if look.path.parent != best.path.parent]
        if copies:
            dropped |= {look.path for look in copies}
            sizes = (f"{_place(look, index)} ({look.size:,} bytes)" for look in (best, *copies))
            detail = f"the first of {', '.join(sizes)} is taken"
            notes.append(Note(NoteCode.DIFFERING_COPIES, detail))
    return [look for look in looks if look.path not in dropped]


def _worth(look: FileLook) -> tuple[int, int, str]:
    """Sort the largest image first; of equal ones the largest file, since others broke off."""
    return -look.area, -look.size, str(look.path)


def _place(look: FileLook, index: SeriesIndex) -> str:
    return look.path.relative_to(index.root).as_posix()


def _full_image(
    images: list[FileLook], others: list[FileLook], index: SeriesIndex, notes: list[Note]
) -> FileLook | None:
    """Choose the full image: by role in its own series, by role elsewhere, else by content."""
    own = [look for look in images if look.role == FileRole.FULL]
    if not own:
        own = [look for look in images if look.role == FileRole.UNKNOWN]
        elsewhere = [look for look in others if look.role == FileRole.FULL]
        largest = max((look.area for look in others), default=0)
        if elsewhere:
            return _elsewhere(min(elsewhere, key=_worth), notes)
        unnamed = [look for look in others if look.role == FileRole.UNKNOWN]
        if own and unnamed and largest > _TOO_SMALL * max(look.area for look in own):
            greys = [look for look in (*own, *unnamed) if _two_valued(look, notes) is False]
            grey = min(greys, key=_worth, default=None)
            if grey is not None and grey not in own:
                return _elsewhere(grey, notes)
    own.sort(key=_worth)
    if len(own) > 1:
        names = ", ".join(_place(look, index) for look in own)
        notes.append(Note(NoteCode.SEVERAL_IMAGES, f"the largest of {names} is taken"))
    return own[0] if own else None


def _elsewhere(look: FileLook, notes: list[Note]) -> FileLook:
    detail = f"the full image {look.path.name} is in a series of the crop or mask column"
    notes.append(Note(NoteCode.SWAPPED_COLUMNS, detail))
    return look


def _settle(looks: list[FileLook], full: FileLook | None, notes: list[Note]) -> list[FileLook]:
    """Give a role to the files whose role is unknown: by size, where that fails by content."""
    unknown = [look for look in looks if look.role == FileRole.UNKNOWN]
    if not unknown:
        return looks
    by_size = {
        look.path: FileRole.MASK if full and shaped_alike(look, full) else FileRole.CROP
        for look in unknown
    }
    named_masks = sum(look.role == FileRole.MASK for look in looks)
    sized_masks = list(by_size.values()).count(FileRole.MASK)
    settled = by_size
    if full is None or named_masks + sized_masks != 1:
        settled = {look.path: _by_content(look, by_size, full, notes) for look in unknown}
    return [replace(look, role=settled.get(look.path, look.role)) for look in looks]


def _by_content(
    look: FileLook, by_size: dict[Path, FileRole], full: FileLook | None, notes: list[Note]
) -> FileRole:
    two_valued = _two_valued(look, notes)
    if two_valued is None:
        return FileRole.UNKNOWN
    role = FileRole.MASK if two_valued else FileRole.CROP
    if full is not None and role != by_size[look.path]:
        shape = f"{look.rows} x {look.columns} beside an image of {full.rows} x {full.columns}"
        detail = f"{look.path.name} is a {role} by content but not by size: {shape}"
        notes.append(Note(NoteCode.ROLE_DOUBTFUL, detail))
    return role


def _two_valued(look: FileLook, notes: list[Note]) -> bool | None:
    try:
        return is_two_valued(look.path)
    except (DecodingError, OSError) as error:
        detail = f"{look.path} cannot be decoded: {error}"
        note = Note(NoteCode.UNREADABLE, detail)
        if note not in notes:
            notes.append(note)
        return None


def _of_role(looks: list[FileLook], role: FileRole, home: tuple[Path, ...]) -> list[FileLook]:
    chosen = [look for look in looks if look.role == role]
    return sorted(chosen, key=lambda look: (look.path not in home, str(look.path)))


def _note_places(
    masks: list[FileLook],
    crops: list[FileLook],
    crop_series: str,
    mask_series: str,
    index: SeriesIndex,
    notes: list[Note],
) -> None:
    """Note where the mask was not in the series of its column."""
    home, crop_home = index.files(mask_series), index.files(crop_series)
    if not masks or any(look.path in home for look in masks):
        return
    if not any(look.path in crop_home for look in masks):
        detail = f"the mask {masks[0].path.name} is in the series of the image column"
        notes.append(Note(NoteCode.SWAPPED_COLUMNS, detail))
    elif any(look.path in home for look in crops):
        detail = f"the mask column names the crop's series {mask_series}, and the reverse"
        notes.append(Note(NoteCode.SWAPPED_COLUMNS, detail))
    else:
        detail = f"no mask in series {mask_series}, but in the crop column's {crop_series}"
        notes.append(Note(NoteCode.MASK_IN_CROP_SERIES, detail))


def _note_numbers(
    masks: list[FileLook],
    crops: list[FileLook],
    rest: list[FileLook],
    mask_series: str,
    index: SeriesIndex,
    notes: list[Note],
) -> None:
    """Note where there is not exactly one mask and one crop."""
    if not masks:
        notes.append(Note(NoteCode.MASK_MISSING, _missing(rest, mask_series)))
    if len(masks) > 1:
        names = ", ".join(_place(look, index) for look in masks)
        notes.append(Note(NoteCode.SEVERAL_MASKS, names))
    if not crops:
        notes.append(Note(NoteCode.CROP_MISSING, "only the mask and the full image are needed"))
    if len(crops) > 1:
        names = ", ".join(_place(look, index) for look in crops)
        notes.append(Note(NoteCode.SEVERAL_CROPS, f"the first of {names} is taken"))


def _missing(looks: list[FileLook], series_uid: str) -> str:
    if not looks:
        return f"no file of series {series_uid}: is the download complete?"
    found = ", ".join(f"{look.path.name} ({look.role})" for look in looks)
    return f"series {series_uid} has none among: {found}"
