"""One training in the workers of a Ray cluster, seen from the process that wants it done.

Ray Train starts the workers, makes their process group and starts all again when one dies:

    driver ── call ──► fit task (Ray Train's own driver) ──► workers, one per rank
       │                                                        │
       └── takes ──► mailbox ◄── metrics, log lines, errors ────┘
"""

import logging
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from miram.errors import MiramError
from miram.training.checkpointing.interruption import (
    Interruption,
    TrainingInterrupted,
    asked_to_stop,
)
from miram.training.distributed.engine import EngineConfig
from miram.training.distributed.ray_cluster import cluster, refuse_too_small
from miram.training.distributed.ray_messages import (
    Mailbox,
    listening,
    packed,
    tell_again,
    telling,
    unpacked,
)

log = logging.getLogger(__name__)

_POLL = 0.2  # seconds between two looks into the mailbox
_LINGER = 10.0  # seconds for all workers to find the error that one has found
_GRACE = 30.0  # seconds for workers to end by themselves, and for Ray to end those that do not

# Read by Ray Train in the process that calls it, which hands them on.
_TRAIN_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths go on meaning what they meant
    "RAY_TRAIN_METRICS_ENABLED": "0",  # for a dashboard that is not there
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # torch from a cold network disk is slow
}


@dataclass(frozen=True)
class _Call:
    """What a worker needs to know."""

    pickled: bytes  # function, arguments, named arguments
    folder: str
    threads: int
    mailbox: Any


@dataclass(frozen=True)
class _Outcome:
    """How a training ended: with a value, or with workers that died or an error that one raised."""

    value: Any = None
    dead: tuple[int, ...] = ()
    error: bytes | None = None


