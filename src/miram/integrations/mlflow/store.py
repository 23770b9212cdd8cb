"""The MLflow store of a command, which never stops a training and never delays one for long.

What is to be logged waits in a `Run` until MLflow has it, also on disk, as a note. When the server
is away, one warning says so; the runs are logged later, with the next method, at the end of the
command, or by the next one. Steps go through MLflow's own queue (`synchronous=False`); those that
it lost are taken from the saved history.
"""

import csv
import json
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from filelock import FileLock, Timeout

from miram.errors import MiramError
from miram.files import atomic_path
from miram.serving.registry.tracking import (
    MlflowConfig,
    experiment_id,
    flatten_metrics,
    now,
    open_client,
    time_to_upload,
)

log = logging.getLogger(__name__)

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

TRAINING = "training_folder"  # a tag, by which an interrupted training finds its run
# Parameters that make several trainings of one, each in a folder of its own below that folder.
_PARTS = ("training.seeds", "training.hold_out_folds")
_NOT_ALLOWED = re.compile(r"[^\w\-./ :]")  # in the name of a metric or parameter
_LONGEST_PARAMETER = 500
_PICTURE = re.compile(rb"data:image/[\w+.-]+;base64,[\w+/=]+")
_NO_METRICS = {"step", "epoch", "seed", "fold"}  # columns of a history
_AWAY = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
_PAUSE = 10  # times as long as a call was waited for in vain
_SECONDS_IN_QUEUE = 5  # after which a step has arrived, or never will


@dataclass
class Run:
    """What is recorded of a command, or of one method in it (`method`).

    Attributes:
        started, ended: Milliseconds since 1970.
        dataset: Arguments of an MLflow dataset.
        saved: Files still to be logged: `log` (what of it), `path`, `artifacts`, `prefix`, `time`.
        resumes: Whether it records an unfinished training that an earlier run began.
        complete: Whether MLflow has everything of it.
    """

    method: str
    tags: dict[str, str]
    started: int
    run_id: str = ""
    status: Status = "RUNNING"
    ended: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    dataset: dict[str, str] = field(default_factory=dict)
    saved: list[dict[str, Any]] = field(default_factory=list)
    resumes: bool = False
    complete: bool = False

    def end(self, status: Status, at: int) -> None:
        """Note how it ended; the first status stays."""
        if self.status == "RUNNING":
            self.status, self.ended, self.complete = status, at, False


