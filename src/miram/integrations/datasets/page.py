"""A text file in the catalog, written whole."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from miram.files import atomic_path


class PageDataset(AbstractDataset[str, str]):
    """A page as a UTF-8 text file.

    Args:
        filepath: The file.
        metadata: For Kedro plugins.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> str:
        """Read the page."""
        return self._filepath.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the page, whole or not at all."""
        with atomic_path(self._filepath) as temporary:
            temporary.write_text(data, encoding="utf-8")

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
