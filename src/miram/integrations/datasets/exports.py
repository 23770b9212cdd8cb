"""The exports of an encoder in the catalog: a folder that is written whole."""

import logging
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from miram.models.export.export import SUMMARY, ExportOrder, export_order

logger = logging.getLogger(__name__)


class ExportsDataset(AbstractDataset[ExportOrder, Path]):
    """An encoder in the formats of other programs.

    Args:
        filepath: The folder.
        metadata: For Kedro plugins.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Name the folder."""
        return self._filepath

    def save(self, data: ExportOrder) -> None:
        """Write what was ordered in place of what was there; say what is left out, and why."""
        found = export_order(data, self._filepath)
        logger.info("%s: %s", self._filepath, ", ".join(found.written) or "nothing written")
        for form, reason in found.left_out.items():
            logger.warning("%s: no %s: %s", self._filepath, form, reason)

    def _exists(self) -> bool:
        return (self._filepath / SUMMARY).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
