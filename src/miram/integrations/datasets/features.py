"""Features in the catalog: saving a plan encodes only what is not there yet."""

import logging
from typing import TYPE_CHECKING

import pandas as pd

from miram.files import atomic_path
from miram.integrations.datasets.table import TableFile

if TYPE_CHECKING:
    from miram.evaluation.features.cache import FeaturePlan

log = logging.getLogger(__name__)


class FeatureDataset(TableFile):
    """A table of features as a Parquet file that says what it came from."""

    def save(self, data: "FeaturePlan | pd.DataFrame") -> None:
        """Write a table, or compute and write a plan's unless the file holds just that."""
        if isinstance(data, pd.DataFrame):
            self._write(data)
            return
        from miram.evaluation.features.cache import stored_origin

        if stored_origin(self._filepath) == data.origin:
            log.info(
                "%s holds the features of encoder %s on crops %s: nothing to encode",
                self._filepath,
                data.origin["encoder"],
                data.origin["crops"],
            )
            return
        self._write(data.table())

    def _write(self, table: pd.DataFrame) -> None:
        with atomic_path(self._filepath) as temporary:
            table.to_parquet(temporary, index=False)
