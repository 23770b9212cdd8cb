"""A Parquet table in the catalog that is filled by carrying out a plan."""

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset


class TableFile(AbstractDataset[Any, pd.DataFrame]):
    """A Parquet file; subclasses say how it is written.

    Args:
        filepath: The file.
        metadata: For Kedro plugins.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Read the whole table; its `attrs` tell where it came from, if it was told."""
        return pd.read_parquet(self._filepath)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
