"""The features in the catalog: encoded once, and again only when something changed."""

import pandas as pd
import pytest

from miram.evaluation.features.cache import FeaturePlan
from miram.integrations.datasets.features import FeatureDataset


class Encoder:
    """Counts how often it is asked."""

    def __init__(self):
        self.runs = 0

    def __call__(self):
        self.runs += 1
        return pd.DataFrame({"lesion_id": ["a", "b"], "f0": [self.runs, 2.5]})


@pytest.fixture
def dataset(tmp_path):
    return FeatureDataset(str(tmp_path / "method/features.parquet"))


def plan(encode, encoder="1", crops="2"):
    return FeaturePlan({"encoder": encoder, "crops": crops, "settings": {"layer": None}}, encode)


def test_the_same_plan_is_carried_out_once_and_the_log_says_so(dataset, caplog):
    encode = Encoder()
    dataset.save(plan(encode))
    first = dataset.load()
    with caplog.at_level("INFO", logger="miram"):
        dataset.save(plan(encode))
    assert encode.runs == 1
    assert "encoder 1 on crops 2: nothing to encode" in caplog.text
    pd.testing.assert_frame_equal(dataset.load(), first)
    assert dataset.load().attrs["origin"]["encoder"] == "1"


@pytest.mark.parametrize("change", [{"encoder": "9"}, {"crops": "9"}])
def test_another_plan_replaces_the_features(dataset, change):
    encode = Encoder()
    dataset.save(plan(encode))
    dataset.save(plan(encode, **change))
    assert encode.runs == 2
    assert dataset.load()["f0"].tolist() == [2, 2.5]


def test_a_table_from_elsewhere_is_kept_as_it_is_and_never_taken_for_a_plan(dataset):
    assert not dataset.exists()
    table = pd.DataFrame({"lesion_id": ["a"], "f0": [7.0]})
    dataset.save(table)
    pd.testing.assert_frame_equal(dataset.load(), table)
    encode = Encoder()
    dataset.save(plan(encode))
    assert encode.runs == 1
    assert dataset.exists()


def test_a_failed_encoding_leaves_the_older_features(dataset):
    dataset.save(plan(Encoder()))

    def fail():
        raise RuntimeError("the device was lost")

    with pytest.raises(Exception, match="the device was lost"):
        dataset.save(plan(fail, encoder="9"))
    assert dataset.load().attrs["origin"]["encoder"] == "1"
