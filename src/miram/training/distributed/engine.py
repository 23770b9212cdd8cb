"""Where work runs: in this process, or in workers of a Ray cluster.

`launch` runs one training, `cropping_backend` lends joblib the cluster's cores, and
`shared_cluster` keeps a cluster between them. Without `kind: ray` nothing here imports Ray.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, PositiveFloat, model_validator

from miram.configuration import Config

Result = TypeVar("Result")


class EngineConfig(Config):
    """On what a study is computed."""

    kind: Literal["local", "ray"] = Field("local", description="local never imports Ray")
    address: str | None = Field(
        None,
        min_length=1,
        description="of a running cluster, host:port or auto; where there is none that of "
        "RAY_ADDRESS, or else a cluster on this machine for as long as it is used",
    )
    num_workers: int = Field(1, ge=1, description="processes that share one training")
    resources: dict[str, PositiveFloat] = Field(
        {"CPU": 1}, description="of each worker: CPU, GPU, or whatever the cluster has by name"
    )
    max_failures: int = Field(
        2, ge=0, description="times that a training starts again after a worker has died"
    )
    parallel_methods: int = Field(1, ge=1, description="methods that are trained at a time")

    @model_validator(mode="after")
    def _only_ray_spreads(self) -> Self:
        if self.kind == "local":
            for name in ("address", "num_workers", "parallel_methods"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"engine.{name} needs engine.kind=ray")
        return self


def launch(
    function: Callable[..., Result], *args: Any, engine: EngineConfig, **kwargs: Any
) -> Result:
    """Run a training, and tell what it tells.

    On Ray every worker calls the function, in a process group that accelerate finds; files it
    is given by path must be where all workers see them. The metrics and log lines of rank 0
    are told again here, on the calling thread. A worker that dies takes the others along: all
    start again, so the function should go on from what it kept, and steps since then are told
    twice.

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
    if engine.kind == "local":
        return function(*args, **kwargs)
    from miram.training.distributed.ray_engine import launch_on_ray

    result: Result = launch_on_ray(engine, function, args, kwargs)
    return result


@contextmanager
def cropping_backend(engine: EngineConfig) -> Iterator[None]:
    """Let joblib run its jobs as the engine says; with `n_jobs=-1` on all its cores.

    Args:
        engine: Where they run.

    Raises:
        MiramError: Ray is missing or unreachable.
    """
    if engine.kind == "local":
        yield
        return
    from miram.training.distributed.ray_cluster import joblib_on_ray

    with joblib_on_ray(engine):
        yield


@contextmanager
def shared_cluster() -> Iterator[None]:
    """Keep the cluster that the first launch within the block starts until its end."""
    from miram.training.distributed.ray_cluster import held

    with held():
        yield
