"""Metrics under different splits are told apart, whatever they are called."""

import pytest

from miram.errors import MiramError
from miram.evaluation.results import data_digest, one_policy

DROP = {"strategy": "official", "leakage": "drop"}
LEAKY = {"strategy": "official", "leakage": "official"}
FOLDS = {"strategy": "cv", "leakage": "drop"}


def test_the_policy_that_all_share_is_given():
    assert one_policy({}) is None
    assert one_policy({"mae": DROP, "random": {**DROP, "seeds": [1]}}) == ("official", "drop")


def test_methods_under_several_policies_are_named_with_theirs():
    with pytest.raises(MiramError) as caught:
        one_policy({"mae": LEAKY, "random": DROP, "hog": DROP, "moco_v3": FOLDS})
    for words in (
        "mae under official, leakage official",
        "random, hog under official, leakage drop",
        "moco_v3 under cv, leakage drop",
    ):
        assert words in str(caught.value)


def test_the_data_version_is_that_of_the_features():
    assert data_digest({**DROP, "features": {"crops": "abc"}}) == "abc"
    assert data_digest({**DROP, "features": {}}) is data_digest(DROP) is None
