"""Any folder of mammography DICOMs, without labels: for pretraining and for `embed`."""

import logging
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from miram.mammography.audit import AuditLog
from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import Header, read_header, starts_like_dicom
from miram.mammography.decoding.read import DecodingConfig, read_image
from miram.mammography.lesion_table import validate_lesions
from miram.mammography.sources.base import Ingested, NothingFoundError, Source
from miram.mammography.sources.files import (
    ARCHIVE_SUFFIXES,
    DICOM_SUFFIXES,
    OTHER_FILE,
    PICTURE_SUFFIXES,
    files_under,
    is_utf8,
)
from miram.mammography.sources.wanted import KINDS, UnwantedImageError, WantedImages, check_image
from miram.progress import track

log = logging.getLogger(__name__)

# The codes of DICOM (PS3.3, C.8.11.7), whose B is neither, and words.
_LATERALITIES = {"L": "LEFT", "LEFT": "LEFT", "R": "RIGHT", "RIGHT": "RIGHT"}
_VIEWS = ("CC", "MLO", "ML", "LM", "XCCL", "XCCM")
_WORD = re.compile(r"[A-Z]+")
_LATERALITY_AND_VIEW = re.compile(rf"(L|R|LEFT|RIGHT)({'|'.join(_VIEWS)})")


