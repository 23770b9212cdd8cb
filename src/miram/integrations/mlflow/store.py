"""The MLflow store of a command, which never stops a training and never delays one for long.

Steps go through MLflow's own queue (`synchronous=False`). When the server is away, one warning
says so, and runs that miss something are no longer `complete`: they are logged again from the
files they saved, at the end of the command, or by the next one, which finds a note of them.
"""

import csv
import json
import logging
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from filelock import FileLock, Timeout

from miram.errors import MiramError
from miram.files import atomic_path
from miram.serving.registry.tracking import (
    MlflowConfig,
    experiment_id,
    flatten_metrics,
    open_client,
    time_to_upload,
)

log = logging.getLogger(__name__)

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

TRAINING = "training_folder"  # a tag, by which an interrupted training finds its run
_NOT_ALLOWED = re.compile(r"[^\w\-./ :]")  # in the name of a metric or parameter
_LONGEST_PARAMETER = 500
_NO_METRICS = {"step", "epoch", "seed", "fold"}  # columns of a history
_AWAY = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}


@dataclass
class Run:
    """What is recorded of a command, or of one method in it (`method`): enough to log it again.

    Attributes:
        started, ended: Milliseconds since 1970.
        dataset: Arguments of an MLflow dataset.
        saved: Files in their order: `log` (what is logged), `path`, `artifacts`, `prefix`, `time`.
        resumes: Whether it records an unfinished training that an earlier run began.
        complete: Whether MLflow has everything so far.
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
    complete: bool = True


class Store:
    """An MLflow server or local database.

    Raises:
        MiramError: A local store cannot be opened, or a server refuses the experiment.
    """

    def __init__(self, config: MlflowConfig) -> None:
        self.config, self.away, self._warned = config, False, False
        self._queue: deque[tuple[Run, Any]] = deque()
        self._had: dict[str, dict[str, set[int]]] = {}  # steps of resumed runs, by metric
        self._lock = RLock()
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

    @cached_property
    def _experiment(self) -> str:
        return experiment_id(self.client, self.config)

    def attempt(self, run: Run, action: Callable[..., None], *arguments: Any) -> None:
        """Call a method of this class unless the server is away; a failure costs a warning."""
        if self.away or not (run.run_id or action == self.begin):
            run.complete = False
            return
        try:
            action(run, *arguments)
        except Exception as error:  # of any kind: the training continues
            if _is_refused(error):
                name = run.method or "the command"
                log.warning("not recorded in MLflow for %s: %s", name, _first_line(error))
            else:
                self._lose(error, run)

    def begin(self, run: Run, parent: Run | None) -> None:
        """Create a run, or reopen that of the training it resumes; log its parameters."""
        from mlflow.entities import Param

        tags = {**run.tags, "mlflow.parentRunId": parent.run_id} if parent else run.tags
        if run.resumes and not run.run_id:
            self._reopen(run, tags)
        if not run.run_id:
            run.run_id = self.client.create_run(self._experiment, run.started, tags).info.run_id
        if TRAINING in tags:  # of a later node than the first
            self.client.set_tag(run.run_id, TRAINING, tags[TRAINING])
        # The first value of a parameter stays, as the nodes of a method share some.
        known = self.client.get_run(run.run_id).data.params
        params = {_allowed(key): text[:_LONGEST_PARAMETER] for key, text in run.params.items()}
        new = [Param(key, text) for key, text in params.items() if key not in known]
        self.client.log_batch(run.run_id, params=new)
        if run.dataset:
            self._log_dataset(run)

    def log_step(
        self, run: Run, step: int, metrics: dict[str, float], pictures: dict[str, Any]
    ) -> None:
        """Queue metrics of a training step, and log (H, W) or (H, W, 3) uint8 pictures."""
        from PIL import Image

        self._empty_queue(wait=False)
        if rows := self._rows(run, metrics, step, now()):
            queued = self.client.log_batch(run.run_id, metrics=rows, synchronous=False)
            self._queue.append((run, queued))
        for name, picture in pictures.items():
            image = Image.fromarray(picture)
            self.client.log_image(run.run_id, image, key=name, step=step, synchronous=True)

    def log_saved(self, run: Run, saved: dict[str, Any]) -> None:
        """Log a saved file as its catalog entry asks."""
        path, kind, prefix = Path(saved["path"]), saved["log"], saved["prefix"]
        metrics: dict[str, float] = {}
        if kind == "evaluation":
            metrics = flatten_metrics(json.loads(path.read_text(encoding="utf-8")))
        elif kind == "audit":
            for row in _read_csv(path):
                metrics[f"audit.{row['code']}"] = metrics.get(f"audit.{row['code']}", 0) + 1
        elif kind == "history" and (run.resumes or not run.complete):
            self._complete_history(run, path, prefix, saved["time"])
        rows = self._rows(run, {f"{prefix}{k}": v for k, v in metrics.items()}, 0, saved["time"])
        self.client.log_batch(run.run_id, metrics=rows)
        for artifact in map(Path, saved["artifacts"]):
            with time_to_upload(artifact):
                self.client.log_artifact(run.run_id, str(artifact))

    def end(self, run: Run) -> None:
        """End a run as its status says, unless a later command has resumed it."""
        self._empty_queue()
        tags = self.client.get_run(run.run_id).data.tags
        if tags.get("kedro_run") == run.tags["kedro_run"]:
            self.client.set_terminated(run.run_id, run.status, run.ended)

    def retry(self) -> None:
        """Ask a server again that was away."""
        if self.away:
            self._empty_queue()
            self.away = False

    def log_again(self, runs: list[Run]) -> bool:
        """Log what MLflow misses of the runs of a command, its own first, and end them.

        Returns:
            Whether MLflow has everything now.
        """
        self.retry()
        for run in runs:
            if not run.complete:
                self.attempt(run, self.begin, runs[0] if run.method else None)
                for saved in run.saved:
                    self.attempt(run, self.log_saved, saved)
            self.attempt(run, self.end)
            run.complete = not self.away
        return not self.away

    def _reopen(self, run: Run, tags: dict[str, str]) -> None:
        filters = f"tags.{TRAINING} = '{tags[TRAINING]}' and attributes.status != 'FINISHED'"
        newest = ["attributes.start_time DESC"]
        for former in self.client.search_runs([self._experiment], filters, 1, 1, newest):
            run.run_id = former.info.run_id
            self._had[run.run_id] = {key: self._steps(run, key) for key in former.data.metrics}
            self.client.update_run(run.run_id, "RUNNING")
            number = int(former.data.tags.get("resumed", "0")) + 1
            for key, tag in {**tags, "resumed": str(number)}.items():
                self.client.set_tag(run.run_id, key, tag)

    def _log_dataset(self, run: Run) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        context = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(run.run_id, [DatasetInput(Dataset(**run.dataset), context)])

    def _complete_history(self, run: Run, path: Path, prefix: str, at: int) -> None:
        """Log the steps of a training that MLflow does not have."""
        self._empty_queue()
        table = _read_csv(path)
        steps = self._had[run.run_id] = {}
        rows = []
        for row in table:
            seed = row.get("seed")
            named = prefix if seed == table[0].get("seed") else f"{prefix}seed{seed}/"
            metrics = {f"{named}{k}": v for k, v in row.items() if v and k not in _NO_METRICS}
            steps |= {key: self._steps(run, key) for key in metrics.keys() - steps.keys()}
            rows += self._rows(run, metrics, int(row["step"]), at)
        self.client.log_batch(run.run_id, metrics=rows)

    def _steps(self, run: Run, key: str) -> set[int]:
        return {row.step for row in self.client.get_metric_history(run.run_id, _allowed(key))}

    def _rows(self, run: Run, metrics: dict[str, Any], step: int, at: int) -> list[Any]:
        from mlflow.entities import Metric

        had = self._had.get(run.run_id, {}) if step else {}  # metrics without a step may change
        return [
            Metric(_allowed(key), float(value), at, step)
            for key, value in metrics.items()
            if step not in had.get(key, ())
        ]

    def _empty_queue(self, wait: bool = True) -> None:
        """Notice what failed of the queue; with `wait`, of all of it."""
        with self._lock:
            while self._queue:
                run, queued = self._queue[0]
                if not wait and not all(future.done() for future in queued._operation_futures):
                    return
                self._queue.popleft()
                try:
                    queued.wait()
                except Exception as error:  # of any kind: the training continues
                    self._lose(error, run)

    def _lose(self, error: Exception, run: Run | None = None) -> None:
        self.away = True
        if run:
            run.complete = False
        if not self._warned:
            self._warned = True
            log.warning(
                "MLflow at %s does not answer (%s): the work continues, and what MLflow misses is "
                "logged from the saved files at the end, or by the next command",
                self.config.tracking_uri,
                _first_line(error),
            )


def write_note(path: Path, store: Store, runs: list[Run]) -> None:
    """Write down the runs of a command; where that fails, they are not logged again."""
    note = {"uri": store.config.tracking_uri, "runs": [asdict(run) for run in runs]}
    with suppress(OSError), atomic_path(path) as temporary:
        temporary.write_text(json.dumps(note))


def lock_of(path: Path) -> FileLock:
    """Lock of a note, which its command holds as long as it runs."""
    # Taken in one thread and released in another.
    return FileLock(path.with_suffix(".lock"), thread_local=False, blocking=False)


def log_earlier_commands(store: Store) -> None:
    """Log what earlier commands could not, and end the runs of those that were killed."""
    for path in sorted(Path(store.config.unfinished).glob("*.json")):
        with suppress(Timeout, OSError), lock_of(path):
            note = json.loads(path.read_text())
            if note["uri"] != store.config.tracking_uri:
                continue
            runs = [Run(**run) for run in note["runs"]]
            for run in runs:
                if run.status == "RUNNING":
                    run.status, run.ended = "KILLED", int(path.stat().st_mtime * 1000)
            if store.log_again(runs):
                remove_note(path)
            else:
                write_note(path, store, runs)


def remove_note(path: Path) -> None:
    """Remove a note, as MLflow has everything of its command."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


def _is_refused(error: Exception) -> bool:
    """Whether MLflow refuses this for good, or a file is missing."""
    code = getattr(error, "error_code", None)
    return isinstance(error, FileNotFoundError) or (code is not None and code not in _AWAY)


def _allowed(name: str) -> str:
    return _NOT_ALLOWED.sub("_", name)


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
