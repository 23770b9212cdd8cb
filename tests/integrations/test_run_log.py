"""A run ends with what it made, where that is, and the next step."""

import logging
import threading
from contextlib import suppress

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from miram.errors import MiramError
from miram.integrations.datasets.files import TextFile
from miram.integrations.run_log import RunLog, said_once, summary
from miram.integrations.runner import TrainingsFirst


def made(*outputs):
    return Pipeline([Node(lambda: None, None, list(outputs), name="make")])


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (
            {"report": "08_reporting/report.html", "mae.encoder": "06_models/mae/e.safetensors"},
            "report: {}/08_reporting/report.html; open it with "
            "`miram report --data-root {} --open`",
        ),
        (
            {"mae.encoder": "06_models/mae/e", "random.encoder": "06_models/random/e"},
            "encoders: {}/06_models/mae/e and 1 more; next: `kedro run --pipeline probe` with the "
            "same options",
        ),
        ({"splits": "05_model_input/splits.parquet"}, ""),
    ],
)
def test_the_last_result_of_a_run_is_named_with_the_next_step(tmp_path, outputs, expected):
    catalog = DataCatalog({name: TextFile(str(tmp_path / path)) for name, path in outputs.items()})
    assert summary(made(*outputs), catalog) == expected.format(tmp_path, tmp_path)


def test_a_promotion_tells_version_alias_reason_and_how_to_use_the_model():
    promotion = {
        "name": "miram-mae",
        "version": 2,
        "alias": "challenger",
        "reason": "not shown to be better",
        "uri": "models:/miram-mae@challenger",
    }
    catalog = DataCatalog({"promotion": MemoryDataset(promotion)})
    assert summary(made("promotion"), catalog) == (
        "registered miram-mae version 2 as challenger: not shown to be better; use it with "
        "`miram embed FOLDER --model models:/miram-mae@challenger --out features.parquet`, and the "
        "--data-root of this study"
    )


def test_what_is_to_be_said_once_is_said_once_in_each_run(caplog):
    logger, once = logging.getLogger("study"), {"extra": {"once": True}}
    caplog.set_level(logging.INFO)
    for _run in range(2):
        with suppress(RuntimeError), said_once():
            for _method in range(3):
                logger.warning("run pretrain again")
                logger.warning("task %s is skipped", "density", **once)
            logger.warning("task %s is skipped", "margins", **once)
            raise RuntimeError("a node fails")
    logger.warning("after the runs", **once)
    logger.warning("after the runs", **once)
    assert caplog.messages.count("run pretrain again") == 6
    assert caplog.messages.count("task density is skipped") == 2
    assert caplog.messages.count("task margins is skipped") == 2
    assert caplog.messages.count("after the runs") == 2


def test_why_a_node_failed_is_said_while_others_beside_it_still_run(caplog):
    begun, reported = threading.Event(), threading.Event()

    class Report(logging.Handler):
        def emit(self, record):
            if "crops are damaged" in record.getMessage():
                reported.set()

    def fail():
        begun.wait(10)
        raise MiramError("crops are damaged")

    def outlast():
        begun.set()
        return reported.wait(10)

    failing = Node(fail, None, "encoder", name="mae.pretrain_encoder")
    pipeline = Pipeline([failing, Node(outlast, None, "in_time", name="describe_lesions")])
    catalog = DataCatalog({"in_time": MemoryDataset()})
    hooks, run_log, report = _create_hook_manager(), RunLog(), Report()
    hooks.register(run_log)
    run_log.before_pipeline_run(pipeline)
    logger = logging.getLogger(RunLog.__module__)
    logger.addHandler(report)
    try:
        with pytest.raises(MiramError, match="damaged"):
            TrainingsFirst(max_workers=2).run(pipeline, catalog, hooks)
    finally:
        logger.removeHandler(report)
    assert catalog.load("in_time")
    assert caplog.text.count("crops are damaged") == 1
