"""What the datasets of this project share: a path, whether it is there, and its versions."""

import glob
import json
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from kedro.io import AbstractDataset, AbstractVersionedDataset
from kedro.io.core import DatasetError, Version
from kedro_datasets._typing import JSONPreview

from miram.files import atomic_path, check, recorded_path


class FileDataset(AbstractDataset[Any, Any]):
    """A file or a folder; subclasses say how it is loaded and saved."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(str(filepath))  # a folder may be called 2024
        self.metadata = metadata

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class ReadOnlyDataset(FileDataset):
    """What a node is given whether it is there or not, and what no node saves."""

    def save(self, data: NoReturn) -> NoReturn:
        """Refuse.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(f"{self._filepath} is no output of a node: it is only read")

    def _exists(self) -> bool:
        return True


class VersionedFileDataset(AbstractVersionedDataset[Any, Any]):
    """A file or a folder of which Kedro, with `versioned: true`, keeps every version."""

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
            glob_function=glob.glob,
        )
        self.metadata = metadata

    def _exists(self) -> bool:
        try:
            return Path(str(self._get_load_path())).exists()
        except DatasetError:
            return False  # no version has been saved yet

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


class TextFile(FileDataset):
    """A UTF-8 text file, written whole or not at all."""

    def load(self) -> Any:
        """Read the text."""
        return self._filepath.read_text(encoding="utf-8")

    def save(self, data: Any) -> None:
        """Write the text."""
        with atomic_path(self._filepath) as temporary:
            temporary.write_text(data, encoding="utf-8")


class JsonFile(FileDataset):
    """A JSON file, written whole or not at all, and checked when it is read."""

    def load(self) -> Any:
        """Read what it holds.

        Raises:
            MiramError: It is not what was written.
        """
        check(self._filepath)
        return json.loads(self._filepath.read_text(encoding="utf-8"))

    def save(self, data: Any) -> None:
        """Write what JSON can hold."""
        with recorded_path(self._filepath) as temporary:
            temporary.write_text(json.dumps(data, indent=2), encoding="utf-8")

    def preview(self) -> JSONPreview:
        """The text for Kedro-Viz."""
        return JSONPreview(self._filepath.read_text(encoding="utf-8"))
