"""The work of one node, in this process, in one of its own, or in the workers of a Ray cluster.

Ray Train starts the workers, makes their process group, and starts all of them again from their
last checkpoint when one dies. Two queues of Ray join them with the command:

    command ── fit task (Ray Train's driver) ──► workers, one per rank
       ├── stop ──────────────────────────────────► │
       └◄───────────── records (metrics, log lines) ┘

The records do not take the way of `ray.train.report`, which waits for all workers and for Ray
Train's next poll at every call, and ends in a process of Ray's own.
"""

import logging
import logging.handlers
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from miram.errors import MiramError
from miram.training.checkpointing.interruption import Interruption, ask_to_stop, asked_to_stop
from miram.training.distributed.cluster import EngineConfig, cluster, refuse_too_small
from miram.training.distributed.own_process import (
    FORKS,
    LOGGERS,
    in_own_process,
    interrupted,
    log_again,
)

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_POLL = 0.2  # seconds between two looks for records
_LISTEN = 1.0  # seconds between two looks of a worker for the wish to stop
_GRACE = 30.0  # seconds for workers to end by themselves, and for Ray to end those that do not

# Read by Ray Train in the process that calls it, which hands them on.
_TRAIN_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning
    "RAY_TRAIN_METRICS_ENABLED": "0",  # for a dashboard that is not there
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # torch from a cold network disk is slow
}


def launch(
    function: Callable[..., Result], *args: Any, engine: EngineConfig, **kwargs: Any
) -> Result:
    """Run a training, and log what it logs.

    On Ray every worker calls the function, in a process group that accelerate finds; files it
    is given by path must be where all workers see them. Metrics and log lines of rank 0 are
    logged again here, on the calling thread. A worker that dies takes the others along: all
    start again, so the function should resume from what it kept, and steps since then are
    logged twice.

    Args:
        function: What to run; importable in the workers.
        args: Its arguments; picklable.
        engine: Where it runs.
        kwargs: Its named arguments; picklable.

    Returns:
        What it returned, on Ray that of rank 0.

    Raises:
        MiramError: The function raised it; or Ray is missing, unreachable, too small for the
            workers asked for, or lost them more often than allowed.
        TrainingInterrupted: Ctrl-C or SIGTERM; the workers were asked to end after their step,
            and ended where they did not within half a minute.
    """
    if engine.kind == "local" and (engine.parallel_methods == 1 or _has_gpu()):
        return function(*args, **kwargs)
    if name := asked_to_stop():
        raise interrupted(name)
    if engine.kind == "local":
        return in_own_process(function, args, kwargs, engine.threads)
    with cluster(engine) as ray:
        from ray.util.queue import Queue

        refuse_too_small(ray, engine)
        threads = int(os.environ.get("OMP_NUM_THREADS", max(1, engine.resources.get("CPU", 1))))
        log.info("workers: %d, threads of each: %d", engine.num_workers, threads)
        here = _beside_the_command(ray)
        records, stop = Queue(actor_options=here), Queue(actor_options=here)
        pickled = ray.cloudpickle.dumps((function, args, kwargs))
        call = _Call(pickled, str(Path.cwd()), threads, records, stop)
        fit = ray.remote(_fit).options(**here, max_retries=0).remote(call, engine)
        try:
            value, error = _follow(ray, engine, fit, records, stop)
        except ray.exceptions.RayError as error:
            raise MiramError(
                f"Ray lost the training ({type(error).__name__}): see its logs under /tmp/ray on "
                "the machine that ran this command, which resumes from the last state kept"
            ) from error
        finally:
            _end(ray, fit)
            records.shutdown(force=True)
            stop.shutdown(force=True)
    if error is not None:
        raise error
    result: Result = value
    return result


def launch_on_cores(function: Callable[..., Result], *args: Any, engine: EngineConfig) -> Result:
    """Run work that is for this machine's cores; where nodes run side by side, as `launch`.

    In threads of one process Python would do it in turns. Where processes are not forked, starting
    one takes as long as the work, which stays here.

    Args:
        function: What to run; picklable.
        args: Its arguments; picklable.
        engine: Whether nodes run side by side.

    Raises:
        MiramError: The function raised it, or its process died.
        TrainingInterrupted: Ctrl-C or SIGTERM.
    """
    if not FORKS or engine.kind != "local" or engine.parallel_methods == 1:
        return function(*args)
    if name := asked_to_stop():
        raise interrupted(name)
    return in_own_process(function, args, {}, engine.threads)


def _has_gpu() -> bool:
    """Whether trainings side by side would compete for the memory of one device."""
    import torch

    return torch.cuda.is_available()


class _Call(NamedTuple):
    """What a worker needs to know."""

    pickled: bytes  # function, arguments, named arguments
    folder: str
    threads: int
    records: Any  # log records on their way to the command
    stop: Any  # the signal by which the command was asked to stop


def _beside_the_command(ray: ModuleType) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    return {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }


