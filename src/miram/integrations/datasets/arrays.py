"""A few named numpy arrays in one compressed file."""

from pathlib import Path
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from numpy.typing import NDArray

from miram.files import atomic_path


class ArraysDataset(AbstractDataset[dict[str, NDArray], dict[str, NDArray]]):
    """Named arrays as an `.npz` file; no pickled objects.

    Args:
        filepath: The file.
        metadata: For Kedro plugins.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, NDArray]:
        """Read all arrays."""
        with np.load(self._filepath, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def save(self, data: dict[str, NDArray]) -> None:
        """Write all arrays, whole or not at all."""
        with atomic_path(self._filepath) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **data)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
