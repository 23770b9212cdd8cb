"""Checkpoints in the catalog: versioned safetensors files with a metadata header."""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset
from kedro.io.core import DatasetError, Version

if TYPE_CHECKING:
    from miram.models.checkpoints.files import Checkpoint


class CheckpointDataset(AbstractVersionedDataset["Checkpoint", "Checkpoint"]):
    """An encoder, which `timm.create_model(..., checkpoint_path=...)` loads, or a whole method.

    Args:
        filepath: The file, or with `version` the folder of its versions.
        version: Set by Kedro for `versioned: true`.
        metadata: For Kedro plugins.
    """

    def __init__(
        self,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            PurePosixPath(filepath),
            version,
            exists_function=lambda path: Path(path).exists(),
            glob_function=lambda pattern: [str(p) for p in Path("/").glob(pattern.lstrip("/"))],
        )
        self.metadata = metadata

    def load(self) -> "Checkpoint":
        """Read weights and header; the header tells which kind of checkpoint it is."""
        from miram.models.checkpoints.files import load_checkpoint

        return load_checkpoint(str(self._get_load_path()))

    def save(self, data: "Checkpoint") -> None:
        """Write weights and header, whole or not at all."""
        data.save(str(self._get_save_path()))

    def _exists(self) -> bool:
        try:
            return Path(str(self._get_load_path())).is_file()
        except DatasetError:
            return False  # no version has been saved yet

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