def launch_on_ray(
    engine: EngineConfig,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run a function in every worker; see `miram.training.distributed.engine.launch`."""
    if name := asked_to_stop():
        raise _interrupted(name)
    with cluster(engine) as ray:
        refuse_too_small(ray, engine)
        threads = int(os.environ.get("OMP_NUM_THREADS", max(1, engine.resources.get("CPU", 1))))
        log.info("workers: %d, threads of each: %d", engine.num_workers, threads)
        here = _beside_the_driver(ray)
        mailbox = ray.remote(Mailbox).options(**here).remote()
        pickled = ray.cloudpickle.dumps((function, args, kwargs))
        call = _Call(pickled, str(Path.cwd()), threads, mailbox)
        fit = ray.remote(_fit).options(**here, max_retries=0).remote(call, engine)
        try:
            outcome = _follow(ray, fit, mailbox)
        except ray.exceptions.RayError as error:
            raise MiramError(
                f"Ray lost the training ({type(error).__name__}): see its logs under /tmp/ray on "
                "the machine that ran this command, which goes on from the last state kept"
            ) from error
        finally:
            _end(ray, fit)
            ray.kill(mailbox)
    if outcome.dead:
        raise MiramError(
            f"{_deaths(outcome.dead)}, as in {engine.max_failures} starts before. Raise "
            "engine.max_failures, or give each worker less to do: more engine.num_workers, a lower "
            "training.batch_size. The same command goes on from the last state kept"
        )
    if outcome.error:
        raise unpacked(outcome.error)
    return outcome.value


def _beside_the_driver(ray: ModuleType) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    return {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }


def _follow(ray: ModuleType, fit: Any, mailbox: Any) -> _Outcome:
    """Tell what rank 0 tells until the training ends, or is told to."""
    asked: signal.Signals | None = None
    deadline = float("inf")
    with Interruption() as interruption:
        while True:
            done, _ = ray.wait([fit], timeout=_POLL)
            refusal = _tell_what_came(ray, mailbox)
            if refusal:
                ray.wait([fit], timeout=_LINGER)
                _tell_what_came(ray, mailbox)
                raise unpacked(refusal)
            if asked and (done or time.monotonic() > deadline):
                raise _interrupted(asked)
            if done:
                outcome: _Outcome = ray.get(fit)
                return outcome
            if not asked:
                asked = interruption.signal
                if asked:
                    deadline = time.monotonic() + _GRACE
                    ray.get(mailbox.ask_to_stop.remote(asked.value))


def _tell_what_came(ray: ModuleType, mailbox: Any) -> bytes | None:
    records, refusal = ray.get(mailbox.take.remote())
    for record in records:
        tell_again(record)
    found: bytes | None = refusal
    return found


def _interrupted(by: signal.Signals) -> TrainingInterrupted:
    return TrainingInterrupted(
        f"stopped by {by.name}; the same command goes on from the last state kept", 128 + by.value
    )


def _end(ray: ModuleType, fit: Any) -> None:
    """End a training that has not ended; Ray Train takes this for Ctrl-C and ends its workers."""
    for force in (False, True):
        if ray.wait([fit], timeout=0)[0]:
            return
        ray.cancel(fit, force=force)
        ray.wait([fit], timeout=_GRACE)


def _fit(call: _Call, engine: EngineConfig) -> _Outcome:
    """Let Ray Train run the workers; in a task, where Ctrl-C can be sent to it."""
    for name, value in _TRAIN_SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray import train
    from ray.train.torch import TorchTrainer

    with tempfile.TemporaryDirectory() as folder:  # for checkpoints of Ray Train; ours are others
        trainer = TorchTrainer(
            _work,
            train_loop_config={"call": call},
            scaling_config=train.ScalingConfig(
                num_workers=engine.num_workers,
                use_gpu="GPU" in engine.resources,
                resources_per_worker=dict(engine.resources),
            ),
            run_config=train.RunConfig(
                storage_path=folder,
                # mypy reads the class of Ray Train's first version.
                worker_runtime_env=_environment(engine),  # type: ignore[call-arg]
                failure_config=train.FailureConfig(max_failures=engine.max_failures),
                callbacks=[_failure_teller(call.mailbox, engine.max_failures)],
            ),
        )
        try:
            result: Any = trainer.fit()
        except train.WorkerGroupError as error:
            if dead := _dead(error.worker_failures):
                return _Outcome(dead=dead)
            first = error.worker_failures[min(error.worker_failures)]
            first.add_note(str(error))
            return _Outcome(error=packed(first))
        return _Outcome(value=result.return_value)


def _environment(engine: EngineConfig) -> dict[str, Any]:
    """What workers start with: those that asked for no GPU see none, whatever the machine has."""
    return {} if "GPU" in engine.resources else {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}


def _failure_teller(mailbox: Any, allowed: int) -> Any:
    from ray.train import UserCallback

    class FailureTeller(UserCallback):
        count = 0

        def after_exception(
            self, run_context: Any, worker_exceptions: dict[int, Exception]
        ) -> None:
            self.count += 1
            if self.count > allowed:
                return
            dead = _dead(worker_exceptions)
            raised = "; ".join(f"worker {rank}: {e!r}" for rank, e in worker_exceptions.items())
            why = _deaths(dead) if dead else raised
            text = f"{why}; all start again, {self.count} of {allowed} times allowed"
            place = (__name__, logging.WARNING, __file__, 0)
            mailbox.put.remote(logging.LogRecord(*place, text, None, None))

    return FailureTeller()


def _dead(failures: dict[int, Exception]) -> tuple[int, ...]:
    # What the function raised arrives as it is; all else is an error of Ray's own.
    own = (rank for rank, error in failures.items() if type(error).__module__.startswith("ray."))
    return tuple(sorted(own))


def _deaths(ranks: tuple[int, ...]) -> str:
    which = ", ".join(map(str, ranks))
    return f"worker {which} died (it was killed, ran out of memory, or its machine went away)"


def _work(settings: dict[str, Any]) -> Any:
    """What each worker does: call the function, and tell the driver how it goes."""
    import ray
    import torch
    from ray import train

    call: _Call = settings["call"]
    if Path(call.folder).is_dir():
        os.chdir(call.folder)
    torch.set_num_threads(call.threads)
    rank = train.get_context().get_world_rank()
    told = telling(call.mailbox) if rank == 0 else nullcontext()
    with listening(ray, call.mailbox), told:
        try:
            function, args, kwargs = ray.cloudpickle.loads(call.pickled)
            result = function(*args, **kwargs)
        except MiramError as error:
            ray.get(call.mailbox.refuse.remote(packed(error)))
            return None
        except (RuntimeError, OSError):
            raise  # so the death of another worker shows: Ray starts all of them again
        except Exception as error:  # a fault of the program, which would only come again
            error.add_note(f"in worker {rank}:\n{traceback.format_exc()}")
            ray.get(call.mailbox.refuse.remote(packed(error)))
            return None
    ray.get(call.mailbox.asked_to_stop.remote())  # answered after all that was put before
    return result if rank == 0 else None
