"""One run at a time on a data_root: a second one would replace what the first is reading."""

import json
import os
import platform
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from miram.errors import MiramError, writing
from miram.files import atomic_path
from miram.provenance import command_line

_LOCK = ".run.lock"
_HOLDER = ".run.json"  # beside the lock: who holds it


class OneRun:
    """Holds the data_root from before the first node until the run ends, however it ends.

    The operating system frees the lock of a process that dies, on network disks as well. Nothing
    but `kedro run` asks for it, so commands that read a study are never in the way of one.
    """

    def __init__(self) -> None:
        self._lock: FileLock | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note which data_root it is."""
        given = context._runtime_params or {}
        root = given.get("data_root", context.config_loader["globals"]["data_root"])
        self._root = Path(context.project_path) / str(root)

    @hook_impl(trylast=True)  # what other hooks refuse makes no folder
    def before_pipeline_run(self) -> None:
        """Take the lock, or say who has it."""
        self.release()  # of a run that Ctrl-C ended in a notebook
        self._lock = hold(self._root)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Free the data_root."""
        self.release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Free the data_root."""
        self.release()

    def release(self) -> None:
        """Free the data_root, if it is held."""
        if self._lock:
            self._lock.release(force=True)
            self._lock = None


def hold(data_root: Path) -> FileLock:
    """Keep other runs off a data_root until the lock that is given back is released.

    Raises:
        MiramError: Another run holds it, or it is closed to this user.
    """
    # Taken in one thread and released in another.
    lock = FileLock(data_root / _LOCK, thread_local=False, blocking=False)
    try:
        with writing(data_root):
            data_root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout:
        raise MiramError(
            f"another run is at work in {data_root}: {_holder(data_root)}. Wait until it has "
            "ended, or give this run a folder of its own with --params data_root=...; to train "
            "several methods at a time in one run, set engine.parallel_methods"
        ) from None
    note = {
        "command": command_line(),
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now().isoformat(" ", "seconds"),
    }
    with atomic_path(data_root / _HOLDER) as temporary:
        temporary.write_text(json.dumps(note), encoding="utf-8")
    return lock


def _holder(data_root: Path) -> str:
    try:
        note = json.loads((data_root / _HOLDER).read_text(encoding="utf-8"))
        return "process {pid} on {host}, since {since} ({command})".format(**note)
    except (OSError, ValueError, LookupError, TypeError):  # it has only just begun
        return "it has just begun"
