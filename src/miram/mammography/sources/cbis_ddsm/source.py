"""CBIS-DDSM in every layout that users hold, with its known faults repaired and written down."""

import logging
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from pydantic import Field

from miram.errors import MiramError
from miram.mammography.audit import AuditLog
from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import ImageFacts
from miram.mammography.lesion_table import mark_unplaced, validate_lesions
from miram.mammography.sources.base import Ingested, Source, SourceNote
from miram.mammography.sources.cbis_ddsm.case_tables import (
    CbisPath,
    parse_cbis_path,
    read_case_descriptions,
)
from miram.mammography.sources.cbis_ddsm.file_roles import FileResolver, ImageFile, LesionFiles
from miram.mammography.sources.cbis_ddsm.layouts import SeriesIndex, index_series
from miram.mammography.sources.files import facts_or_error, same_shape
from miram.progress import track

log = logging.getLogger(__name__)

_REPAIRS = ("swapped_columns", "mask_in_crop_series", "several_masks")
_OBSTACLES = ("image_missing", "mask_missing")


class CbisDdsmSource(Source):
    """The Curated Breast Imaging Subset of DDSM (doi 10.7937/K9/TCIA.2016.7O02S9CY)."""

    about: ClassVar = SourceNote(
        title="CBIS-DDSM",
        origin=(
            "digitized film mammograms with outlined lesions, published by The Cancer Imaging "
            "Archive"
        ),
        terms="Creative Commons Attribution 3.0 (CC BY 3.0): the data set has to be cited",
        terms_link="https://creativecommons.org/licenses/by/3.0/",
        citations=(
            "Sawyer-Lee R, Gimenez F, Hoogi A, Rubin D (2016). Curated Breast Imaging Subset of "
            "Digital Database for Screening Mammography (CBIS-DDSM). The Cancer Imaging Archive. "
            "https://doi.org/10.7937/K9/TCIA.2016.7O02S9CY",
            "Lee RS et al. (2017). A curated mammography data set for use in computer-aided "
            "detection and diagnosis research. Sci Data 4:170177",
        ),
        synthetic=False,
        published=True,
    )
    audit_codes: ClassVar = {
        "path_malformed": "a path of the case description cannot be parsed. Compare with TCIA's "
        "table",
        "patient_differs": "the case description names another patient than its path. Compare "
        "with TCIA's table",
        "crop_missing": "the data set's own crop is not there. Nothing to do: it is not needed",
        "swapped_columns": "a file stands in the series of another column of the table and was "
        "identified by its content",
        "swapped_files": "the mask column names the crop's file and the crop column the mask's, "
        "in one series. The content distinguishes them",
        "mask_in_crop_series": "the mask was found in the series of the crop column",
        "several_images": "several full mammograms in one series; the largest is taken",
        "several_masks": "several masks; their union is taken",
        "several_crops": "several crops; none is needed",
        "differing_copies": "copies of one file differ; the largest is taken. Remove the broken "
        "copy, or download it again",
        "role_doubtful": "content and size of a file disagree on what it is; its content "
        "decided. Inspect the crop",
        "mixed_formats": "image and mask are of different formats, DICOM and picture",
        "table_unreadable": "a `metadata.csv` that cannot be read. Nothing to do: the headers "
        "hold the same",
        "no_series_uid": "neither header nor folder name the series of the file",
    }

    pseudonyms: bool = Field(False, description="not needed: its names are public")
    aspect_tolerance: float = Field(
        0.01, ge=0, lt=0.2, description="greatest relative difference of the two axis ratios"
    )

    def ingest(self, raw_root: Path) -> Ingested:
        """Find the files of every row of the case descriptions, in any layout or mixture.

        Returns:
            Lesions with an image and a mask; an audit row for every repair, exactly one for
            every lesion that is left out, and one for every file that belongs to no series.

        Raises:
            MiramError: There is no case description, or not one image file.
        """
        lesions = read_case_descriptions(raw_root)
        index = index_series(raw_root)
        if not index.files:
            raise MiramError(
                f"no image file under {raw_root}: is the download complete, "
                "and is raw_root the folder that holds it?"
            )
        log.info("%d lesions in the tables, %d series on disk", len(lesions), len(index.files))
        finder = _Finder(raw_root, index, self.aspect_tolerance)
        found: list[dict[str, Any]] = []
        left_out: list[dict[str, Any]] = []
        for lesion in track(lesions.to_dict("records"), "resolved lesions", total=len(lesions)):
            if row := finder.completed(lesion):
                found.append(row)
            else:
                left_out.append(lesion)
        for file in index.unplaced:
            finder.note("", file.path, file.code, "left out", file.detail)
        table = validate_lesions(mark_unplaced(pd.DataFrame(found), pd.DataFrame(left_out)))
        if table.empty:
            raise MiramError(
                f"none of the {len(lesions)} lesions has both its mammogram and its mask under "
                f"{raw_root}: {_reasons(finder.audit.rows)}. Is the download complete?"
            )
        return Ingested(table, finder.audit.table())


