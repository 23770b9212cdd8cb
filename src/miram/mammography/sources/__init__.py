"""The registry of data sources: one file and one line here for each."""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from miram.configuration import explain
from miram.errors import MiramError
from miram.mammography.audit import CROP_CODES, DECODING_CODES, SHARED_CODES
from miram.mammography.sources.base import Ingested, Source, SourceNote
from miram.mammography.sources.cbis_ddsm.source import CbisDdsmSource
from miram.mammography.sources.dicom_folder import DicomFolderSource
from miram.mammography.sources.image_table import ImageTableSource
from miram.mammography.sources.phantom import PhantomSource

__all__ = [
    "SOURCES",
    "Ingested",
    "Source",
    "SourceNote",
    "explain_code",
    "make_source",
    "source_note",
]

SOURCES: dict[str, type[Source]] = {
    "phantom": PhantomSource,
    "cbis_ddsm": CbisDdsmSource,
    "dicom_folder": DicomFolderSource,
    "image_table": ImageTableSource,
}


def make_source(name: str, options: dict[str, Any] | None = None) -> Source:
    """Make the source of that name with values for its fields.

    Raises:
        MiramError: There is no source of that name, or an option is not one of its own.
    """
    if name not in SOURCES:
        raise MiramError(f"unknown source {name!r}: choose one of {', '.join(SOURCES)}")
    try:
        return SOURCES[name](**(options or {}))
    except ValidationError as error:
        known = ", ".join(SOURCES[name].model_fields)
        message = f"sources.{name}: {explain(error, SOURCES[name])} (options: {known})"
        raise MiramError(message) from error


def source_note(source: object) -> SourceNote:
    """What is known of the data of a source, by its name in the parameters, if these name one."""
    name = str(source or "")
    about = SOURCES[name].about if name in SOURCES else None
    title = f"Own data, read as {name}" if name else "Data of an unknown source"
    return replace(about or SourceNote(title), key=name)


def explain_code(code: str) -> str:
    """A code of the audits in words; empty for one that nothing declares."""
    bare = code.removeprefix("image_").removeprefix("mask_")
    for codes in (SHARED_CODES, CROP_CODES, *(source.audit_codes for source in SOURCES.values())):
        if code in codes:
            return codes[code]
    return DECODING_CODES.get(bare, "")
