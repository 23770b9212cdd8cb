"""Where work runs: in this process, or on a Ray cluster that is started or joined when first used.

Ray is imported when a cluster is needed, not before.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal, Self

from joblib import cpu_count
from pydantic import Field, PositiveFloat, model_validator

from miram.configuration import Config
from miram.errors import MiramError
from miram.mammography.workers import local_workers

log = logging.getLogger(__name__)

_OBJECT_STORE = 256 * 2**20  # bytes; what does not fit goes to the disk


class EngineConfig(Config):
    """On what a study is computed."""

    kind: Literal["local", "ray"] = Field("local", description="local never imports Ray")
    address: str | None = Field(
        None,
        min_length=1,
        description="of a running cluster, host:port or auto; default: that of RAY_ADDRESS, or "
        "else a cluster on this machine for as long as it is used",
    )
    num_workers: int = Field(1, ge=1, description="processes that share one training")
    resources: dict[str, PositiveFloat] = Field(
        {"CPU": 1}, description="of each worker: CPU, GPU, or whatever the cluster has by name"
    )
    max_failures: int = Field(
        2, ge=0, description="times that a training starts again after a worker has died"
    )
    parallel_methods: int = Field(
        1,
        ge=1,
        description="methods that are trained or evaluated at a time; on this machine each in a "
        "process with its share of the cores, trainings on a GPU one after another",
    )

    @model_validator(mode="after")
    def _only_ray_spreads(self) -> Self:
        if self.kind == "local":
            for name in ("address", "num_workers"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"engine.{name} needs engine.kind=ray")
        return self

    @property
    def threads(self) -> int:
        """Of each training on this machine."""
        return max(1, cpu_count() // self.parallel_methods)

    @property
    def where(self) -> str:
        """Address of the cluster; `local` for one on this machine."""
        return self.address or os.environ.get("RAY_ADDRESS") or "local"


class _Users:
    """How many blocks rely on the cluster, and whether it is ours to shut down."""

    lock = threading.Lock()
    count = 0
    ours = False


@contextmanager
def shared_cluster() -> Iterator[None]:
    """Keep a cluster that is started within the block until its end."""
    with _Users.lock:
        _Users.count += 1
    try:
        yield
    finally:
        with _Users.lock:
            _Users.count -= 1
            if _Users.ours and not _Users.count:
                _Users.ours = False
                _ray().shutdown()


@contextmanager
def cluster(engine: EngineConfig) -> Iterator[ModuleType]:
    """Give the `ray` module, connected to a cluster.

    A connection that this process already has is used as it is. Otherwise the cluster at the
    engine's address is joined, or one is started on this machine, and left at the end.

    Raises:
        MiramError: Ray is not installed, or no cluster answers.
    """
    ray = _ray()
    with shared_cluster():
        with _Users.lock:
            if not ray.is_initialized():
                _connect(ray, engine.where)
                _Users.ours = True
        yield ray


@contextmanager
def cropping_backend(engine: EngineConfig) -> Iterator[None]:
    """Let joblib run its jobs as the engine says; with `n_jobs=-1` on all its cores.

    Raises:
        MiramError: Ray is missing or unreachable, or a worker died.
    """
    if engine.kind == "local":
        with local_workers():
            yield
        return
    with cluster(engine) as ray:
        from joblib import parallel_config, register_parallel_backend
        from ray.util.joblib.ray_backend import RayBackend

        class YieldingRayBackend(RayBackend):
            # joblib forbids it to pools of forked processes, which Ray's only resemble.
            supports_return_generator = True

        register_parallel_backend("ray", YieldingRayBackend)
        options = {"num_cpus": 1, "scheduling_strategy": "SPREAD"}
        try:
            with parallel_config(backend="ray", ray_remote_args=options):
                yield
        except ray.exceptions.RayError as error:
            raise MiramError(
                f"a worker of Ray died ({type(error).__name__}): it was killed, ran out of memory, "
                "or its machine went away; the same command resumes where it stopped"
            ) from error


def refuse_too_small(ray: ModuleType, engine: EngineConfig) -> None:
    """Compare what the workers need with what the cluster has.

    Raises:
        MiramError: A cluster on this machine is too small, so that they would wait forever.
            Another may be about to grow: that costs a line.
    """
    has = ray.cluster_resources()
    needs = {name: engine.num_workers * amount for name, amount in engine.resources.items()}
    short = [
        f"{amount:g} {name} (there are {has.get(name, 0):g})"
        for name, amount in needs.items()
        if amount > has.get(name, 0)
    ]
    if short:
        text = f"{engine.num_workers} workers need {', '.join(short)}"
        if engine.where == "local":
            raise MiramError(f"{text}: lower engine.num_workers or engine.resources")
        log.warning("%s: waiting for the cluster to grow", text)


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports to Ray's makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning of Ray's own
    # Ray's own 15 lets every other program on the machine go before a training.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError:
        raise MiramError(
            "engine.kind=ray needs Ray: run pip install -c constraints.txt -e '.[distributed]' in "
            "the checkout, or set engine.kind=local"
        ) from None
    module: ModuleType = ray
    return module


def _connect(ray: ModuleType, address: str) -> None:
    local = address == "local"
    own: dict[str, Any] = {
        "num_cpus": cpu_count(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
    }
    log.info("starting Ray on this machine" if local else f"joining Ray at {address}")
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own if local else {}),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise MiramError(
            f"Ray cannot be used at {address} ({error}): start it with `ray start --head`, "
            "in the same environment, or leave engine.address out to use this machine"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # which Ray takes over
