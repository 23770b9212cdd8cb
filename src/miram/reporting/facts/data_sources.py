"""What is known of the data behind a study by the name of its source alone.

Only facts that hold for every run on that source stand here: who made the data, on which terms,
how to cite them. Of a lab's own data the software knows nothing, and says so.
"""

from dataclasses import dataclass

UNKNOWN = "not known to the software"


@dataclass(frozen=True)
class SourceNote:
    """A source of data in words.

    Attributes:
        key: Name of the source in the parameters.
        title: Name in print.
        origin: Where images and labels come from.
        terms: On which terms the data may be used.
        terms_link: Address of these terms; empty if there is none.
        citations: Works to cite.
        synthetic: Whether there are no patients behind the images; None if that is not known.
        published: Whether images and labels had been published before a study used them.
    """

    key: str
    title: str
    origin: str
    terms: str
    terms_link: str = ""
    citations: tuple[str, ...] = ()
    synthetic: bool | None = None
    published: bool = False


_NOTES = (
    SourceNote(
        key="phantom",
        title="Phantom of CBIS-DDSM",
        origin=(
            "images, outlines and labels were computed by this software in the layout of "
            "CBIS-DDSM. There is no patient behind any of them, and they resemble no population"
        ),
        terms="made by this software; no terms of others apply to the images",
        synthetic=True,
    ),
    SourceNote(
        key="cbis_ddsm",
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
    ),
)


def source_note(source: object) -> SourceNote:
    """What is known of a source.

    Args:
        source: Its name in the parameters, or None where they do not tell.
    """
    known = {note.key: note for note in _NOTES}
    name = str(source or "")
    if name in known:
        return known[name]
    title = f"Own data, read as {name}" if name else "Data of an unknown source"
    return SourceNote(key=name, title=title, origin=UNKNOWN, terms=UNKNOWN)
