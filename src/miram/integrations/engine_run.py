"""What `kedro run` does for the engine: one cluster for all nodes, several methods at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from miram.errors import MiramError
from miram.integrations.parameters import conf_folder, config_loader
from miram.training.checkpointing.interruption import passing_signals_on
from miram.training.distributed.cluster import EngineConfig, shared_cluster

_ONE_BY_ONE = (None, "SequentialRunner")
_SIDE_BY_SIDE = "miram.integrations.runner.TrainingsFirst"


@contextmanager
def on_engine(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the options of `kedro run` as the parameters of the engine want them.

    With `engine.parallel_methods` above 1 nodes run in that many threads; each training among
    them has processes of its own. Without Ray, a runner that is asked for is taken instead.

    Raises:
        MiramError: The engine's parameters are impossible, or a runner is given besides.
    """
    engine = _engine(options)
    with ExitStack() as stack:
        stack.enter_context(shared_cluster())
        runner = options.get("runner")
        if engine.parallel_methods > 1 and (engine.kind == "ray" or runner is None):
            if runner not in _ONE_BY_ONE:
                raise MiramError(
                    f"--runner {runner} and engine.parallel_methods="
                    f"{engine.parallel_methods} exclude each other: leave one out"
                )
            stack.enter_context(passing_signals_on())
            given = options.get("runner_params") or {}
            threads = {**given, "max_workers": engine.parallel_methods}
            options = {**options, "runner": _SIDE_BY_SIDE, "runner_params": threads}
        yield options


def _engine(options: dict[str, Any]) -> EngineConfig:
    loader = config_loader(
        conf_folder(options.get("conf_source")), options.get("env"), options.get("params")
    )
    return EngineConfig.model_validate(loader["parameters"].get("engine", {}))
