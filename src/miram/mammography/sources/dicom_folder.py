"""Any folder of mammography DICOMs, without labels: for pretraining and for `embed`."""

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, field_validator

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import Header, read_header
from miram.mammography.decoding.image_facts import starts_like_dicom
from miram.mammography.decoding.image_kind import UnwantedImageError, WantedImages, check_kind
from miram.mammography.lesion_table import audit_rows, validate_lesions
from miram.mammography.sources.base import Ingested, NothingFoundError, Source
from miram.mammography.sources.folder_walk import files_under
from miram.progress import track

_SIDES = {"L": "LEFT", "LEFT": "LEFT", "R": "RIGHT", "RIGHT": "RIGHT"}
_VIEWS = ("CC", "MLO", "ML", "LM", "XCCL", "XCCM")
_WORD = re.compile(r"[A-Z]+")
_SIDE_AND_VIEW = re.compile(rf"(L|R|LEFT|RIGHT)({'|'.join(_VIEWS)})")


def side_of(code: str) -> str | None:
    """Turn a DICOM laterality (PS3.3, C.8.11.7: L, R, B) into LEFT, RIGHT or None."""
    return _SIDES.get(code.strip().upper())


def view_and_side_of_name(stem: str) -> tuple[str | None, str | None]:
    """Read view and side from the words of a file name.

    Words are runs of letters, so that `P_00001_LEFT_CC`, `20586908_MG_R_ML_ANON` and
    `case7-LMLO` all speak. `LM` alone is a view, `LMLO` a side and a view.

    Args:
        stem: File name without its suffix.

    Returns:
        View (such as CC or MLO) and side (LEFT or RIGHT); None for what the name does not
        say, or says twice differently.
    """
    views, sides = set(), set()
    for word in _WORD.findall(stem.upper()):
        if word in _VIEWS:
            views.add(word)
        elif word in _SIDES:
            sides.add(_SIDES[word])
        elif joined := _SIDE_AND_VIEW.fullmatch(word):
            sides.add(_SIDES[joined[1]])
            views.add(joined[2])
    return _only(views), _only(sides)


