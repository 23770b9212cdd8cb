"""What every data source gives: a lesion table and an audit of what it could not use."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from miram.configuration import Config
from miram.errors import MiramError


@dataclass(frozen=True)
class Ingested:
    """What a source found.

    Attributes:
        lesions: The lesion table (`lesion_table.COLUMNS`), usable lesions only.
        audit: One row per problem or repair (`lesion_table.AUDIT_COLUMNS`).
    """

    lesions: pd.DataFrame
    audit: pd.DataFrame


class Source(Config, ABC):
    """A kind of raw data, with its options as fields."""

    @abstractmethod
    def ingest(self, raw_root: Path) -> Ingested:
        """Read the tables and file headers under `raw_root`; decode no pixels.

        Args:
            raw_root: Folder of the raw data.

        Returns:
            The usable lesions and the audit of everything else.

        Raises:
            MiramError: The folder does not hold this kind of data.
        """


class NothingFoundError(MiramError):
    """Not one mammogram in a folder.

    Attributes:
        audit: One row for each file that was left out (`lesion_table.AUDIT_COLUMNS`).
    """

    def __init__(self, message: str, audit: pd.DataFrame) -> None:
        super().__init__(message)
        self.audit = audit
