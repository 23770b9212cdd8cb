"""A Ray cluster: started or joined when it is first used, left when nobody uses it any more.

Ray is imported when a cluster is needed, not before.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from joblib import cpu_count

from miram.errors import MiramError
from miram.training.distributed.engine import EngineConfig

log = logging.getLogger(__name__)

_OBJECT_STORE = 256 * 2**20  # bytes; what does not fit goes to the disk


class _Users:
    """How many blocks rely on the cluster, and whether it is ours to shut down."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.ours = False


_users = _Users()


@contextmanager
def held() -> Iterator[None]:
    """Keep a cluster that is started within the block until its end."""
    with _users.lock:
        _users.count += 1
    try:
        yield
    finally:
        with _users.lock:
            _users.count -= 1
            if _users.ours and not _users.count:
                _users.ours = False
                _ray().shutdown()


@contextmanager
def cluster(engine: EngineConfig) -> Iterator[ModuleType]:
    """Give the `ray` module, connected to a cluster.

    A connection that this process already has is used as it is. Otherwise the cluster at the
    engine's address is joined, or one is started on this machine, and left at the end.

    Args:
        engine: Where the cluster is.

    Raises:
        MiramError: Ray is not installed, or no cluster answers.
    """
    ray = _ray()
    with held():
        with _users.lock:
            if not ray.is_initialized():
                _connect(ray, engine)
                _users.ours = True
        yield ray


def refuse_too_small(ray: ModuleType, engine: EngineConfig) -> None:
    """Compare what the workers need with what the cluster has.

    Args:
        ray: The connected module.
        engine: What the workers need.

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
        if _address(engine) == "local":
            raise MiramError(f"{text}: lower engine.num_workers or engine.resources")
        log.warning("%s: waiting for the cluster to grow", text)


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports to Ray's makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning of Ray's own
    try:
        import ray
    except ImportError:
        raise MiramError(
            "engine.kind=ray needs Ray: run pip install -c constraints.txt -e '.[distributed]' in "
            "the checkout, or set engine.kind=local"
        ) from None
    module: ModuleType = ray
    return module


def _address(engine: EngineConfig) -> str:
    return engine.address or os.environ.get("RAY_ADDRESS") or "local"


def _connect(ray: ModuleType, engine: EngineConfig) -> None:
    address = _address(engine)
    own: dict[str, Any] = {
        "num_cpus": cpu_count(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
    }
    log.info("starting Ray on this machine" if address == "local" else f"joining Ray at {address}")
    with _sigterm_kept():
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(own if address == "local" else {}),
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise MiramError(
                f"Ray cannot be used at {address} ({error}): start it with `ray start --head`, "
                "in the same environment, or leave engine.address out to use this machine"
            ) from error


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Undo that Ray takes over SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def joblib_on_ray(engine: EngineConfig) -> Iterator[None]:
    """Run joblib's jobs on the cluster; see `engine.cropping_backend`."""
    from joblib import parallel_config, register_parallel_backend

    with cluster(engine) as ray:
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
                "or its machine went away; the same command goes on where it stopped"
            ) from error
