"""What a training logs, and under which names."""

import logging
import logging.config
import threading

import pandas as pd
import pytest

from miram.training.logging.history import join_histories
from miram.training.logging.telemetry import LOGGER, log_metrics, log_prefix, log_step_offset


@pytest.fixture
def records():
    heard, handler = [], logging.Handler()
    handler.emit = heard.append
    LOGGER.addHandler(handler)
    yield heard
    LOGGER.removeHandler(handler)


def test_a_prefix_is_put_before_the_names_of_this_thread_alone(records):
    with log_prefix("seed1/"):
        log_metrics(1, {"loss": 2.0})
        other = threading.Thread(target=log_metrics, args=(1, {"loss": 3.0}))
        other.start()
        other.join()
    log_metrics(2, {"loss": 1.0})
    found = [record.metrics for record in records]
    assert found == [{"seed1/loss": 2.0}, {"loss": 3.0}, {"loss": 1.0}]


def test_logging_that_is_configured_later_takes_no_listener_away(records):
    before = logging.getLogger("miram").level
    quiet = {"miram": {"level": "WARNING"}}
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "loggers": quiet})
    log_metrics(1, {"loss": 2.0})
    logging.getLogger("miram").setLevel(before)
    assert [record.metrics for record in records] == [{"loss": 2.0}]


def test_steps_are_counted_on_after_those_of_an_earlier_training(records):
    for before in (0, 4):
        with log_step_offset(before), log_prefix("seed1/"):
            log_metrics(1, {"loss": 2.0})
            log_metrics(4, {"loss": 1.0})
    log_metrics(1, {"loss": 2.0})
    assert [record.step for record in records] == [1, 4, 5, 8, 1]


@pytest.mark.parametrize(("column", "steps"), [("fold", [2, 4, 6, 8]), ("seed", [2, 4, 2, 4])])
def test_steps_are_counted_on_from_fold_to_fold_and_begin_again_with_every_seed(column, steps):
    one = pd.DataFrame({"step": [2, 4], "loss": [1.0, 0.5]})
    joined = join_histories({5: one, 6: one}, column)
    assert joined["step"].tolist() == steps
    assert joined[column].tolist() == [5, 5, 6, 6]


def test_a_single_history_stays_as_it_is_and_one_without_steps_is_empty():
    one = pd.DataFrame({"step": [2, 4], "loss": [1.0, 0.5]})
    assert join_histories({5: one}, "seed") is one
    assert join_histories({0: one.iloc[:0], 1: one.iloc[:0]}, "seed").empty
