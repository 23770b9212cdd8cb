"""A run ends with what it made, where that is, and the next step."""

import logging
from contextlib import suppress

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from miram.integrations.datasets.files import TextFile
from miram.integrations.run_log import said_once, summary


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
