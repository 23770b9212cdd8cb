"""Worker processes of this machine."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from joblib import parallel_config

_LOOK = 0.5  # seconds between two looks for the process that started this one


@contextmanager
def local_workers() -> Iterator[None]:
    """Let joblib's processes end with the process that started them.

    When that is killed nobody tells them: they would wait for its answer, some for ever.
    """
    with parallel_config(backend="loky", initializer=_end_with, initargs=(os.getpid(),)):
        yield


def _end_with(parent: int) -> None:
    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
