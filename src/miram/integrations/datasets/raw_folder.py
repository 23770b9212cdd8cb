"""A folder of raw mammograms: read by sources, written only by the phantom."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from miram.errors import MiramError
from miram.files import atomic_path

_WRITTEN = ".written-by-miram"  # names of the files that a save wrote, one per line


class RawFolder(AbstractDataset[dict[str, bytes], Path]):
    """Raw data as a folder; loading gives its path.

    Saving takes files by relative name. It writes only into a folder that is empty or that
    holds nothing but what an earlier save wrote, so that nobody's data can be lost.

    Args:
        path: The folder.
        metadata: For Kedro plugins.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata
        self._cleared = False

    def load(self) -> Path:
        """Give the folder.

        Raises:
            MiramError: It is missing or empty.
        """
        if not self._path.is_dir():
            raise MiramError(f"raw_root {self._path} does not exist: give the folder of the data")
        if all(path.name == _WRITTEN for path in self._path.iterdir()):
            raise MiramError(f"raw_root {self._path} is empty: is the download complete?")
        return self._path

    def save(self, data: dict[str, bytes]) -> None:
        """Write files; the first save of a run clears what an earlier run wrote.

        Raises:
            MiramError: The folder holds files that miram did not write.
        """
        if not self._cleared:
            self._clear()
        # The names come first, so that an interrupted save leaves no file that is not listed.
        with (self._path / _WRITTEN).open("a", encoding="utf-8") as names:
            names.writelines(f"{name}\n" for name in data)
        for name, content in data.items():
            with atomic_path(self._path / name) as temporary:
                temporary.write_bytes(content)

    def _clear(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        record = self._path / _WRITTEN
        names = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
        written = {self._path / name for name in names}
        here = [p for p in self._path.rglob("*") if p.is_symlink() or not p.is_dir()]
        for path in here:
            # Hidden files beside a record are its own, and unfinished files of a killed run.
            if path not in written and not (record.is_file() and path.name.startswith(".")):
                raise MiramError(
                    f"{self._path} holds files that miram did not write, such as "
                    f"{path.relative_to(self._path)}: give an empty raw_root for the phantom"
                )
        for path in here:
            path.unlink()
        for folder in sorted(self._path.rglob("*"), reverse=True):  # the deepest first
            folder.rmdir()
        self._cleared = True

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
