"""The key of a study's pseudonyms, and what they stand for: readable by their owner alone."""

from pathlib import Path
from typing import Any

from miram.integrations.datasets.files import ReadOnlyDataset
from miram.integrations.datasets.tables import Table
from miram.mammography.pseudonyms import PRIVATE, PseudonymKey


class PseudonymKeyDataset(ReadOnlyDataset):
    """The key of the credentials, else a random one in a file, which is made when it is needed."""

    def __init__(
        self, filepath: str, credentials: dict[str, str], metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath, metadata)
        self._given = credentials.get("key") or ""

    def load(self) -> PseudonymKey:
        """Give the key, which is read or made only where it is used."""
        return PseudonymKey(Path(self._filepath), self._given)


class Identities(Table):
    """What pseudonyms stand for."""

    mode = PRIVATE
