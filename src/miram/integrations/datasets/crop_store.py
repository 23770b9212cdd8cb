"""The crop store in the catalog: saving a plan cuts it, loading opens the store."""

import base64
import io
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from miram.mammography.crops.plan import CropPlan, build_crop_store
from miram.mammography.crops.store import CropStore


class CropStoreDataset(AbstractDataset[CropPlan, CropStore]):
    """A folder with one memory-mapped array of crops, versioned by its digest.

    Args:
        path: The folder.
        metadata: For Kedro plugins.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    def load(self) -> CropStore:
        """Open the store; pixels stay on the disk until they are read."""
        return CropStore.open(self._path)

    def save(self, data: CropPlan) -> None:
        """Cut what is new and write the store."""
        build_crop_store(data, self._path)

    def _exists(self) -> bool:
        return CropStore.is_finished(self._path)

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}

    def preview(self) -> ImagePreview:
        """A contact sheet for Kedro-Viz."""
        from miram.reporting.charts.images import contact_sheet

        buffer = io.BytesIO()
        contact_sheet(self.load(), columns=8, rows=5).save(buffer, format="PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode())
