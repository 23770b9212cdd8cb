"""Parquet tables whose preview may hold lists and missing values, or that keep their origin."""

from typing import Any

import numpy as np
import pandas as pd
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset

from miram.files import atomic_path
from miram.integrations.datasets.files import FileDataset


class TableDataset(ParquetDataset):
    """A Parquet table; Kedro-Viz shows lists as text and leaves missing values empty.

    `pandas.ParquetDataset` hands Kedro-Viz arrays and `pandas.NA`, which JSON does not have: the
    node cannot be opened.
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


class FeatureTable(FileDataset):
    """A Parquet table whose `attrs` say what it came from."""

    def load(self) -> pd.DataFrame:
        """Read the whole table."""
        return pd.read_parquet(self._filepath)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, whole or not at all."""
        with atomic_path(self._filepath) as temporary:
            data.to_parquet(temporary, index=False)


class StoredFeatures(FeatureTable):
    """The features of an earlier run, which a node may take over; None where there are none."""

    def load(self) -> pd.DataFrame | None:
        """Read the table that is there."""
        return super().load() if super()._exists() else None

    def _exists(self) -> bool:
        return True
