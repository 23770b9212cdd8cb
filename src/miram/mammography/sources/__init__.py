"""The registry of data sources: one file and one line here for each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from miram.configuration import explain
from miram.errors import MiramError
from miram.mammography.audit import ACTIONS, CROP_CODES, DECODING_CODES, SHARED_CODES
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
    "audit_markdown",
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
    return {str(name): meaning for name, meaning in DECODING_CODES.items()}.get(bare, "")


_AUDITS = """\
# The audits

`data/02_intermediate/ingest_audit.csv` and `audit.csv` in the crop store list what
was left out, repaired or odd. Columns: `lesion_id` (empty for a file that belongs
to no lesion), `file` (relative to the raw root), `code`, `action`, `detail`.
A lesion that is left out has exactly one row with the action `left out`.

{actions}
## Codes of several sources

{shared}
{own}
## Cutting

{cutting}
## Decoding

A file that cannot be decoded has one of the codes below, with `image_` before it
for the mammogram of a lesion and `mask_` for its mask.

{decoding}"""


def audit_markdown() -> str:
    """Write `docs/ingest_audit.md`: every code of the audits, by where it comes from."""
    # The phantom shares the codes of CBIS-DDSM.
    own = {id(source.audit_codes): (name, source) for name, source in SOURCES.items()}
    sections = (f"## `{name}`\n\n{_table('code', one.audit_codes)}" for name, one in own.values())
    return _AUDITS.format(
        actions=_table("action", ACTIONS),
        shared=_table("code", SHARED_CODES),
        own="\n".join(sections),
        cutting=_table("code", CROP_CODES),
        decoding=_table("decoding code", DECODING_CODES),
    )


def _table(heading: str, rows: Mapping[Any, str]) -> str:
    lines = (f"| `{name!s}` | {meaning} |\n" for name, meaning in rows.items())
    return f"| {heading} | meaning |\n|---|---|\n{''.join(lines)}"
