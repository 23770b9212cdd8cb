"""Files are read in an expendable process: whatever one does to its decoder, the run continues.

A damaged file can end a decoder that is written in C, fill the memory, or never be done.

    read_image(path) ── pickled call ──► a process with limits of memory and time
        └◄── the image or a DecodingError; the death of the process becomes one

The process is kept for the next file, and ends when the one that started it ends. Protocol 5 of
pickle writes an array to the pipe, and reads it from there, without a copy.
"""

import contextlib
import functools
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

import psutil

from miram.errors import MiramError
from miram.mammography.decoding.errors import DecodingError, DecodingFailure

P = ParamSpec("P")
Result = TypeVar("Result")

MEMORY = 2 * 2**30  # bytes of addresses beyond what the imports take
SECONDS = 8.0  # of computing, for a file of no size
BYTES_PER_SECOND = 10_000_000  # a large file has as many seconds more
_PATIENCE = 6  # a slow disk or a busy machine may stretch a second to so many
_MOST_AT_ONCE = 4  # in one process, such as a server with threads: each may take `MEMORY`
_MOST_GROWTH = 2**28  # bytes that decoders may leak before the process is replaced

# The limit of memory holds from after the imports, so they come first.
_CODE = (
    "import miram.mammography.decoding.read; "
    "from miram.mammography.decoding.expendable import serve; serve()"
)
_OUT_OF_TIME = (signal.SIGPROF, signal.SIGALRM)

_in_worker = False


def expendable(
    read: Callable[Concatenate[str | Path, P], Result],
) -> Callable[Concatenate[str | Path, P], Result]:
    """Let a function of a path and more run in an expendable process.

    Its arguments and its result are picklable. Beside its own `DecodingError` it raises, with the
    limits above,

    * `too_large` where the file needs more memory,
    * `too_slow` where it needs more time,
    * `undecodable` where the decoder ends the process or panics.

    A file is blamed for the end of a process only if a new process ends with it as well.
    """

    @functools.wraps(read)
    def call(path: str | Path, *args: P.args, **kwargs: P.kwargs) -> Result:
        if _in_worker:
            return read(path, *args, **kwargs)
        result: Result = _ask(Path(path), (call, Path(path).absolute(), args, kwargs))
        return result

    return call


class _DiedError(Exception):
    """The process ended before it answered."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Worker:
    """A process that answers one call after the other; see `serve`."""

    def __init__(self) -> None:
        paths = os.pathsep.join(str(Path(name).absolute()) for name in sys.path)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
                pipesize=2**20,
            )
        except OSError as error:
            raise MiramError(f"no process to decode files in can be started: {error}") from error
        self.is_new = True
        try:
            self._answer()
        except _DiedError as error:
            raise MiramError(
                "the process that decodes files does not start: it ended with code "
                f"{error.code}; its own words stand above"
            ) from error

    def ask(self, request: bytes) -> Any:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(request)
            self.process.stdin.flush()
        except OSError:  # it ended while it waited
            raise _DiedError(self._end()) from None
        answer = self._answer()
        self.is_new = False
        return answer

    def _answer(self) -> Any:
        try:
            assert self.process.stdout is not None
            # From our own code in the process started here; files never reach pickle.
            return pickle.load(self.process.stdout)  # nosec B301
        except (EOFError, pickle.UnpicklingError):
            raise _DiedError(self._end()) from None
        except BaseException:  # such as Ctrl-C: what is still to come answers no other call
            self._end()
            raise

    def _end(self) -> int:
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        return code


_idle: list[_Worker] = []
_turns = threading.BoundedSemaphore(_MOST_AT_ONCE)


def _forget() -> None:
    """A forked process has processes of its own."""
    global _turns
    _idle.clear()
    _turns = threading.BoundedSemaphore(_MOST_AT_ONCE)


os.register_at_fork(after_in_child=_forget)


def _ask(path: Path, call: tuple[Any, ...]) -> Any:
    request = pickle.dumps(call)
    with _turns:
        while True:
            try:
                worker = _idle.pop()
            except IndexError:
                worker = _Worker()
            try:
                result, error = worker.ask(request)
            except _DiedError as death:
                # An earlier file may have left the memory of an older process in disorder.
                if worker.is_new or -death.code in _OUT_OF_TIME:
                    raise _blame(path, death.code) from None
                continue
            _idle.append(worker)
            if error is not None:
                raise DecodingError(error.code, path, error.detail)
            return result


def _blame(path: Path, code: int) -> DecodingError:
    if -code in _OUT_OF_TIME:
        detail = f"reading it takes more than {SECONDS:.0f} s and 1 s per 10 MB; is it damaged?"
        return DecodingError(DecodingFailure.TOO_SLOW, path, detail)
    end = signal.Signals(-code).name if code < 0 else f"code {code}"
    detail = f"its decoder ended the process that read it ({end}); download it again"
    return DecodingError(DecodingFailure.UNDECODABLE, path, detail)


def serve() -> None:
    """Answer calls from standard input on standard output until the input ends."""
    global _in_worker
    _in_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    with os.fdopen(os.dup(0), "rb") as calls, os.fdopen(os.dup(1), "wb") as answers:
        _answer_with(answers, None)
        # Decoders write to these, also what a file says.
        with Path(os.devnull).open("r+b") as nowhere:
            for number in range(3):
                os.dup2(nowhere.fileno(), number)
        start = _addresses()
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (start + MEMORY, start + MEMORY))
        while _addresses() < start + _MOST_GROWTH:
            try:
                call = pickle.load(calls)  # nosec B301
            except EOFError:
                return
            _answer_with(answers, _result_or_error(*call))


def _answer_with(answers: BinaryIO, answer: Any) -> None:
    pickle.dump(answer, answers, protocol=5)
    answers.flush()


def _addresses() -> int:
    return int(psutil.Process().memory_info().vms)


def _result_or_error(
    read: Callable[..., Any], path: Path, args: Any, kwargs: Any
) -> tuple[Any, DecodingError | None]:
    try:
        with contextlib.suppress(OSError, ValueError):  # no such file: the reader says so
            _limit_time(SECONDS + path.stat().st_size / BYTES_PER_SECOND)
        return read(path, *args, **kwargs), None
    except DecodingError as error:
        return None, error
    except MemoryError:
        detail = f"reading it needs more than {MEMORY / 2**30:.0f} GB of memory"
        return None, DecodingError(DecodingFailure.TOO_LARGE, path, detail)
    # Also what no Exception is: decoders written in Rust raise a PanicException.
    except BaseException as error:
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return None, DecodingError(DecodingFailure.UNDECODABLE, path, detail)
    finally:
        _limit_time(0)


def _limit_time(seconds: float) -> None:
    """Let the system end this process after so many seconds of computing; 0 for no limit."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * _PATIENCE)
