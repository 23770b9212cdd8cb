"""Lists that a run-time parameter can hold: values joined by +."""

import pytest

from miram.configuration import Config, Listed, Seeds
from miram.errors import MiramError


class Chosen(Config):
    seeds: Seeds = ()
    names: Listed[str] = ()


@pytest.mark.parametrize("given", ["0+2", "0 + 2", [0, 2], (0, 2)])
def test_a_text_and_a_list_say_the_same(given):
    assert Chosen.model_validate({"seeds": given}).seeds == (0, 2)


def test_a_single_number_is_a_list_of_one():
    assert Chosen.model_validate({"seeds": 3}).seeds == (3,)
    assert Chosen.model_validate({"names": "a"}).names == ("a",)


@pytest.mark.parametrize("given", ["0+0", "-1", "0+x", [1, 1]])
def test_doubles_and_what_is_no_seed_are_refused(given):
    with pytest.raises(MiramError, match="seeds"):
        Chosen.model_validate({"seeds": given})


def test_doubles_are_named():
    with pytest.raises(MiramError, match=r"each once, got a\+a"):
        Chosen.model_validate({"names": "a+a"})
