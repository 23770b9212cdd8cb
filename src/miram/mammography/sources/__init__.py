"""The registry of data sources: one file and one line here for each."""

from typing import Any

from pydantic import ValidationError

from miram.configuration import explain
from miram.errors import MiramError
from miram.mammography.sources.base import Ingested, Source
from miram.mammography.sources.cbis_ddsm.source import CbisDdsmSource
from miram.mammography.sources.dicom_folder import DicomFolderSource
from miram.mammography.sources.image_table import ImageTableSource

__all__ = ["SOURCES", "Ingested", "Source", "make_source"]

SOURCES: dict[str, type[Source]] = {
    "phantom": CbisDdsmSource,  # the phantom is written in the layout of CBIS-DDSM
    "cbis_ddsm": CbisDdsmSource,
    "dicom_folder": DicomFolderSource,
    "image_table": ImageTableSource,
}


def make_source(name: str, options: dict[str, Any] | None = None) -> Source:
    """Make the source of that name.

    Args:
        name: A key of `SOURCES`.
        options: Values for the fields of the source.

    Raises:
        MiramError: There is no source of that name, or an option is not one of its own.
    """
    if name not in SOURCES:
        raise MiramError(f"unknown source {name!r}: choose one of {', '.join(SOURCES)}")
    try:
        return SOURCES[name](**(options or {}))
    except ValidationError as error:
        known = tuple(SOURCES[name].model_fields)
        message = f"sources.{name}: {explain(error, known)} (options: {', '.join(known)})"
        raise MiramError(message) from error