class Store:
    """An MLflow server or local database, with the runs of one command by method.

    What earlier commands could not log is logged at the start.

    Raises:
        MiramError: A local store cannot be opened, or a server refuses the experiment.
    """

    def __init__(self, config: MlflowConfig, command: str) -> None:
        self.config, self.away, self._warned, self._again_at = config, False, False, 0.0
        self.runs: dict[str, Run] = {}  # the command's own is the first
        self._queue: deque[tuple[float, Any]] = deque()
        self._had: dict[str, dict[str, set[int]]] = {}  # steps of resumed runs, by metric
        try:
            self.client = open_client(config)
            log.debug("MLflow experiment %s", self._experiment)
        except Exception as error:
            if config.database or _is_refused(error):
                raise MiramError(
                    f"MLflow at {config.tracking_uri} cannot record runs ({_first_line(error)}): "
                    "correct mlflow.yml, or set enabled: false in conf/local/mlflow.yml"
                ) from error
            self._lose(error)
        self._note = Path(config.unfinished) / f"{command}.json"
        for earlier in sorted(self._note.parent.glob("*.json")):
            self._log_earlier(earlier)
        self._lock = _lock_of(self._note)
        with suppress(OSError):
            self._note.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()

    def update(self, retry: bool = False) -> None:
        """Log what MLflow misses of the command, and note it; `retry` a server that was away.

        One that lets a call wait is asked again only after ten times as long.
        """
        if self.away and retry and time.monotonic() >= self._again_at:
            with suppress(Exception):  # the warning is out
                self._wait_for_steps()
            self.away = False
        self._log(list(self.runs.values()), self._note)

    def close(self) -> None:
        """Log what is left at the end of the command, or leave it to the next one."""
        self._again_at = 0.0
        self.update(retry=True)
        self._lock.release()
        if self.away:
            log.info("MLflow misses a part of this command: the next one logs it")

    def log_step(
        self, run: Run, step: int, metrics: dict[str, float], pictures: dict[str, Any]
    ) -> None:
        """Queue metrics of a training step, and log (H, W) or (H, W, 3) uint8 pictures."""
        if self.away or not run.run_id:
            return
        with self._tolerance(run):
            self._wait_for_steps(_SECONDS_IN_QUEUE)
            if rows := _rows(metrics, step, now(), self._had.get(run.run_id, {})):
                queued = self.client.log_batch(run.run_id, metrics=rows, synchronous=False)
                self._queue.append((time.monotonic(), queued))
            for name, picture in pictures.items() if self.config.takes_images else ():
                self.client.log_image(run.run_id, picture, key=name, step=step, synchronous=True)

    @cached_property
    def _experiment(self) -> str:
        return experiment_id(self.client, self.config)

    def _log_earlier(self, note: Path) -> None:
        """Log what an earlier command could not, and end its runs if it was killed."""
        with suppress(Timeout, OSError), _lock_of(note):
            found = json.loads(note.read_text())
            if found["uri"] == self.config.tracking_uri:
                runs = [Run(**run) for run in found["runs"]]
                for run in runs:
                    run.end("KILLED", int(note.stat().st_mtime * 1000))
                self._log(runs, note)

    def _log(self, runs: list[Run], note: Path) -> None:
        """Log what MLflow misses of a command, and note what it still misses."""
        for run in runs:
            if not (self.away or run.complete):
                with self._tolerance(run):
                    self._log_run(run, runs[0])
                run.complete = not self.away
        with suppress(OSError):  # without room there is no note
            if all(run.complete and run.ended for run in runs):
                note.unlink(missing_ok=True)
                note.with_suffix(".lock").unlink(missing_ok=True)
                return
            text = {"uri": self.config.tracking_uri, "runs": [asdict(run) for run in runs]}
            with atomic_path(note) as temporary:
                temporary.write_text(json.dumps(text))

    def _log_run(self, run: Run, command: Run) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        if run is not command:
            run.tags["mlflow.parentRunId"] = command.run_id
        if run.resumes and not run.run_id:
            self._reopen(run)
        if not run.run_id:
            run.run_id = self.client.create_run(self._experiment, run.started, run.tags).info.run_id
        known = self.client.get_run(run.run_id)
        is_ours = known.data.tags.get("kedro_run") == run.tags["kedro_run"]  # nobody resumed it
        tags = [RunTag(key, tag) for key, tag in run.tags.items() if is_ours]
        # The first value of a parameter stays, as the nodes of a method share some.
        params = {_allowed(key): text[:_LONGEST_PARAMETER] for key, text in run.params.items()}
        new = [Param(key, text) for key, text in params.items() if key not in known.data.params]
        self.client.log_batch(run.run_id, params=new, tags=tags)
        if run.dataset and not known.inputs.dataset_inputs:
            context = [InputTag("mlflow.data.context", "training")]
            self.client.log_inputs(run.run_id, [DatasetInput(Dataset(**run.dataset), context)])
        while run.saved:
            with self._tolerance(run):
                self._log_saved(run, run.saved[0])
            if self.away:
                return
            run.saved.pop(0)
        if run.ended:
            self._wait_for_steps()
            if is_ours:
                self.client.set_terminated(run.run_id, run.status, run.ended)

    def _reopen(self, run: Run) -> None:
        filters = f"tags.{TRAINING} = '{run.tags[TRAINING]}' and attributes.status != 'FINISHED'"
        newest = ["attributes.start_time DESC"]
        for former in self.client.search_runs([self._experiment], filters, 1, 1, newest):
            if any(former.data.params.get(key) != run.params.get(key) for key in _PARTS):
                return
            run_id = former.info.run_id
            self._had[run_id] = {key: self._steps(run_id, key) for key in former.data.metrics}
            self.client.update_run(run_id, "RUNNING")
            self.client.set_tag(run_id, "kedro_run", run.tags["kedro_run"])
            run.tags["resumed"] = str(int(former.data.tags.get("resumed", "0")) + 1)
            run.run_id = run_id

    def _log_saved(self, run: Run, saved: dict[str, Any]) -> None:
        """Log a saved file as its catalog entry asks, but no step twice."""
        points = list(_read_points(Path(saved["path"]), saved["log"], saved["prefix"]))
        keys = {key for step, metrics in points if step for key in metrics}
        if keys:
            self._wait_for_steps()
        had = {key: self._steps(run.run_id, key) for key in keys}
        rows = [row for step, found in points for row in _rows(found, step, saved["time"], had)]
        self.client.log_batch(run.run_id, metrics=rows)
        for artifact in map(Path, saved["artifacts"]):
            with _fit_to_send(artifact, self.config) as file, time_to_upload(file):
                self.client.log_artifact(run.run_id, str(file))

    def _steps(self, run_id: str, key: str) -> set[int]:
        return {row.step for row in self.client.get_metric_history(run_id, _allowed(key))}

    def _wait_for_steps(self, seconds: float = 0) -> None:
        """Wait for steps that have been in the queue so long; raise if one failed."""
        failed = None
        while self._queue and time.monotonic() - self._queue[0][0] >= seconds:
            try:
                self._queue.popleft()[1].wait()
            except Exception as error:  # of any kind, raised when none is on its way any more
                failed = error
        if failed:
            raise failed

    @contextmanager
    def _tolerance(self, run: Run) -> Iterator[None]:
        """A failure costs a warning."""
        started = time.monotonic()
        try:
            yield
        except Exception as error:  # of any kind: the training continues
            if _is_refused(error):
                name = run.method or "the command"
                log.warning("not recorded in MLflow for %s: %s", name, _first_line(error))
            else:
                self._again_at = time.monotonic() + _PAUSE * (time.monotonic() - started)
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.away = True
        if not self._warned:
            self._warned = True
            log.warning(
                "MLflow at %s does not answer (%s): the work continues, and what MLflow misses is "
                "logged from the saved files at the end, or by the next command",
                self.config.tracking_uri,
                _first_line(error),
            )


