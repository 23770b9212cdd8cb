"""What the promote pipeline reads and writes, as Kedro datasets."""

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, AbstractVersionedDataset
from kedro.io.core import DatasetError, Version

from miram.errors import MiramError
from miram.files import atomic_path
from miram.models.methods import METHODS

if TYPE_CHECKING:
    from miram.serving.predictor import Predictor
    from miram.serving.registry.versions import Release


class MethodDataset(AbstractDataset[str, str]):
    """The method that `promote.method` names; loading gives its name.

    Args:
        path: Folder of its models; the last part is the name.
        metadata: For Kedro plugins.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    def load(self) -> str:
        """Give the name.

        Raises:
            MiramError: There is no such method, or it has not been trained.
        """
        name = self._path.name
        if name not in METHODS:
            raise MiramError(f"there is no method {name!r}: one of {', '.join(METHODS)}")
        if not self._path.is_dir():
            raise MiramError(
                f"{name} has no model under {self._path}: train and evaluate it first, with "
                f"`kedro run --pipeline pretrain --namespaces {name}` and the same for probe"
            )
        return name

    def save(self, data: str) -> None:
        """Nothing can be saved.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("the name of a method is a parameter: promote.method")

    def _exists(self) -> bool:
        return bool(self.load())

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}


class PredictorDataset(AbstractVersionedDataset["Predictor", "Predictor"]):
    """A predictor as a folder of plain files.

    Args:
        path: The folder, or with `version` the folder of its versions.
        version: Set by Kedro for `versioned: true`.
        metadata: For Kedro plugins.
    """

    def __init__(
        self,
        path: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            PurePosixPath(path),
            version,
            exists_function=lambda found: Path(found).exists(),
            glob_function=lambda pattern: [str(p) for p in Path("/").glob(pattern.lstrip("/"))],
        )
        self.metadata = metadata

    def load(self) -> "Predictor":
        """Read weights, probe and settings."""
        from miram.serving.predictor import Predictor

        return Predictor.load(str(self._get_load_path()))

    def save(self, data: "Predictor") -> None:
        """Write weights, probe and settings, all or nothing."""
        data.save(str(self._get_save_path()))

    def _exists(self) -> bool:
        try:
            return Path(str(self._get_load_path())).is_dir()
        except DatasetError:
            return False  # no version has been saved yet

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._filepath), "version": self._version}


class RegistryDataset(AbstractDataset["Release", dict[str, Any]]):
    """The registry of the project's MLflow server: saving registers, and notes what was done.

    Args:
        filepath: JSON file of the note.
        metadata: For Kedro plugins.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Read what was done last."""
        done: dict[str, Any] = json.loads(self._filepath.read_text(encoding="utf-8"))
        return done

    def save(self, data: "Release") -> None:
        """Register a version and give it its alias."""
        from miram.integrations.mlflow.hook import running_hook
        from miram.serving.registry.versions import register

        hook = running_hook()
        done = register(data, hook.config, hook.run_id)
        with atomic_path(self._filepath) as temporary:
            temporary.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
