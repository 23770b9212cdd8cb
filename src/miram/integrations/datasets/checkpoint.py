"""Encoders, trained models and predictors in the catalog, each with its versions."""

from typing import TYPE_CHECKING

from miram.integrations.datasets.files import VersionedFileDataset

if TYPE_CHECKING:
    from miram.models.checkpoints.files import Checkpoint
    from miram.serving.predictor import Predictor


class CheckpointDataset(VersionedFileDataset):
    """An encoder, which `timm.create_model(..., checkpoint_path=...)` loads, or a whole method."""

    def load(self) -> "Checkpoint":
        """Read weights and header, which says what kind of checkpoint it is."""
        from miram.models.checkpoints.files import load_checkpoint

        return load_checkpoint(str(self._get_load_path()))

    def save(self, data: "Checkpoint") -> None:
        """Write weights and header, whole or not at all."""
        data.save(str(self._get_save_path()))


class PredictorDataset(VersionedFileDataset):
    """A predictor as a folder of plain files."""

    def load(self) -> "Predictor":
        """Read weights, probe and settings."""
        from miram.serving.predictor import Predictor

        return Predictor.load(str(self._get_load_path()))

    def save(self, data: "Predictor") -> None:
        """Write weights, probe and settings, all or nothing."""
        data.save(str(self._get_save_path()))
