"""The evaluation of a method in the catalog: the files that users look for."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
from kedro_datasets._typing import JSONPreview

from miram.evaluation.results import Evaluation
from miram.files import check, recorded_path, versions_of
from miram.integrations.datasets.files import ReadOnlyDataset, VersionedFileDataset
from miram.integrations.datasets.tables import read_table, write_table
from miram.models.methods import METHODS

_METRICS = "metrics.json"
_TABLES = tuple(field.name for field in fields(Evaluation) if field.name != "metrics")


class EvaluationDataset(VersionedFileDataset):
    """Metrics as JSON, versioned; predictions as Parquet and the other tables as CSV beside them.

    The tables take the prefix of the metrics: beside `finetuned_metrics.json` stands
    `finetuned_predictions.parquet`. A table that was not made has no file.
    """

    def load(self) -> Evaluation:
        """Read the metrics, of the wanted version, and the newest tables.

        Raises:
            MiramError: One of the files is not what was written.
        """
        metrics = _read_metrics(Path(str(self._get_load_path())))
        return Evaluation(metrics, **{name: self._read(name) for name in _TABLES})

    def _read(self, name: str) -> pd.DataFrame:
        path = self._table(name)
        # A value of a subgroup such as 3 is a name, no number.
        options = {"dtype": {"value": "string"}} if name == "subgroups" else {}
        return read_table(path, **options) if path.is_file() else pd.DataFrame()

    def save(self, data: Evaluation) -> None:
        """Write each file whole or not at all; the metrics come last."""
        for name in _TABLES:
            table, path = getattr(data, name), self._table(name)
            if len(table.columns):
                write_table(table, path)
            else:
                path.unlink(missing_ok=True)
        with recorded_path(str(self._get_save_path())) as temporary:
            temporary.write_text(json.dumps(data.metrics), encoding="utf-8")

    def _table(self, name: str) -> Path:
        metrics = Path(self._filepath)
        suffix = "parquet" if name == "predictions" else "csv"
        return metrics.with_name(f"{metrics.name.removesuffix(_METRICS)}{name}.{suffix}")

    @property
    def artifacts(self) -> list[Path]:
        """The tables that are there, for MLflow."""
        return [path for name in _TABLES if (path := self._table(name)).is_file()]

    def preview(self) -> JSONPreview:
        """The metrics for Kedro-Viz."""
        return JSONPreview(Path(str(self._get_load_path())).read_text(encoding="utf-8"))


class FinetunedMetrics(ReadOnlyDataset):
    """The newest `finetuned_metrics.json` of every method that was fine-tuned, perhaps of none.

    Fine-tuning is no part of the study, so a report needs none of them. The finetune pipeline
    writes them, method by method.
    """

    def load(self) -> dict[str, dict[str, Any]]:
        """Read what is there, by method."""
        files = {
            name: versions_of(self._filepath / name / f"finetuned_{_METRICS}") for name in METHODS
        }
        return {name: _read_metrics(versions[-1]) for name, versions in files.items() if versions}


def _read_metrics(path: Path) -> dict[str, Any]:
    check(path)
    metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return metrics
