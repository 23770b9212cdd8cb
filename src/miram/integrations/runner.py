"""The runner of a study whose methods run side by side.

Kedro's begins nodes that are ready in an order that differs from run to run. A long training that
begins last leaves the other cores without work.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from queue import PriorityQueue
from typing import Any

from kedro.pipeline.node import Node
from kedro.runner import ThreadRunner

from miram.errors import causes
from miram.models.methods import METHODS
from miram.training.checkpointing.interruption import TrainingInterrupted

_TRAININGS = {"pretrain_encoder", "train_supervised_encoder", "finetune_encoder"}


class TrainingsFirst(ThreadRunner):
    """Begins, of what is ready, with the trainings, those of the later methods before all."""

    @property
    def _logger(self) -> logging.Logger:
        """Kedro's own, which conf/logging.yml keeps quiet."""
        return logging.getLogger(ThreadRunner.__module__)

    def _get_executor(self, max_workers: int) -> ThreadPoolExecutor:
        return _InOrder(max_workers)


class _InOrder(ThreadPoolExecutor):
    """Runs first what stands first, whenever it was submitted; nothing more once interrupted."""

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._ready: PriorityQueue[tuple[int, int, Callable, Future]] = PriorityQueue()
        self._number = count()  # what stands alike runs in the order in which it came

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Wait for what runs and, unless the run was interrupted, for what is ready."""
        stops = (TrainingInterrupted, KeyboardInterrupt)
        stopped = error is not None and any(isinstance(one, stops) for one in causes(error))
        self.shutdown(cancel_futures=stopped)

    def submit(self, task: Any) -> Future:  # type: ignore[override]
        """Take one of Kedro's tasks."""
        future: Future = Future()
        self._ready.put((place(task.node), next(self._number), task, future))
        super().submit(self._run_first)
        return future

    def _run_first(self) -> None:
        *_, task, future = self._ready.get()
        try:
            future.set_result(task())
        except BaseException as error:  # of any kind: it is raised where the result is asked for
            future.set_exception(error)


def place(node: Node) -> int:
    """Where a node stands among those that are ready: the least is begun first.

    Trainings come before all else, and of later methods before those of earlier ones, which take
    less time: the untrained encoder is the first.
    """
    methods = list(METHODS)
    method, work = node.name.split(".")[0], node.name.rpartition(".")[2]
    return -methods.index(method) if method in methods and work in _TRAININGS else 1
