"""What every configuration promises: lists in one text, and errors in the user's words."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from miram.cli import cli
from miram.configuration import Config, Listed, Registry, Seeds
from miram.errors import MiramError
from miram.integrations.deferred import deferred


class Chosen(Config):
    seeds: Seeds = ()
    names: Listed[str] = ()


class Small(Config):
    renamed: ClassVar[dict[str, str]] = {"side": "size"}

    kind: Literal["small"] = "small"
    size: int = 1


class Large(Config):
    kind: Literal["large"] = "large"


class Outer(Config):
    part: Small = Small()
    parts: tuple[Annotated[Small | Large, Field(discriminator="kind")], ...] = ()


KINDS = Registry("part", Small, Large)


class Recipes(Config):
    recipes: dict[str, Small] = Field(default_factory=dict)
    any: Annotated[Config, KINDS] = Small()


def test_a_path_with_a_comma_comes_in_by_a_file_of_the_command_line(tmp_path):
    file = tmp_path / "run.yml"
    file.write_text('run:\n  params:\n    raw_root: "/data/a,b"\n')
    command = cli.commands["run"]
    given = command.make_context("run", ["--config", str(file)]).params["params"]
    assert given == {"raw_root": "/data/a,b"}


@pytest.mark.parametrize("given", ["0+2", "0 + 2", [0, 2], (0, 2)])
def test_a_text_and_a_list_say_the_same(given):
    assert Chosen.model_validate({"seeds": given}).seeds == (0, 2)
    assert Chosen.model_validate({"seeds": 3, "names": "a"}) == Chosen(seeds=(3,), names=("a",))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("seeds", "0+0", "seeds"),
        ("seeds", "-1", "seeds"),
        ("seeds", "0+x", "seeds"),
        ("seeds", [1, 1], "seeds"),
        ("names", "a+a", r"each once, got a\+a"),
    ],
)
def test_doubles_and_what_is_no_seed_are_refused(name, given, message):
    with pytest.raises(MiramError, match=message):
        Chosen.model_validate({name: given})


@pytest.mark.parametrize(
    ("config", "given", "place"),
    [
        (Small, {"side": 2}, "side"),
        (Outer, {"part": {"side": 2}}, "part.side"),
        (Outer, {"parts": [{"kind": "small", "side": 2}]}, r"parts\.0\..*side"),
        (deferred(__name__, "Outer"), {"part": {"side": 2}}, "part.side"),
    ],
)
def test_an_old_name_of_a_setting_is_refused_with_the_new_one(config, given, place):
    with pytest.raises(MiramError, match=f"^there is no setting {place}: it is now size$"):
        config.model_validate(given)


@pytest.mark.parametrize(
    ("config", "given", "place", "near"),
    [
        (Small, {"sise": 2}, "sise", "size"),
        (Outer, {"part": {"sise": 2}}, "part.sise", "size"),
        (Outer, {"parts": [{"kind": "small", "sise": 2}]}, r"parts\.0\..*sise", "size"),
        (Outer, {"pars": []}, "pars", "parts"),
        (Recipes, {"recipes": {"paper": {"sise": 2}}}, "recipes.paper.sise", "size"),
        (Recipes, {"any": {"kind": "small", "sise": 2}}, "any.sise", "size"),
        (deferred(__name__, "Outer"), {"part": {"sise": 2}}, "part.sise", "size"),
    ],
)
def test_a_name_that_a_group_does_not_know_is_refused_with_the_nearest_of_the_group(
    config, given, place, near
):
    with pytest.raises(MiramError, match=f"^there is no setting {place}; did you mean {near}[?]$"):
        config.model_validate(given)


def test_no_name_of_another_group_is_suggested():
    with pytest.raises(MiramError, match=r"^there is no setting part.parts$"):
        Outer.model_validate({"part": {"parts": ()}})
