"""CBIS-DDSM in every layout that users hold, with its known faults repaired and written down."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from miram.errors import MiramError
from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.image_facts import ImageFacts, image_facts
from miram.mammography.lesion_table import audit_rows, mark_unplaced, validate_lesions
from miram.mammography.sources.base import Ingested, Source
from miram.mammography.sources.cbis_ddsm.case_tables import read_case_descriptions
from miram.mammography.sources.cbis_ddsm.file_content import FileLook
from miram.mammography.sources.cbis_ddsm.file_roles import (
    LesionFiles,
    NoteCode,
    resolve_lesion_files,
)
from miram.mammography.sources.cbis_ddsm.layouts import SeriesIndex, index_series
from miram.mammography.sources.cbis_ddsm.paths import CbisPath, parse_cbis_path
from miram.progress import track

log = logging.getLogger(__name__)

_REPAIRS = {NoteCode.SWAPPED_COLUMNS, NoteCode.MASK_IN_CROP_SERIES, NoteCode.SEVERAL_MASKS}
SWAPPED_FILES = "swapped_files"
_OBSTACLES = {NoteCode.IMAGE_MISSING, NoteCode.MASK_MISSING}


class CbisDdsmSource(Source):
    """The Curated Breast Imaging Subset of DDSM (doi 10.7937/K9/TCIA.2016.7O02S9CY)."""

    aspect_tolerance: float = Field(
        0.01, ge=0, lt=0.2, description="greatest relative difference of the two axis ratios"
    )

    def ingest(self, raw_root: Path) -> Ingested:
        """Find the files of every row of the case descriptions.

        Args:
            raw_root: Folder of the download, in any layout or mixture.

        Returns:
            Lesions with an image and a mask; an audit row for every repair, exactly one for
            every lesion that is left out, and one for every file that belongs to no series.

        Raises:
            MiramError: There is no case description, or not one image file.
        """
        lesions = read_case_descriptions(raw_root)
        index = index_series(raw_root)
        if not len(index):
            raise MiramError(
                f"no image file under {raw_root}: is the download complete, "
                "and is raw_root the folder that holds it?"
            )
        log.info("%d lesions in the tables, %d series on disk", len(lesions), len(index))
        finder = _Finder(raw_root, index, self.aspect_tolerance)
        rows = track(lesions.to_dict("records"), "resolved lesions", total=len(lesions))
        found = [row for lesion in rows if (row := finder.find(lesion)) is not None]
        for file in index.unplaced:
            finder.note("", file.path, file.code, "left out", file.detail)
        marked = mark_unplaced(pd.DataFrame(found), pd.DataFrame(finder.left_out))
        table = validate_lesions(marked)
        if table.empty:
            raise MiramError(
                f"none of the {len(lesions)} lesions has both its mammogram and its mask under "
                f"{raw_root}: is the download complete?"
            )
        return Ingested(table, audit_rows(finder.problems))


class _Finder:
    """Finds the files of one lesion after the other and keeps the audit."""

    def __init__(self, raw_root: Path, index: SeriesIndex, aspect_tolerance: float) -> None:
        self.raw_root, self.index, self.tolerance = raw_root, index, aspect_tolerance
        self.looks: dict[Path, FileLook] = {}
        self.facts: dict[Path, ImageFacts | DecodingError] = {}
        self.problems: list[dict[str, str]] = []
        self.left_out: list[dict[str, Any]] = []

    def note(self, lesion_id: str, file: Path | None, code: str, action: str, detail: str) -> None:
        row = {"lesion_id": lesion_id, "file": self._name(file) if file else "", "code": str(code)}
        self.problems.append({**row, "action": action, "detail": detail})

    def _name(self, file: Path) -> str:
        return file.relative_to(self.raw_root).as_posix()

    def find(self, lesion: dict[str, Any]) -> dict[str, Any] | None:
        """Complete a lesion with its files, or say why it is left out."""
        row = self._completed(lesion)
        if row is None:
            self.left_out.append(lesion)
        return row

    def _completed(self, lesion: dict[str, Any]) -> dict[str, Any] | None:
        lesion_id = lesion["lesion_id"]
        cells = {name: lesion.pop(f"{name}_cell") for name in ("image", "crop", "mask")}
        try:
            paths = {name: parse_cbis_path(cell) for name, cell in cells.items()}
        except MiramError as error:
            self.note(lesion_id, None, "path_malformed", "left out", str(error))
            return None
        if {path.patient_id for path in paths.values()} != {lesion["patient_id"]}:
            named = ", ".join(path.folder for path in paths.values())
            detail = f"the row is of patient {lesion['patient_id']!r}, its paths are of {named}"
            self.note(lesion_id, None, "patient_differs", "left out", detail)
            return None
        files = resolve_lesion_files(
            paths["image"].series_uid,
            paths["crop"].series_uid,
            paths["mask"].series_uid,
            self.index,
            self.looks,
        )
        if files.full is None or not files.masks:
            self._note_obstacle(lesion_id, files)
            return None
        facts = self._facts(files.full)
        if isinstance(facts, DecodingError):
            self.note(lesion_id, files.full, f"image_{facts.code}", "left out", facts.detail)
            return None
        resized = self._fit_masks(lesion_id, files.masks, facts)
        if resized is None:
            return None
        return {
            **lesion,
            "image_id": paths["image"].series_uid,
            "image_path": self._name(files.full),
            "mask_paths": [self._name(mask) for mask in files.masks],
            "source_bits": facts.bits,
            "image_rows": facts.rows,
            "image_columns": facts.columns,
            "repairs": [
                *self._note_repairs(lesion_id, files),
                *self._note_swapped_files(lesion_id, files, paths),
                *resized,
            ],
        }

    def _facts(self, path: Path) -> ImageFacts | DecodingError:
        if path not in self.facts:
            try:
                self.facts[path] = image_facts(path)
            except DecodingError as error:
                self.facts[path] = error
        return self.facts[path]

    def _note_obstacle(self, lesion_id: str, files: LesionFiles) -> None:
        """Write the one row of a lesion that is left out: its obstacle, and files gone bad."""
        obstacle = next(note for note in files.notes if note.code in _OBSTACLES)
        damaged = [note.detail for note in files.notes if note.code == NoteCode.UNREADABLE]
        detail = "; ".join([obstacle.detail, *damaged])
        self.note(lesion_id, files.full, obstacle.code, "left out", detail)

    def _note_repairs(self, lesion_id: str, files: LesionFiles) -> list[str]:
        repairs = []
        for note in files.notes:
            repaired = note.code in _REPAIRS
            action = "repaired" if repaired else "went on"
            self.note(lesion_id, files.full, note.code, action, note.detail)
            if repaired:
                repairs.append(str(note.code))
        return repairs

    def _note_swapped_files(
        self, lesion_id: str, files: LesionFiles, paths: dict[str, CbisPath]
    ) -> list[str]:
        """Write down where the mask column names the crop's file and the crop column the mask's."""
        crop, mask = files.crop, files.masks[0]
        named = paths["crop"].file_name, paths["mask"].file_name
        if crop is None or crop.parent != mask.parent or (mask.name, crop.name) != named:
            return []
        detail = f"the mask column names {crop.name}, which is the crop; the mask is {mask.name}"
        self.note(lesion_id, mask, SWAPPED_FILES, "repaired", detail)
        return [SWAPPED_FILES]

    def _fit_masks(
        self, lesion_id: str, masks: tuple[Path, ...], image: ImageFacts
    ) -> list[str] | None:
        """Note masks of another size; None where one is of another shape than the image."""
        resized = []
        for path in masks:
            mask = self.looks[path]
            if (mask.rows, mask.columns) == (image.rows, image.columns):
                continue
            down, across = image.rows / mask.rows, image.columns / mask.columns
            detail = (
                f"mask {mask.columns} x {mask.rows}, image {image.columns} x {image.rows}, "
                f"ratios {across:.3f} and {down:.3f}"
            )
            if abs(down / across - 1) > self.tolerance:
                self.note(lesion_id, path, "mask_aspect_differs", "left out", detail)
                return None
            resized.append((path, detail))
        for path, detail in resized:
            self.note(lesion_id, path, "mask_resized", "repaired", detail)
        return ["mask_resized"] if resized else []