class DicomFolderSource(WantedImages, Source):
    """Mammograms without lesions.

    An image becomes one row of the lesion table: its `lesion_id` is its `image_id` (the
    SOPInstanceUID), `mask_paths` is an empty list, and every label is missing. The further
    column `presentation_intent` separates raw and processed images. View and laterality come
    from the tags, else from the file name or the SeriesDescription; the `repairs` of such a row
    hold `read_from_name`. Masks and crops of CBIS-DDSM are left out.
    """

    audit_codes: ClassVar = {
        "picture": "a picture in a folder of DICOM files; the source `image_table` takes pictures",
        "other_modality": "not a mammogram by its Modality",
        "mask_or_crop": "a mask or a crop of CBIS-DDSM, no whole mammogram. The source "
        "`cbis_ddsm` reads them",
        **KINDS,
        "no_patient": "the patient of the image cannot be known, so that it cannot be split",
        "patient_from_study": "PatientID is empty; each study counts as a patient",
        "read_from_name": "view or laterality come from the file name or the SeriesDescription",
        "uid_twice": "another image with other pixels has its SOPInstanceUID; both are taken, and "
        "the path is the `image_id` of the later one. Ask where the data come from",
    }

    patient_pattern: str = Field(
        "",
        description="regular expression whose match within PatientID names the patient; empty "
        r"for the whole PatientID. CBIS-DDSM files need P_\d{5}",
    )

    @property
    def further_columns(self) -> tuple[str, ...]:
        """Whether an image is raw."""
        return ("presentation_intent",)

    @field_validator("patient_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    def ingest(self, raw_root: Path) -> Ingested:
        """Find the mammograms below a folder, one row each, and an audit row for any other file.

        Of the copies of an image the first that can be decoded is taken: pixels are read only
        where two files have one SOPInstanceUID.

        Raises:
            MiramError: There is no such folder.
            NothingFoundError: There is not one mammogram in it; it holds the audit.
        """
        finder = _Finder(raw_root, self)
        for path in track(files_under(raw_root), "read headers"):
            finder.examine(path)
        rows = list(finder.rows.values())
        problems = finder.audit.rows
        if not rows:
            codes = sorted({problem["code"] for problem in problems})
            reasons = f" ({', '.join(codes)})" if codes else ""
            raise NothingFoundError(
                f"no mammogram under {raw_root}: {len(problems)} files are left out{reasons}; "
                f"sources.dicom_folder.modalities is {', '.join(self.modalities)}",
                finder.audit.table(),
            )
        left_out = sum(problem["action"] == "left out" for problem in problems)
        log.info("%d mammograms, %d files left out", len(rows), left_out)
        return Ingested(validate_lesions(pd.DataFrame(rows)), finder.audit.table())


class _Finder:
    """Reads one header after the other and keeps the audit."""

    def __init__(self, raw_root: Path, source: DicomFolderSource) -> None:
        self.raw_root, self.source = raw_root, source
        self.audit = AuditLog()
        self.note = self.audit.note
        self.rows: dict[str, dict[str, Any]] = {}  # by image_id
        self.same_uid: dict[str, list[str]] = {}  # the image_id of each image of a SOPInstanceUID

    def examine(self, path: Path) -> None:
        """Keep the row of a mammogram; write an audit row for any other file."""
        name = path.relative_to(self.raw_root).as_posix()
        suffix = path.suffix.lower()
        if not is_utf8(name):
            self.note("", name, "name_not_utf8", "left out", "rename it")
            return
        if suffix in ARCHIVE_SUFFIXES:
            self.note("", name, "archive", "left out", "unpack it")
            return
        if suffix in PICTURE_SUFFIXES:
            detail = (
                "a picture, which does not say whose it is: source image_table takes pictures that "
                "a table names"
            )
            self.note("", name, "picture", "left out", detail)
            return
        try:
            if suffix not in DICOM_SUFFIXES and not starts_like_dicom(path):
                self.note("", name, "other_file", "left out", OTHER_FILE)
                return
            header = read_header(path)
            check_image(path, header, self.source)
        except UnwantedImageError as reason:
            self.note("", name, reason.code, "left out", reason.with_remedy("dicom_folder"))
        except DecodingError as error:
            self.note("", name, error.code, "left out", error.detail)
        except OSError as error:
            self.note("", name, "unreadable", "left out", str(error))
        else:
            self._keep(path, name, header)

    def _keep(self, path: Path, name: str, header: Header) -> None:
        uid = header.sop_instance_uid or name
        image_id = self._new_id(uid, path, name)
        patient = self._patient(image_id, name, header) if image_id else None
        if image_id and patient:
            self.rows[image_id] = self._row(path, name, header, image_id, patient)
            self.same_uid.setdefault(uid, []).append(image_id)

    def _new_id(self, uid: str, path: Path, name: str) -> str | None:
        """Give the image_id of a file; None, and an audit row, for the copy of another."""
        others = self.same_uid.get(uid, [])
        pixels = _pixels(path) if others else None
        if isinstance(pixels, DecodingError):
            detail = f"{pixels.detail}; {self._taken(others[0])} is another copy"
            self.note(uid, name, pixels.code, "left out", detail)
            return None
        for image_id in list(others):
            other = self._taken(image_id)
            found = _pixels(self.raw_root / other)
            if isinstance(found, DecodingError):
                self.note(uid, other, found.code, "left out", f"{found.detail}; {name} is whole")
                others.remove(image_id)
                del self.rows[image_id]
            elif pixels is not None and np.array_equal(pixels, found):
                detail = f"the same SOPInstanceUID and pixels as {other}"
                self.note(uid, name, "duplicate", "left out", detail)
                return None
            else:
                detail = f"the SOPInstanceUID is that of {other}, whose pixels differ"
                self.note(uid, name, "uid_twice", "kept", detail)
        return name if uid in self.rows else uid

    def _taken(self, image_id: str) -> str:
        return str(self.rows[image_id]["image_path"])

    def _row(
        self, path: Path, name: str, header: Header, image_id: str, patient: str
    ) -> dict[str, Any]:
        view, laterality = header.view or None, _LATERALITIES.get(header.laterality)
        of_name = view_and_laterality_of_name(path.stem)
        described = view_and_laterality_of_name(header.series_description)
        named_view, named_laterality = of_name[0] or described[0], of_name[1] or described[1]
        repairs = []
        if (not view and named_view) or (not laterality and named_laterality):
            repairs.append("read_from_name")
            detail = f"view {view or named_view}, laterality {laterality or named_laterality}"
            self.note(image_id, name, "read_from_name", "repaired", detail)
        return {
            "lesion_id": image_id,
            "patient_id": patient,
            "image_id": image_id,
            "laterality": laterality or named_laterality,
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
            self.note(image_id, name, "patient_from_study", "kept", detail)
            return header.study_uid
        detail = "neither PatientID nor StudyInstanceUID: its patient cannot be known"
        self.note(image_id, name, "no_patient", "left out", detail)
        return None


def _pixels(path: Path) -> np.ndarray | DecodingError:
    try:
        return read_image(path, DecodingConfig(voi="none")).pixels
    except DecodingError as error:
        return error


def view_and_laterality_of_name(stem: str) -> tuple[str | None, str | None]:
    """Read view (such as CC) and LEFT or RIGHT from the words of a file name without suffix.

    Words are runs of letters, as in `20586908_MG_R_ML_ANON` and `case7-LMLO`. `LM` alone is a view,
    `LMLO` a laterality and a view. None for what is not said, or twice differently.
    """
    views, lateralities = set(), set()
    for word in _WORD.findall(stem.upper()):
        if word in _VIEWS:
            views.add(word)
        elif word in _LATERALITIES:
            lateralities.add(_LATERALITIES[word])
        elif joined := _LATERALITY_AND_VIEW.fullmatch(word):
            lateralities.add(_LATERALITIES[joined[1]])
            views.add(joined[2])
    return _only(views), _only(lateralities)


def _only(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None
