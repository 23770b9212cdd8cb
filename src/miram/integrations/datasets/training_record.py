"""What a training leaves beside its weights, in the catalog."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from kedro_datasets._typing import ImagePreview
from numpy.typing import NDArray

from miram.files import check, recorded_path
from miram.integrations.datasets.files import FileDataset
from miram.integrations.datasets.tables import read_table, write_table


@dataclass(frozen=True)
class TrainingRecord:
    """What a training leaves beside its weights.

    Attributes:
        history: One row per logged step; empty for a method that does not train.
        reconstructions: `scale<s>_target`, `_masked`, `_prediction`: (n, H, H) uint8; empty for a
            method without decoders.
        fidelity: One row per crop and scale, with PSNR and SSIM of its reconstruction; likewise.
    """

    history: pd.DataFrame
    reconstructions: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    fidelity: pd.DataFrame = field(default_factory=pd.DataFrame)


class TrainingRecordDataset(FileDataset):
    """The history as a CSV file; beside it `reconstructions.npz` and the table `fidelity.csv`."""

    @property
    def _arrays(self) -> Path:
        return self._filepath.with_name("reconstructions.npz")

    @property
    def _fidelity(self) -> Path:
        return self._filepath.with_name("fidelity.csv")

    def load(self) -> TrainingRecord:
        """Read what there is; methods without decoders have no `fidelity.csv`.

        Raises:
            MiramError: One of them is not what was written.
        """
        check(self._arrays)
        with np.load(self._arrays, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        fidelity = pd.DataFrame()
        if self._fidelity.exists():
            fidelity = read_table(self._fidelity, dtype={"crop_id": str, "patient_id": str})
        return TrainingRecord(read_table(self._filepath), arrays, fidelity)

    def save(self, data: TrainingRecord) -> None:
        """Write each file whole or not at all; the history comes last."""
        with recorded_path(self._arrays) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **data.reconstructions)  # type: ignore[arg-type]
        if data.fidelity.empty:
            self._fidelity.unlink(missing_ok=True)  # of a method that had decoders
        else:
            write_table(data.fidelity, self._fidelity)
        write_table(data.history, self._filepath)

    def preview(self) -> ImagePreview:
        """Target, visible part and reconstructions for Kedro-Viz."""
        from miram.reporting.charts.training import reconstruction_sheet

        buffer = io.BytesIO()
        reconstruction_sheet(self.load().reconstructions).savefig(buffer, format="png", dpi=110)
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode())
