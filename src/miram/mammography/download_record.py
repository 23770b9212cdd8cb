"""What a download has finished: one line per series, written once its files are in place."""

import json
import os
import threading
from pathlib import Path

from miram.mammography.series_archive import matches_hashes

RECORD = "download_record.jsonl"


class DownloadRecord:
    """The finished series of a folder; may be used by several threads.

    A line holds the sizes of the files of one series, whose hashes were checked before. A
    line that a crash has cut off counts for nothing; its series is then told by its hashes.

    Args:
        folder: The folder of the download.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / RECORD
        self._lock = threading.Lock()
        self._sizes: dict[str, dict[str, int]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._take(line)

    def has(self, uid: str, images: int | None, recheck: bool) -> bool:
        """Tell whether a series is finished on disk.

        Args:
            uid: SeriesInstanceUID; its folder has this name.
            images: Number of images that the server announces, None where it does not.
            recheck: Read all files and compare their hashes, not only counts and sizes.

        Returns:
            Whether all its files are there. A folder that the record does not know, such as
            one of another program, counts if it holds `md5hashes.csv` and fits it.
        """
        folder = self.folder / uid
        if not folder.is_dir():
            return False
        known = self._sizes.get(uid)
        if known is not None and not recheck:
            dicoms = sum(name.lower().endswith(".dcm") for name in known)
            return _sizes_on_disk(folder, known) == known and images in (None, dicoms)
        found = matches_hashes(folder, images)
        if found is not None and found != known:
            self.add(uid, found)
        return found is not None

    def add(self, uid: str, sizes: dict[str, int]) -> None:
        """Note a finished series.

        Args:
            uid: SeriesInstanceUID.
            sizes: Bytes of each of its files, which are in place.
        """
        line = json.dumps({"series": uid, "files": sizes}, sort_keys=True)
        with self._lock:
            self._sizes[uid] = sizes
            with self.path.open("ab+") as file:
                torn = file.tell() > 0 and self._last_byte() != b"\n"
                file.write((b"\n" if torn else b"") + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def _last_byte(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            sizes = {str(name): int(size) for name, size in entry["files"].items()}
            self._sizes[str(entry["series"])] = sizes
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # cut off by a crash


def _sizes_on_disk(folder: Path, names: dict[str, int]) -> dict[str, int]:
    paths = ((name, folder / name) for name in names)
    return {name: path.stat().st_size for name, path in paths if path.is_file()}
