"""Long work is not begun last."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest
from kedro.pipeline import Node

from miram.errors import MiramError
from miram.integrations.runner import TrainingsFirst
from miram.training.checkpointing.interruption import TrainingInterrupted


@dataclass
class Task:
    """What Kedro submits: a node that can be called."""

    node: Node

    def __call__(self):
        return self.node.func()


def task(name, work):
    return Task(Node(work, None, "output", name=name))


def test_trainings_are_begun_first_and_those_of_later_methods_before_earlier_ones():
    begun, submitted = [], threading.Event()
    with TrainingsFirst()._get_executor(1) as executor:
        busy = threading.Event()
        executor.submit(task("cut_crops", lambda: busy.set() or submitted.wait(10)))
        assert busy.wait(10)
        for name in (
            "box_size.describe_lesions",
            "random.pretrain_encoder",
            "moco_v3.evaluate_encoder",
            "moco_v3.pretrain_encoder",
            "supervised.train_supervised_encoder",
            "mae.pretrain_encoder",
        ):
            executor.submit(task(name, lambda name=name: begun.append(name)))
        submitted.set()
    assert begun == [
        "moco_v3.pretrain_encoder",
        "mae.pretrain_encoder",
        "supervised.train_supervised_encoder",
        "random.pretrain_encoder",
        "box_size.describe_lesions",
        "moco_v3.evaluate_encoder",
    ]


def test_an_error_is_raised_where_the_result_is_asked_for():
    def fail():
        raise MiramError("crops are damaged")

    with TrainingsFirst()._get_executor(2) as executor:
        failed = executor.submit(task("cut_crops", fail))
        other = executor.submit(task("split_lesions", lambda: "splits"))
        with pytest.raises(MiramError, match="damaged"):
            failed.result()
        assert other.result() == "splits"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(TrainingInterrupted("stopped"), []), (KeyboardInterrupt(), []), (MiramError("bad"), ["b"])],
)
def test_nothing_is_begun_after_an_interruption(error, expected):
    begun, started = [], threading.Event()
    executor = TrainingsFirst()._get_executor(1)

    def outlast_the_run():
        started.set()
        with suppress(RuntimeError):  # of an executor that takes no more
            while True:
                ThreadPoolExecutor.submit(executor, time.sleep, 0)
                time.sleep(0.01)

    with pytest.raises(type(error)), executor:
        executor.submit(task("a", outlast_the_run))
        executor.submit(task("b", lambda: begun.append("b")))
        assert started.wait(10)
        raise error
    assert begun == expected