def _follow(
    ray: ModuleType, engine: EngineConfig, fit: Any, records: Any, stop: Any
) -> tuple[Any, Exception | None]:
    """Log what rank 0 logs until the training ends, or was asked to and does not."""
    asked: signal.Signals | None = None
    deadline = float("inf")
    with Interruption() as interruption:
        while True:
            done, _ = ray.wait([fit], timeout=_POLL)
            for record in records.get_nowait_batch(records.qsize()):
                log_again(record)
            if done:
                value, error = ray.get(fit)
                if asked and error and not isinstance(error, MiramError):
                    error = interrupted(asked)  # others were ended while one still worked
                return value, error
            if asked and time.monotonic() > deadline:
                raise interrupted(asked)
            if not asked and (asked := interruption.signal):
                deadline = time.monotonic() + _GRACE
                for _ in range(engine.num_workers * (1 + engine.max_failures)):
                    stop.put(asked.value)  # every start of every worker takes one


def _end(ray: ModuleType, fit: Any) -> None:
    """End a training that has not ended; Ray Train takes this for Ctrl-C and ends its workers."""
    for force in (False, True):
        if ray.wait([fit], timeout=0)[0]:
            return
        ray.cancel(fit, force=force)
        ray.wait([fit], timeout=_GRACE)


def _fit(call: _Call, engine: EngineConfig) -> tuple[Any, Exception | None]:
    """Let Ray Train run the workers, in a task, where Ctrl-C can be sent to it.

    Gives what rank 0 returned, or the error that ended the training.
    """
    for name, value in _TRAIN_SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray import train
    from ray.train.torch import TorchTrainer

    # Workers that asked for no GPU see none, whatever the machine has.
    gpu = "GPU" in engine.resources
    environment = {} if gpu else {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
    with tempfile.TemporaryDirectory() as folder:  # for checkpoints of Ray Train; ours are others
        trainer = TorchTrainer(
            _work,
            train_loop_config={"call": call},
            scaling_config=train.ScalingConfig(
                num_workers=engine.num_workers,
                use_gpu=gpu,
                resources_per_worker=dict(engine.resources),
            ),
            run_config=train.RunConfig(
                storage_path=folder,
                worker_runtime_env=environment,
                failure_config=train.FailureConfig(max_failures=engine.max_failures),
                callbacks=[_failure_callback(call.records, engine.max_failures)],
            ),
        )
        try:
            result: Any = trainer.fit()
        except train.ControllerError as error:  # of the callback
            return None, error.controller_failure
        except train.WorkerGroupError as error:
            if dead := _dead(error.worker_failures):
                return None, MiramError(
                    f"{_deaths(dead)}, as in {engine.max_failures} starts before. Raise "
                    "engine.max_failures, or give each worker less to do: more "
                    "engine.num_workers, a lower training.batch_size. The same command resumes "
                    "from the last state kept"
                )
            return None, error.worker_failures[min(error.worker_failures)]
        return result.return_value, None


def _failure_callback(records: Any, allowed: int) -> Any:
    from ray.train import UserCallback

    class FailureCallback(UserCallback):
        """Warns before workers start again, and ends the training where that would not help."""

        count = 0

        def after_exception(
            self, run_context: Any, worker_exceptions: dict[int, Exception]
        ) -> None:
            dead = _dead(worker_exceptions)
            for rank, error in worker_exceptions.items():
                # The death of another worker shows as one of these; all else would come again.
                if rank not in dead and not isinstance(error, RuntimeError | OSError):
                    raise error
            self.count += 1
            if self.count > allowed:
                return
            raised = "; ".join(f"worker {rank}: {e!r}" for rank, e in worker_exceptions.items())
            why = _deaths(dead) if dead else raised
            text = f"{why}; all start again, {self.count} of {allowed} times allowed"
            place = (__name__, logging.WARNING, __file__, 0)
            records.put(logging.LogRecord(*place, text, None, None))

    return FailureCallback()


def _dead(failures: dict[int, Exception]) -> list[int]:
    # What the function raised arrives as it is; all else is an error of Ray's own.
    return sorted(r for r, error in failures.items() if type(error).__module__.startswith("ray."))


def _deaths(ranks: list[int]) -> str:
    which = ", ".join(map(str, ranks))
    return f"worker {which} died (it was killed, ran out of memory, or its machine went away)"


def _work(settings: dict[str, Any]) -> Any:
    """What each worker does: call the function, and send what rank 0 logs."""
    import ray
    import torch
    from ray import train

    call: _Call = settings["call"]
    if Path(call.folder).is_dir():
        os.chdir(call.folder)
    torch.set_num_threads(call.threads)
    first = train.get_context().get_world_rank() == 0
    handler = logging.handlers.QueueHandler(call.records)
    loggers = [logging.getLogger(name) for name in LOGGERS if first]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with _listening(call.stop):
            function, args, kwargs = ray.cloudpickle.loads(call.pickled)
            result = function(*args, **kwargs)
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    return result if first else None


@contextmanager
def _listening(stop: Any) -> Iterator[None]:
    """Pass the command's wish to stop on to the training of this process."""
    over = threading.Event()

    def listen() -> None:
        while not over.wait(_LISTEN):
            if stop.qsize():
                ask_to_stop(signal.Signals(stop.get()))
                return

    thread = threading.Thread(target=listen, name="miram-listen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
