"""The crop store in the catalog."""

import base64
import io

from kedro.io import DatasetError
from kedro_datasets._typing import ImagePreview

from miram.integrations.datasets.files import FileDataset
from miram.mammography.crops.store import CropStore


class CropStoreDataset(FileDataset):
    """A folder with one memory-mapped array of crops, identified by its digest."""

    def load(self) -> CropStore:
        """Open the store; pixels stay on the disk until they are read."""
        return CropStore.open(self._filepath)

    def save(self, data: CropStore) -> None:
        """Accept the store that a node has finished in this folder.

        Raises:
            DatasetError: It lies elsewhere, or is not what this folder holds.
        """
        if data.folder.resolve() != self._filepath.resolve():
            raise DatasetError(
                f"the crop store was written to {data.folder}, but the catalog has it at "
                f"{self._filepath}: let `crops` and `crop_folder` name the same folder"
            )
        if self.load().digest != data.digest:
            raise DatasetError(
                f"the crop store at {self._filepath} has changed since its node finished it: run "
                "`kedro run --pipeline rois` again, with no other run on this folder"
            )

    def _exists(self) -> bool:
        return CropStore.is_finished(self._filepath)

    def preview(self) -> ImagePreview:
        """A contact sheet for Kedro-Viz."""
        from miram.reporting.charts.images import contact_sheet

        buffer = io.BytesIO()
        contact_sheet(self.load(), columns=8, rows=5).save(buffer, format="PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode())
