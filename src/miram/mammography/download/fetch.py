"""Downloading a collection from TCIA: parallel, checked, resumable.

On disk stands what `tcia_utils` makes as well: a folder per series, named by its UID, with the
DICOM files in it. A folder appears whole, after its hashes were checked, or not at all; files
that a user put into an older folder of that name are moved aside, never deleted.
"""

import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from miram.errors import MiramError
from miram.mammography.download.nbia import NbiaClient, NbiaError, Series, StoppedError
from miram.mammography.download.plan import (
    DownloadConfig,
    check_space,
    choose_series,
    read_manifest,
)
from miram.mammography.download.series import (
    HASHES,
    ArchiveError,
    matches_hashes,
    most_bytes,
    put_in_place,
    unpack_series,
)
from miram.progress import track

log = logging.getLogger(__name__)

Result = TypeVar("Result")

RECORD = "download_record.jsonl"
_PARTIAL = ".partial"
_LONGEST_WAIT = 60.0  # seconds between two tries


class DownloadRecord:
    """The finished series of a folder; may be used by several threads.

    A line holds the sizes of the files of one series, whose hashes were checked before. A line that
    a crash has cut off counts for nothing; its series is then checked by its hashes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / RECORD
        self._lock = threading.Lock()
        self._sizes: dict[str, dict[str, int]] = {}
        if self.path.is_file():
            text = self.path.read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                self._take(line)
            if text and not text.endswith("\n"):  # a crash has cut off the last line
                self._append(b"\n")

    def has(self, uid: str, images: int | None, recheck: bool) -> bool:
        """Whether a series is finished on disk, with as many images as the server announces.

        A folder that the record does not know, such as one of another program, counts if it holds
        `md5hashes.csv` and fits it; with `recheck` every folder must.
        """
        folder = self.folder / uid
        if not folder.is_dir():
            return False
        known = self._sizes.get(uid)
        if known is not None and not recheck:
            dicoms = sum(name.lower().endswith(".dcm") for name in known)
            paths = [folder / name for name in known]
            sizes = {path.name: path.stat().st_size for path in paths if path.is_file()}
            return sizes == known and images in (None, dicoms)
        found = matches_hashes(folder, images)
        if found is not None and found != known:
            self.add(uid, found)
        return found is not None

    def add(self, uid: str, sizes: dict[str, int]) -> None:
        """Note a finished series: bytes of each of its files, which are in place."""
        line = json.dumps({"series": uid, "files": sizes}, sort_keys=True)
        with self._lock:
            self._sizes[uid] = sizes
            self._append(line.encode() + b"\n")

    def _append(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            sizes = {str(name): int(size) for name, size in entry["files"].items()}
            self._sizes[str(entry["series"])] = sizes
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # cut off by a crash


@dataclass
class DownloadReport:
    """What a download did.

    `present` series were finished before, those of `fetched` are now, in the order of finishing;
    `failed` gives the reason for every series that could not be had.
    """

    wanted: int = 0
    present: int = 0
    fetched: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    bytes_fetched: int = 0


@dataclass(frozen=True)
class Progress:
    """Callbacks of a running download, called from several threads.

    `on_plan` gets the number of series and of bytes to fetch, once; `on_bytes` bytes as they
    arrive, negative when a try has failed; `on_series` follows every series, finished or failed.
    """

    on_plan: Callable[[int, int], None] = lambda series, size: None
    on_bytes: Callable[[int], None] = lambda count: None
    on_series: Callable[[], None] = lambda: None


def download_collection(config: DownloadConfig, progress: Progress | None = None) -> DownloadReport:
    """Fetch what is not there yet of a collection.

    Interrupted or failed downloads resume where they stopped when called again. Series that could
    not be had are in the report; they do not end the download.

    Raises:
        MiramError: The manifest is none, the server cannot be reached, the subset is empty, the
            folder cannot be written to, or the disk is too small.
    """
    _make_folder(config.to)
    stop = threading.Event()
    client = NbiaClient(config.base_url, config.timeout, stop)
    manifest = read_manifest(config.manifest) if config.manifest else None
    listed = patiently(lambda: client.list_collection(config.collection), config, stop)
    wanted = choose_series(config, manifest, listed)
    record = DownloadRecord(config.to)
    known = [listed.get(uid, Series(uid)) for uid in wanted]
    checked = track(known, "looked for finished series", total=len(known))
    missing = [one for one in checked if not record.has(one.uid, one.images, config.recheck)]
    report = DownloadReport(wanted=len(wanted), present=len(wanted) - len(missing))
    log.info("%d series wanted, %d of them finished", report.wanted, report.present)
    _warn_of_unchecked(config.to, missing)
    shutil.rmtree(config.to / _PARTIAL, ignore_errors=True)
    check_space(config.to, missing, config.workers)
    progress = progress or Progress()
    progress.on_plan(len(missing), sum(one.size or 0 for one in missing))
    worker = _Worker(config, client, record, progress, stop)
    try:
        with closing(_in_order(worker, missing)) as results:
            for series, result in results:
                if isinstance(result, int):
                    report.fetched.append(series.uid)
                    report.bytes_fetched += result
                else:
                    report.failed[series.uid] = result
                    log.warning("series %s: %s", series.uid, result)
                progress.on_series()
    finally:
        shutil.rmtree(config.to / _PARTIAL, ignore_errors=True)
    return report


def patiently(
    attempt: Callable[[], Result], config: DownloadConfig, stop: threading.Event
) -> Result:
    """Try again what fails for a passing reason, after waits that double; raise what lasts."""
    for tried in range(config.retries + 1):
        try:
            return attempt()
        except (NbiaError, ArchiveError) as error:
            lasting = isinstance(error, NbiaError) and not error.passing
            if lasting or tried == config.retries:
                raise
            pause = min(config.backoff * 2**tried, _LONGEST_WAIT)
            log.info("%s; again in %.1f s", error, pause)
            if stop.wait(pause):
                raise StoppedError from error
    raise AssertionError("the last try returns or raises")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MiramError(
            f"cannot write to {folder}: {error.strerror}; give another folder (to) or mend its "
            "access rights"
        ) from error


def _warn_of_unchecked(folder: Path, missing: list[Series]) -> None:
    """Say how many series stand there already and are fetched again all the same."""
    present = [one.uid for one in missing if (folder / one.uid).is_dir()]
    unchecked = sum(not (folder / uid / HASHES).is_file() for uid in present)
    if unchecked:
        log.warning(
            "%d series are in %s without %s, as another program left them: they cannot be checked "
            "and are fetched again; files of yours in their folders go to <series>.replaced",
            unchecked,
            folder,
            HASHES,
        )


@dataclass(frozen=True)
class _Worker:
    """Brings one series after the other to its folder."""

    config: DownloadConfig
    client: NbiaClient
    record: DownloadRecord
    progress: Progress
    stop: threading.Event

    def fetch(self, series: Series) -> int | str:
        """Give the bytes of a finished series, or the reason why it could not be had."""
        try:
            if series.images is None:
                found = patiently(lambda: self.client.look_up(series.uid), self.config, self.stop)
                if found is None:
                    return f"{self.config.base_url} does not know this series"
                series = found
            return patiently(lambda: self._once(series), self.config, self.stop)
        except MiramError as error:
            return str(error)
        except OSError as error:
            # A full disk stops every series, not this one alone.
            raise MiramError(
                f"cannot write to {self.config.to}: {error}; what is finished stays: mend this "
                "and run the same command again"
            ) from error

    def _once(self, series: Series) -> int:
        partial = self.config.to / _PARTIAL
        archive, folder = partial / f"{series.uid}.zip", partial / series.uid
        arrived = 0

        def count(length: int) -> None:
            nonlocal arrived
            arrived += length
            if series.size is not None and arrived > most_bytes(series.size):
                raise ArchiveError(
                    f"the zip has more bytes than announced ({series.size:,}): stopped"
                )
            self.progress.on_bytes(length)

        try:
            folder.mkdir(parents=True)
            self.client.fetch_zip(series.uid, archive, count)
            sizes = unpack_series(archive, folder, series.images, series.size)
            put_in_place(folder, self.config.to / series.uid)
            self.record.add(series.uid, sizes)
        except BaseException:
            self.progress.on_bytes(-arrived)
            raise
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        # A zip is smaller than its files, which the plan counts.
        self.progress.on_bytes((arrived if series.size is None else series.size) - arrived)
        return sum(sizes.values())


def _in_order(
    worker: _Worker, series: list[Series]
) -> Generator[tuple[Series, int | str], None, None]:
    """Run the transfers, started in order, and give each result as it comes."""
    with ThreadPoolExecutor(worker.config.workers, thread_name_prefix="download") as pool:
        started = {pool.submit(worker.fetch, one): one for one in series}
        try:
            for done in as_completed(started):
                yield started[done], done.result()
        finally:
            worker.stop.set()  # after an interruption, running transfers end at their next piece
            pool.shutdown(wait=False, cancel_futures=True)
