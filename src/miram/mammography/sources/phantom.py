"""The phantom: synthetic files in the layout of CBIS-DDSM, read by the same code."""

from typing import ClassVar

from miram.mammography.sources.base import SourceNote
from miram.mammography.sources.cbis_ddsm.source import CbisDdsmSource


class PhantomSource(CbisDdsmSource):
    """The files that the pipeline `phantom` writes."""

    about: ClassVar = SourceNote(
        title="Phantom of CBIS-DDSM",
        origin=(
            "images, outlines and labels were computed by this software in the layout of "
            "CBIS-DDSM. There is no patient behind any of them, and they resemble no population"
        ),
        terms="made by this software; no terms of others apply to the images",
        synthetic=True,
    )