def _lock_of(note: Path) -> FileLock:
    """Lock of a note, which its command holds as long as it runs."""
    # Taken in one thread and released in another.
    return FileLock(note.with_suffix(".lock"), thread_local=False, blocking=False)


@contextmanager
def _fit_to_send(file: Path, config: MlflowConfig) -> Iterator[Path]:
    """The file, or a copy of a page without its pictures, which show patients."""
    if config.takes_images or file.suffix != ".html":
        yield file
        return
    with TemporaryDirectory() as folder:
        page = Path(folder) / file.name
        page.write_bytes(_PICTURE.sub(b"data:,", file.read_bytes()))
        yield page


def _read_points(path: Path, kind: str, prefix: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Steps and their metrics in a saved file; step 0 for metrics without one."""
    if kind == "evaluation":
        metrics = flatten_metrics(json.loads(path.read_text(encoding="utf-8")))
        yield 0, {f"{prefix}{key}": value for key, value in metrics.items()}
    if kind not in ("audit", "history"):
        return
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    if kind == "audit":
        yield 0, Counter(f"{prefix}audit.{row['code']}" for row in table)
        return
    for row in table:
        seed = row.get("seed")
        named = prefix if seed == table[0].get("seed") else f"{prefix}seed{seed}/"
        metrics = {f"{named}{k}": float(v) for k, v in row.items() if v and k not in _NO_METRICS}
        yield int(row["step"]), metrics


def _rows(metrics: dict[str, Any], step: int, at: int, had: dict[str, set[int]]) -> list[Any]:
    from mlflow.entities import Metric

    return [
        Metric(_allowed(key), float(value), at, step)
        for key, value in metrics.items()
        if not step or step not in had.get(key, ())  # metrics without a step may change
    ]


def _is_refused(error: Exception) -> bool:
    """Whether MLflow refuses this for good, or a file is missing."""
    code = getattr(error, "error_code", None)
    return isinstance(error, FileNotFoundError) or (code is not None and code not in _AWAY)


def _allowed(name: str) -> str:
    return _NOT_ALLOWED.sub("_", name)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if not line.startswith("(raised as a result")]
    return (lines or [type(error).__name__])[0]
