"""Encoders in the catalog: versioned safetensors files with a metadata header."""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset
from kedro.io.core import DatasetError, Version

if TYPE_CHECKING:
    from miram.models.checkpoints import EncoderCheckpoint


class EncoderDataset(AbstractVersionedDataset["EncoderCheckpoint", "EncoderCheckpoint"]):
    """An encoder that `timm.create_model(..., checkpoint_path=...)` loads as well.

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

    def load(self) -> "EncoderCheckpoint":
        """Read weights and header."""
        from miram.models.checkpoints import EncoderCheckpoint

        return EncoderCheckpoint.load(str(self._get_load_path()))

    def save(self, data: "EncoderCheckpoint") -> None:
        """Write weights and header, whole or not at all."""
        data.save(str(self._get_save_path()))

    def _exists(self) -> bool:
        try:
            return Path(str(self._get_load_path())).is_file()
        except DatasetError:
            return False  # no version has been saved yet

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
