"""Metrics of fine-tuned encoders for the report: those that are there, perhaps none."""

import json
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset
from kedro.io.core import DatasetError

from miram.files import versions_of
from miram.models.methods import METHODS

_FILE = "finetuned_metrics.json"
Metrics = dict[str, dict[str, Any]]


class FinetunedMetrics(AbstractDataset[NoReturn, Metrics]):
    """The newest `finetuned_metrics.json` of every method that was fine-tuned.

    Fine-tuning is no part of the study, so a report needs none of them.

    Args:
        path: Folder of the outputs of all methods.
        metadata: For Kedro plugins.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    def load(self) -> Metrics:
        """Read what is there, by method."""
        files = {method: versions_of(self._path / method / _FILE) for method in METHODS}
        return {
            method: json.loads(versions[-1].read_text(encoding="utf-8"))
            for method, versions in files.items()
            if versions
        }

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse: the finetune pipeline writes them, method by method."""
        raise DatasetError(f"{self._path} is written by the finetune pipeline")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
