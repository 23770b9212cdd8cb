"""A folder of raw mammograms: read by sources, written only by the phantom."""

import hashlib
from pathlib import Path
from typing import Any

from miram.errors import MiramError, writing
from miram.files import RAW_SUMS, atomic_path, check_all, record, recorded
from miram.integrations.datasets.files import FileDataset


class RawFolder(FileDataset):
    """Raw data as a folder; loading gives its path.

    Saving takes files by relative name. It writes only into a folder that is empty or that
    holds nothing but what an earlier save wrote, so that nobody's data can be lost.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath, metadata)
        self._cleared = False

    def load(self) -> Path:
        """Give the folder.

        Raises:
            MiramError: It is missing or empty, or a file is not what a save wrote.
        """
        if not self._filepath.is_dir():
            raise MiramError(
                f"raw_root {self._filepath} does not exist: give the folder of the data"
            )
        if all(path.name == RAW_SUMS for path in self._filepath.iterdir()):
            raise MiramError(f"raw_root {self._filepath} is empty: is the download complete?")
        check_all(self._filepath / RAW_SUMS)
        return self._filepath

    def save(self, data: dict[str, bytes]) -> None:
        """Write files; the first save of a run clears what an earlier run wrote.

        Raises:
            MiramError: The folder holds files that miram did not write.
        """
        if not self._cleared:
            self._clear()
        # The names come first, so that an interrupted save leaves no file that is not listed.
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
        with writing(self._filepath):
            record(self._filepath / RAW_SUMS, sums)
        for name, content in data.items():
            with atomic_path(self._filepath / name) as temporary:
                temporary.write_bytes(content)

    def _clear(self) -> None:
        with writing(self._filepath):
            self._filepath.mkdir(parents=True, exist_ok=True)
        sums = self._filepath / RAW_SUMS
        written = {self._filepath / name for name in recorded(sums)}
        here = [p for p in self._filepath.rglob("*") if p.is_symlink() or not p.is_dir()]
        for path in here:
            # Hidden files beside a record are its own, and unfinished files of a killed run.
            if path not in written and not (sums.is_file() and path.name.startswith(".")):
                raise MiramError(
                    f"{self._filepath} holds files that miram did not write, such as "
                    f"{path.relative_to(self._filepath)}: give an empty raw_root for the phantom"
                )
        # The record goes last: after a kill here, it still says what is ours.
        for path in sorted(here, key=lambda path: path == sums):
            path.unlink()
        for folder in sorted(self._filepath.rglob("*"), reverse=True):  # the deepest first
            folder.rmdir()
        self._cleared = True
