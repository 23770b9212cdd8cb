"""What every data source gives: a lesion table, an audit, and what is known of the data."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
from pydantic import Field

from miram.configuration import Config
from miram.errors import MiramError

UNKNOWN = "not known to the software"


@dataclass(frozen=True)
class SourceNote:
    """What is known of the data of every study on a source: maker, terms, citation.

    Attributes:
        title: Name in print.
        origin: Where images and labels come from.
        terms: On which terms the data may be used.
        terms_link: Address of these terms; empty if there is none.
        citations: Works to cite.
        synthetic: Whether there are no patients behind the images; None if that is not known.
        published: Whether images and labels had been published before a study used them.
        key: Name of the source in the parameters, filled in by `source_note`.
    """

    title: str
    origin: str = UNKNOWN
    terms: str = UNKNOWN
    terms_link: str = ""
    citations: tuple[str, ...] = ()
    synthetic: bool | None = None
    published: bool = False
    key: str = ""


@dataclass(frozen=True)
class Ingested:
    """What a source found.

    `lesions` holds usable lesions only (`lesion_table.COLUMNS`), `audit` one row per problem or
    repair (`audit.AUDIT_COLUMNS`).
    """

    lesions: pd.DataFrame
    audit: pd.DataFrame


class Source(Config, ABC):
    """A kind of raw data, with its options as fields.

    Attributes:
        about: Citation and license; None for data of which the software knows nothing.
        audit_codes: Meaning of each code that this source alone writes, and what to do about it;
            the codes of `audit.SHARED_CODES` need no entry.
    """

    about: ClassVar[SourceNote | None] = None
    audit_codes: ClassVar[dict[str, str]] = {}

    pseudonyms: bool = Field(
        True, description="whether patients, lesions, images and files go under pseudonyms"
    )

    @property
    def further_columns(self) -> tuple[str, ...]:
        """Columns of the lesion table beyond the standard ones that pass beside pseudonyms."""
        return ()

    @abstractmethod
    def ingest(self, raw_root: Path) -> Ingested:
        """Read the tables and file headers under `raw_root`; decode no pixels.

        Returns:
            The usable lesions and the audit of everything else.

        Raises:
            MiramError: The folder does not hold this kind of data.
        """


class NothingFoundError(MiramError):
    """Not one mammogram in a folder; `audit` has one row for each file that was left out."""

    def __init__(self, message: str, audit: pd.DataFrame) -> None:
        super().__init__(message)
        self.audit = audit