def _only(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


log = logging.getLogger(__name__)

_DICOM_SUFFIXES = {".dcm", ".dicom", ".dic", ".ima"}
_PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
_ARCHIVE_SUFFIXES = {".zip", ".tar", ".gz", ".7z"}
_REMEDIES = {
    "other_modality": "; sources.dicom_folder.modalities tells which are taken",
    "mask_or_crop": "; source=cbis_ddsm reads it with its mammogram",
    "for_processing": "; take it with sources.dicom_folder.for_processing: true",
}


class DicomFolderSource(WantedImages, Source):
    """Mammograms without lesions.

    An image becomes one row of the lesion table: its `lesion_id` is its `image_id` (the
    SOPInstanceUID), `mask_paths` is an empty list, and every label is missing. The further
    column `presentation_intent` tells raw from processed images. View and side come from the
    tags, else from the file name; the `repairs` of such a row hold `read_from_name`. Masks and
    crops of CBIS-DDSM are left out: the source `cbis_ddsm` reads that data set with its labels.
    """

    patient_pattern: str = Field(
        "",
        description="regular expression whose match within PatientID names the patient; empty "
        r"for the whole PatientID. CBIS-DDSM files need P_\d{5}",
    )

    @field_validator("patient_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    def ingest(self, raw_root: Path) -> Ingested:
        """Find the mammograms below a folder.

        Args:
            raw_root: The folder; it is searched through and through.

        Returns:
            One row per mammogram; an audit row for every file that looks like an image and
            is not taken: another modality, a report, several frames, a second copy.

        Raises:
            MiramError: There is no such folder.
            NothingFoundError: There is not one mammogram in it; it holds the audit.
        """
        finder = _Finder(raw_root, self)
        rows = [
            row
            for path in track(files_under(raw_root), "read headers")
            if (row := finder.row_of(path)) is not None
        ]
        if not rows:
            raise NothingFoundError(
                f"no mammogram under {raw_root}: {len(finder.problems)} files are left out"
                f"{finder.reasons()}; sources.dicom_folder.modalities is "
                f"{', '.join(self.modalities)}",
                audit_rows(finder.problems),
            )
        table = validate_lesions(pd.DataFrame(rows))
        log.info("%d mammograms, %d files left out", len(table), finder.left_out)
        return Ingested(table, audit_rows(finder.problems))


class _Finder:
    """Reads one header after the other and keeps the audit."""

    def __init__(self, raw_root: Path, source: DicomFolderSource) -> None:
        self.raw_root, self.source = raw_root, source
        self.seen: dict[str, str] = {}
        self.problems: list[dict[str, str]] = []

    @property
    def left_out(self) -> int:
        return sum(row["action"] == "left out" for row in self.problems)

    def reasons(self) -> str:
        codes = sorted({row["code"] for row in self.problems})
        return f" ({', '.join(codes)})" if codes else ""

    def note(self, image_id: str, name: str, code: str, action: str, detail: str) -> None:
        row = {"lesion_id": image_id, "file": name, "code": code}
        self.problems.append({**row, "action": action, "detail": detail})

    def row_of(self, path: Path) -> dict[str, Any] | None:
        """Give the row of a mammogram; None, and an audit row, for any other image."""
        name = path.relative_to(self.raw_root).as_posix()
        suffix = path.suffix.lower()
        if suffix in _ARCHIVE_SUFFIXES:
            self.note("", name, "archive", "left out", "unpack it")
            return None
        if suffix in _PICTURE_SUFFIXES:
            detail = "a picture; the source image_table takes pictures"
            self.note("", name, "picture", "left out", detail)
            return None
        try:
            if suffix not in _DICOM_SUFFIXES and not starts_like_dicom(path):
                return None
            header = read_header(path)
            check_kind(path, header, self.source)
        except UnwantedImageError as reason:
            detail = f"{reason.fact}{_REMEDIES.get(reason.code, '')}"
            self.note("", name, reason.code, "left out", detail)
            return None
        except DecodingError as error:
            self.note("", name, error.code, "left out", error.detail)
            return None
        except OSError as error:
            self.note("", name, "unreadable", "left out", str(error))
            return None
        return self._row(path, name, header)

    def _row(self, path: Path, name: str, header: Header) -> dict[str, Any] | None:
        image_id = header.sop_instance_uid or name
        if image_id in self.seen:
            detail = f"the same SOPInstanceUID as {self.seen[image_id]}"
            self.note(image_id, name, "duplicate", "left out", detail)
            return None
        patient = self._patient(image_id, name, header)
        if patient is None:
            return None
        self.seen[image_id] = name
        view, side = header.view or None, side_of(header.laterality)
        named_view, named_side = view_and_side_of_name(path.stem)
        repairs = []
        if (not view and named_view) or (not side and named_side):
            repairs.append("read_from_name")
            detail = f"view {view or named_view}, side {side or named_side}"
            self.note(image_id, name, "read_from_name", "repaired", detail)
        return {
            "lesion_id": image_id,
            "patient_id": patient,
            "image_id": image_id,
            "laterality": side or named_side,
            "view": view or named_view,
            "leaks": False,
            "image_path": name,
            "mask_paths": [],
            "source_bits": header.bits_stored,
            "image_rows": header.rows,
            "image_columns": header.columns,
            "repairs": repairs,
            "presentation_intent": header.presentation_intent or None,
        }

    def _patient(self, image_id: str, name: str, header: Header) -> str | None:
        if header.patient_id:
            found = re.search(self.source.patient_pattern or ".+", header.patient_id)
            if found and found[0]:
                return found[0]
            detail = f"PatientID {header.patient_id!r} does not match patient_pattern"
            self.note(image_id, name, "no_patient", "left out", detail)
            return None
        if header.study_uid:
            # A study belongs to one patient, so that no image of hers is set apart by it; two
            # studies of hers may be.
            detail = "PatientID is empty; the StudyInstanceUID stands for the patient"
            self.note(image_id, name, "patient_from_study", "went on", detail)
            return header.study_uid
        detail = "neither PatientID nor StudyInstanceUID: its patient cannot be known"
        self.note(image_id, name, "no_patient", "left out", detail)
        return None
