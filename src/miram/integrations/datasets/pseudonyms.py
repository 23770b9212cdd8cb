"""The key of a study's pseudonyms, and what they stand for: readable by their owner alone."""

from pathlib import Path
from typing import Any, NoReturn

from kedro.io.core import DatasetError

from miram.integrations.datasets.files import FileDataset
from miram.integrations.datasets.tables import Table
from miram.mammography.pseudonyms import PRIVATE, PseudonymKey


class PseudonymKeyDataset(FileDataset):
    """The key of the credentials, else a random one in a file, which is made when it is needed.

    Args:
        filepath: File of the random key.
        credentials: `key`, or an empty text.
        metadata: For Kedro plugins.
    """

    def __init__(
        self, filepath: str, credentials: dict[str, str], metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath, metadata)
        self._given = credentials.get("key") or ""

    def load(self) -> PseudonymKey:
        """Give the key, which is read or made only where it is used."""
        return PseudonymKey(Path(self._filepath), self._given)

    def save(self, data: Any) -> NoReturn:
        """Refuse: the file is made with the first pseudonym."""
        raise DatasetError("a key is not saved: give it in the credentials")

    def _exists(self) -> bool:
        return True


class Identities(Table):
    """What pseudonyms stand for."""

    mode = PRIVATE
