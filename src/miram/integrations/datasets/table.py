"""A Parquet table whose preview may hold lists and missing values."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset


class TableDataset(ParquetDataset):
    """A Parquet table; Kedro-Viz shows lists as text and leaves missing values empty.

    `pandas.ParquetDataset` hands Kedro-Viz arrays and `pandas.NA`, which JSON does not have: the
    node cannot be opened, and a static site cannot be built.
    """

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows for Kedro-Viz.

        Args:
            nrows: How many rows.
        """
        table: dict[str, Any] = super().preview(nrows)
        table["data"] = [[_cell(value) for value in row] for row in table["data"]]
        return TablePreview(table)


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(str(item) for item in value)
    return None if pd.isna(value) else value


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
