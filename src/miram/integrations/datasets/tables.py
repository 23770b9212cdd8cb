"""Tables in the catalog: written whole or not at all, and checked when they are read."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io.core import Version
from kedro_datasets._typing import TablePreview

from miram.errors import MiramError
from miram.files import check, harmless_table, recorded_path
from miram.integrations.datasets.files import VersionedFileDataset

log = logging.getLogger(__name__)


def write_table(table: pd.DataFrame, path: Path, mode: int | None = None) -> None:
    """Write a table as Parquet or CSV, by the suffix of the file, whole or not at all.

    `mode` are the permissions of the file, where they are not those of any new file.
    """
    with recorded_path(path, mode) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            harmless_table(table).to_csv(temporary, index=False)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Raises:
        MiramError: It is not what was written.
    """
    check(path)
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    return read(path, **options)


class Table(VersionedFileDataset):
    """A table as Parquet, which keeps its `attrs`, or as CSV: by the suffix of the file."""

    mode: int | None = None  # permissions of the file, see `write_table`

    def __init__(
        self,
        filepath: str,
        load_args: dict[str, Any] | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath, version, metadata)
        self._load_args = load_args or {}

    def load(self) -> Any:
        """Read the whole table.

        Raises:
            MiramError: It is not what was written.
        """
        return self._read()

    def _read(self) -> pd.DataFrame | None:  # subclasses change this: Kedro wraps errors of `load`
        return read_table(Path(str(self._get_load_path())), **self._load_args)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table without its index."""
        write_table(data, Path(str(self._get_save_path())), self.mode)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows for Kedro-Viz, which takes neither lists nor missing values."""
        table: dict[str, Any] = self.load().head(nrows).to_dict("split")
        table["data"] = [[_cell(value) for value in row] for row in table["data"]]
        return TablePreview(table)


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(str(item) for item in value)
    return None if pd.isna(value) else value


class OptionalTable(Table):
    """A table that a node may do without; None where there is none."""

    def _read(self) -> pd.DataFrame | None:
        return super()._read() if super()._exists() else None

    def _exists(self) -> bool:
        return True


class StoredFeatures(OptionalTable):
    """The features of an earlier run, which a node may take over; damaged, they are made again."""

    def _read(self) -> pd.DataFrame | None:
        try:
            return super()._read()
        except MiramError as error:
            log.warning("all is encoded again: %s", error)
            return None
