"""The files and the box that a row of a lab's own table names: are they there, do they fit."""

import math
import posixpath
import unicodedata
from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from miram.errors import MiramError
from miram.mammography.audit import AuditLog
from miram.mammography.decoding.errors import DecodingFailure
from miram.mammography.decoding.headers import ImageFacts
from miram.mammography.lesion_table import BOX, lesion_labels
from miram.mammography.sources.files import facts_or_error, same_shape
from miram.mammography.sources.wanted import UnwantedImageError, WantedKinds, check_kind


def path_inside(raw_root: Path, name: str, where: str) -> str:
    """Give a path relative to the raw root without detours, so that a file has one name.

    Raises:
        MiramError: The path leads out of the raw root; `where` names table and line.
    """
    path = posixpath.normpath(name.replace("\\", "/"))
    if Path(path).is_absolute():
        # Links stay as they are: data often lie on another disk.
        root = raw_root.absolute()
        inside = Path(path).is_relative_to(root)
        path = Path(path).relative_to(root).as_posix() if inside else ".."
    if PurePosixPath(path).parts[:1] == ("..",):
        raise MiramError(
            f"{where}: {name} leads out of raw_root {raw_root}: paths in the "
            "table are relative to raw_root; link other folders into it"
        )
    return path


class TableFiles:
    """Checks the files of one row after the other and keeps the audit.

    `silent_labels` say nothing of a single row. `unplaced` collects rows of lesions that are known
    to exist but have no place that can be used.
    """

    def __init__(
        self,
        raw_root: Path,
        aspect_tolerance: float,
        silent_labels: Collection[str],
        wanted: WantedKinds,
    ) -> None:
        self.raw_root, self.tolerance, self.silent = raw_root, aspect_tolerance, silent_labels
        self.wanted = wanted
        self.audit = AuditLog()
        self.facts_of = cache(facts_or_error)  # lesions share files
        self.note = self.audit.note
        self.folders: dict[Path, dict[str, str]] = {}
        self.unplaced: list[dict[str, Any]] = []

    def completed(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Add what the files of a row say, or note why the row is left out."""
        labels = lesion_labels(row, but=self.silent)
        placed = bool(row["mask_paths"]) or not all(map(math.isnan, _numbers(row)))
        found = self._with_facts(row)
        if (placed and found is None) or (labels and not placed):
            self.unplaced.append(row)
        if labels and not placed and found is not None:
            detail = (
                f"{', '.join(labels)} given, but no crop: give a mask or a box; for a label of the "
                "whole image a box of the whole image"
            )
            self.note(row["lesion_id"], row["image_path"], "no_location", "kept", detail)
        return found

    def _with_facts(self, row: dict[str, Any]) -> dict[str, Any] | None:
        lesion_id = row["lesion_id"]
        image = self._facts(lesion_id, row["image_path"], "image")
        if image is None:
            return None
        try:
            check_kind(image.special, image.presentation_intent, self.wanted)
        except UnwantedImageError as reason:
            detail = reason.with_remedy("image_table")
            self.note(lesion_id, row["image_path"], reason.code, "left out", detail)
            return None
        row["repairs"] = []
        for name in row["mask_paths"]:
            mask = self._facts(lesion_id, name, "mask")
            if mask is None or not self._fits(lesion_id, name, mask, image):
                return None
            if (mask.rows, mask.columns) != (image.rows, image.columns):
                row["repairs"].append("mask_resized")
        box = self._box(row, image)
        if box is None:
            return None
        size = {"image_rows": image.rows, "image_columns": image.columns}
        return {**row, **box, **size, "source_bits": image.bits}

    def _facts(self, lesion_id: str, name: str, kind: str) -> ImageFacts | None:
        facts = self.facts_of(self.raw_root / name)
        if isinstance(facts, ImageFacts):
            return facts
        if facts.code == DecodingFailure.NOT_FOUND:
            detail = facts.detail + self._near(self.raw_root / name)
            self.note(lesion_id, name, f"{kind}_missing", "left out", detail)
        else:
            self.note(lesion_id, name, f"{kind}_{facts.code}", "left out", facts.detail)
        return None

    def _near(self, path: Path) -> str:
        """Name the file that is meant where only case or the coding of an accent differs."""
        folder = path.parent
        if folder not in self.folders:
            names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
            self.folders[folder] = {_plain(name): name for name in names}
        near = self.folders[folder].get(_plain(path.name))
        if near is None:
            return ""
        case = _composed(near) != _composed(path.name)
        differs = "in upper and lower case" if case else "in how accents are coded (NFC, NFD)"
        return f"; there is {near}, which differs {differs}"

    def _fits(self, lesion_id: str, name: str, mask: ImageFacts, image: ImageFacts) -> bool:
        if (mask.rows, mask.columns) == (image.rows, image.columns):
            return True
        detail = f"mask {mask.columns} x {mask.rows}, image {image.columns} x {image.rows}"
        fits = same_shape(mask.rows, mask.columns, image, self.tolerance)
        code, action = ("mask_resized", "repaired") if fits else ("mask_aspect_differs", "left out")
        self.note(lesion_id, name, code, action, detail)
        return fits

    def _box(self, row: dict[str, Any], image: ImageFacts) -> dict[str, int | None] | None:
        """Give a row's box in whole pixels of the image; None for one that cannot be right."""
        x0, y0, x1, y1 = numbers = _numbers(row)
        if all(map(math.isnan, numbers)):
            return dict.fromkeys(BOX)
        detail = f"x {x0} to {x1}, y {y0} to {y1} in {image.columns} x {image.rows} pixels"
        overlap = (max(x0, 0), max(y0, 0), min(x1, image.columns), min(y1, image.rows))
        code = None
        if any(map(math.isnan, numbers)):
            code = "box_incomplete"
        elif any(map(math.isinf, numbers)):
            code = "box_outside"
        elif x0 >= x1 or y0 >= y1:
            code = "box_empty"
        elif overlap[0] >= overlap[2] or overlap[1] >= overlap[3]:
            code = "box_outside"
        if code:
            self.note(row["lesion_id"], row["image_path"], code, "left out", detail)
            return None
        if overlap != numbers:
            self.note(row["lesion_id"], row["image_path"], "box_clipped", "repaired", detail)
            row["repairs"].append("box_clipped")
        rounded = (*map(math.floor, overlap[:2]), *map(math.ceil, overlap[2:]))
        return dict(zip(BOX, rounded, strict=True))


def _numbers(row: dict[str, Any]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(row.get(name, math.nan)) for name in BOX)
    return x0, y0, x1, y1


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _plain(name: str) -> str:
    return _composed(name).casefold()
