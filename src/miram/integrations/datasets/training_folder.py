"""The folder of a method's training in the catalog: it is there before anything is in it."""

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset
from kedro.io.core import DatasetError

from miram.training.checkpointing.folder import TrainingFolder


class TrainingFolderDataset(AbstractDataset[NoReturn, TrainingFolder]):
    """Where a training keeps its state, to go on after an interruption.

    The training itself writes there while its node runs, so nothing is saved through here.

    Args:
        path: The folder.
        metadata: For Kedro plugins.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    def load(self) -> TrainingFolder:
        """Name the folder, which need not exist."""
        return TrainingFolder(self._path)

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: the folder is written by the training."""
        raise DatasetError(f"{self._path} is written by the training itself")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
