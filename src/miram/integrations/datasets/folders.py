"""Folders that the work of a node needs, and names that follow from a folder."""

from pathlib import Path
from typing import Any

from miram.errors import MiramError
from miram.integrations.datasets.files import ReadOnlyDataset
from miram.models.methods import METHODS
from miram.training.checkpointing.folder import TrainingFolder


class WorkFolder(ReadOnlyDataset):
    """Where a node keeps unfinished work and writes itself; loading names it."""

    def load(self) -> Any:
        """Name the folder."""
        return self._filepath


class TrainingFolderDataset(WorkFolder):
    """Where a training keeps its state, to resume after an interruption."""

    def load(self) -> TrainingFolder:
        """Name the folder."""
        return TrainingFolder(self._filepath)


class TrainedMethod(WorkFolder):
    """The method that `promote.method` names, by the folder of its models."""

    def load(self) -> str:
        """Give the name.

        Raises:
            MiramError: There is no such method, or it has not been trained.
        """
        name = Path(self._filepath).name
        if name not in METHODS:
            raise MiramError(f"there is no method {name!r}: one of {', '.join(METHODS)}")
        if not self._filepath.is_dir():
            raise MiramError(
                f"{name} has no model under {self._filepath}: train and evaluate it first, with "
                f"`kedro run --pipelines pretrain,probe --namespaces {name}`"
            )
        return name

    def _exists(self) -> bool:
        return bool(self.load())