def _reasons(rows: list[dict[str, str]]) -> str:
    """Count why lesions were left out, with an example of each reason."""
    left_out = [row for row in rows if row["lesion_id"] and row["action"] == "left out"]
    examples = {row["code"]: row["detail"] for row in reversed(left_out)}
    counts = Counter(row["code"] for row in left_out).most_common()
    return "; ".join(f"{count} x {code}, such as: {examples[code]}" for code, count in counts)


class _Finder:
    """Finds the files of one lesion after the other and keeps the audit."""

    def __init__(self, raw_root: Path, index: SeriesIndex, aspect_tolerance: float) -> None:
        self.raw_root, self.tolerance = raw_root, aspect_tolerance
        self.audit = AuditLog()
        self.facts_of = cache(facts_or_error)  # lesions share files
        self.resolver = FileResolver(index)

    def note(self, lesion_id: str, file: Path | None, code: str, action: str, detail: str) -> None:
        self.audit.note(lesion_id, self._name(file) if file else "", code, action, detail)

    def _name(self, file: Path) -> str:
        return file.relative_to(self.raw_root).as_posix()

    def completed(self, lesion: dict[str, Any]) -> dict[str, Any] | None:
        """Complete a lesion with its files, or note why it is left out."""
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
        files = self.resolver.resolve(*(path.series_uid for path in paths.values()))
        if files.full is None or not files.masks:
            self._note_obstacle(lesion_id, files)
            return None
        full = files.full.path
        facts = self.facts_of(full)
        if isinstance(facts, DecodingError):
            self.note(lesion_id, full, f"image_{facts.code}", "left out", facts.detail)
            return None
        resized = self._fit_masks(lesion_id, files.masks, facts)
        if resized is None:
            return None
        return {
            **lesion,
            "image_id": paths["image"].series_uid,
            "image_path": self._name(full),
            "mask_paths": [self._name(mask.path) for mask in files.masks],
            "source_bits": facts.bits,
            "image_rows": facts.rows,
            "image_columns": facts.columns,
            "repairs": [
                *self._note_repairs(lesion_id, files, full),
                *self._note_swapped_files(lesion_id, files, paths),
                *resized,
            ],
        }

    def _note_obstacle(self, lesion_id: str, files: LesionFiles) -> None:
        """Write the one row of a lesion that is left out: its obstacle, and files gone bad."""
        obstacle = next(note for note in files.notes if note.code in _OBSTACLES)
        damaged = [note.detail for note in files.notes if note.code == "unreadable"]
        detail = "; ".join([obstacle.detail, *damaged])
        full = files.full.path if files.full else None
        self.note(lesion_id, full, obstacle.code, "left out", detail)

    def _note_repairs(self, lesion_id: str, files: LesionFiles, full: Path) -> list[str]:
        for note in files.notes:
            action = "repaired" if note.code in _REPAIRS else "kept"
            self.note(lesion_id, full, note.code, action, note.detail)
        return [note.code for note in files.notes if note.code in _REPAIRS]

    def _note_swapped_files(
        self, lesion_id: str, files: LesionFiles, paths: dict[str, CbisPath]
    ) -> list[str]:
        crop, mask = files.crop, files.masks[0].path
        named = paths["crop"].file_name, paths["mask"].file_name
        if crop is None or crop.parent != mask.parent or (mask.name, crop.name) != named:
            return []
        detail = f"the mask column names {crop.name}, which is the crop; the mask is {mask.name}"
        self.note(lesion_id, mask, "swapped_files", "repaired", detail)
        return ["swapped_files"]

    def _fit_masks(
        self, lesion_id: str, masks: tuple[ImageFile, ...], image: ImageFacts
    ) -> list[str] | None:
        """Note masks of another size; None where one is of another shape than the image."""
        resized = []
        for mask in masks:
            if (mask.rows, mask.columns) == (image.rows, image.columns):
                continue
            down, across = image.rows / mask.rows, image.columns / mask.columns
            detail = (
                f"mask {mask.columns} x {mask.rows}, image {image.columns} x {image.rows}, "
                f"ratios {across:.3f} and {down:.3f}"
            )
            if not same_shape(mask.rows, mask.columns, image, self.tolerance):
                self.note(lesion_id, mask.path, "mask_aspect_differs", "left out", detail)
                return None
            resized.append((mask.path, detail))
        for path, detail in resized:
            self.note(lesion_id, path, "mask_resized", "repaired", detail)
        return ["mask_resized"] if resized else []
