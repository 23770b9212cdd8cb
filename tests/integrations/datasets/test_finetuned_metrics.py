"""A report reads the metrics of fine-tuned encoders that are there, and needs none."""

import json

import pytest
from kedro.io.core import DatasetError

from miram.integrations.datasets.finetuned_metrics import FinetunedMetrics


def written(folder, method, version, content):
    place = folder / method / "finetuned_metrics.json" / version
    place.mkdir(parents=True)
    (place / "finetuned_metrics.json").write_text(json.dumps(content))


def test_nothing_that_is_there_is_no_error(tmp_path):
    dataset = FinetunedMetrics(str(tmp_path / "nowhere"))
    assert dataset.exists()
    assert dataset.load() == {}


def test_the_newest_of_every_method_is_read(tmp_path):
    written(tmp_path, "mae", "2026-01-02T03.04.05.678Z", {"seeds": [1]})
    written(tmp_path, "mae", "2026-02-02T03.04.05.678Z", {"seeds": [2]})
    written(tmp_path, "random", "2026-01-02T03.04.05.678Z", {"seeds": [3]})
    (tmp_path / "moco_v3").mkdir()
    found = FinetunedMetrics(str(tmp_path)).load()
    assert found == {"random": {"seeds": [3]}, "mae": {"seeds": [2]}}


def test_it_is_written_by_the_finetune_pipeline_alone(tmp_path):
    with pytest.raises(DatasetError, match="written by the finetune pipeline"):
        FinetunedMetrics(str(tmp_path)).save({})
