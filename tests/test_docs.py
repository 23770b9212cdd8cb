"""The documentation builds, the code in it runs, and its commands are ones that there are.

Every line of `kedro`, `miram` or `make` on a page is read by the command line that would run it,
with all options, and parameters are checked by the classes that will take them. What can only be
run after the reader has done something carries a mark: `(needs ...)` in the same line, or in the
line before the block. `tests/pipelines/test_documented_commands.py` runs those that are cheap.
"""

import functools
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
import typer
import yaml
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from project_paths import PROJECT
from timm.models.vision_transformer import Block

from miram.commands.app import app
from miram.mammography.sources import SOURCES, make_source
from miram.models.attention import ATTENTIONS
from miram.models.methods import BASELINES, METHODS

DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("decisions/*.md"))]
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*((?:kedro|miram|make) .+)")
# Not `encoder.onnx`, which is a file though `encoder` is a group of parameters.
PARAMETER = re.compile(
    r"(?:--params )?(?!encoder\.(?:onnx|safetensors))([a-z_]+(?:\.[a-z_]+)+(?:=\S+)?)"
)
NEEDS = re.compile(r"\(needs [^)]+\)")


@dataclass(frozen=True)
class Snippet:
    """A piece of code on a page.

    Attributes:
        page: Its name.
        text: One line, of a block or between two backticks.
        inline: Whether it stands in a sentence, where a command may be named without arguments.
        marked: Whether the page says what has to be there first.
    """

    page: str
    text: str
    inline: bool
    marked: bool


def snippets():
    for page in PAGES:
        before, block_marked, fenced = "", False, False
        for line in page.read_text().replace("\\\n", " ").splitlines():
            if line.startswith("```"):
                fenced, block_marked = not fenced, bool(NEEDS.search(before))
            elif fenced:
                marked = block_marked or bool(NEEDS.search(line))
                yield Snippet(page.name, line.strip(), False, marked)
            else:
                marked = bool(NEEDS.search(line))
                for text in re.findall(r"`([^`]+)`", line):
                    yield Snippet(page.name, text.strip(), True, marked)
            before = line if line.strip() else before


def matching(pattern):
    """Snippets of a pattern, each once."""
    found = {}
    for snippet in snippets():
        if match := pattern.fullmatch(snippet.text):
            found.setdefault((match[1], snippet.inline), snippet)
    return [
        pytest.param(text, snippet, id=f"{snippet.page}:{text}")
        for (text, _), snippet in found.items()
    ]


def parsed(group, words):
    """What a command line makes of words; it ends the test where it does not know them."""
    name, *rest = words
    command = group.get_command(None, name)
    assert command is not None, f"there is no command {name!r}"
    if hasattr(command, "get_command"):
        return parsed(command, rest)
    return command.make_context(name, rest).params


@functools.cache
def kedro():
    """Kedro's command line with the commands of the project; it loads the project once."""
    bootstrap_project(PROJECT)
    return KedroCLI(project_path=PROJECT)


@functools.cache
def parameters(env="base", given="{}"):
    """The parameters of a run, checked by their classes; `given` is JSON."""
    kedro()
    # Where nothing can be written, so that a command of the documentation leaves nothing behind.
    runtime = {**json.loads(given), "data_root": "/nonexistent"}
    with KedroSession.create(PROJECT, env=env, runtime_params=runtime) as session:
        return session.load_context().params


def check_kedro(words, snippet):
    options = parsed(kedro(), words)
    if words[0] != "run":
        return
    if not snippet.marked:
        given = options["params"] or {}
        assert given.get("source", "phantom") in SOURCES
        parameters(options["env"] or "base", json.dumps(given))
    pipeline = pipelines[options["pipeline"] or "__default__"]
    if options["namespaces"]:
        pipeline = pipeline.filter(node_namespaces=options["namespaces"])
    assert pipeline.nodes
    assert set(options["load_versions"] or {}) <= pipeline.datasets()


def check_miram(words, snippet):
    group = typer.main.get_command(app)
    if words[0].startswith("--"):  # reading it would install the completion
        assert words[0] in {option for parameter in group.params for option in parameter.opts}
        return
    if snippet.inline and len(words) == 1:  # a sentence names the command
        assert words[0] in group.commands
        return
    options = parsed(group, words)
    methods = options.get("methods") or [options.get("method")]
    assert set(methods) <= {*METHODS, *BASELINES, None}
    assert options.get("env") is None or (PROJECT / "conf" / options["env"]).is_dir()


def check_make(words, _):
    targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


CHECKS = {"kedro": check_kedro, "miram": check_miram, "make": check_make}


@pytest.mark.parametrize(("text", "snippet"), matching(COMMAND))
def test_a_command_of_the_documentation_is_one_that_there_is(text, snippet):
    assert not re.search(r"…|\.\.\.", text), "a command is written out, so that it can be copied"
    program, *words = shlex.split(text, comments=True)
    CHECKS[program](words, snippet)


@pytest.mark.parametrize(("text", "snippet"), matching(PARAMETER))
def test_a_parameter_of_the_documentation_can_be_set(text, snippet):
    name, _, value = text.partition("=")
    group, *path = name.split(".")
    if group not in parameters():
        assert not value, f"there is no group {group}"
        return  # a file or a module
    given = parsed(kedro(), ["run", f"--params={text}"])["params"] if value else {}
    found = parameters(given=json.dumps(given))[group]
    for part in path:
        known = found if isinstance(found, dict) else dict(found)
        assert part in known, f"{name}: choose among {', '.join(known)}"
        found = known[part]


def test_parameters_in_blocks_of_the_documentation_can_be_set():
    pattern = re.compile(r"([^\n]*)\n+```yaml\n(.*?)```", re.DOTALL)
    found = [
        (page.name, yaml.safe_load(code))
        for page in PAGES
        for before, code in pattern.findall(page.read_text())
        if not NEEDS.search(before)
    ]
    assert len(found) > 4
    for page, block in found:
        assert set(block) <= set(parameters()), page
        parameters(given=json.dumps(block))
        for source, options in block.get("sources", {}).items():
            make_source(source, options)


def test_the_pages_build_and_no_link_is_dead(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "softmax_attention" in (tmp_path / "api" / "index.html").read_text()


def test_the_attention_of_the_guide_works_as_a_layer():
    text = (DOCS / "add_an_attention.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    names: dict = {"__name__": "guide"}
    exec(code, names)
    layer = names["MeanConfig"]().layer(num_prefix_tokens=1, grid_size=(4, 4))
    tokens = torch.randn(2, 17, 32, requires_grad=True)
    found = Block(32, 4, attn_layer=layer)(tokens)
    found.sum().backward()
    assert found.shape == tokens.shape
    assert tokens.grad.isfinite().all()


def test_every_attention_is_in_the_table_with_its_defaults():
    rows = re.findall(r"^\| `(\{ kind: .*\})` \|", (DOCS / "methods.md").read_text(), re.MULTILINE)
    shown = [yaml.safe_load(row) for row in rows]
    assert {values["kind"]: values for values in shown} == {
        kind: config().model_dump(mode="json") for kind, config in ATTENTIONS.items()
    }


def test_the_page_of_settings_is_that_of_the_code_and_has_every_group(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    write_settings = importlib.import_module("write_settings")
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == write_settings.page(), (
        "run python docs/write_settings.py"
    )
    pipelines.configure("miram.pipeline_registry")
    inputs = {name for pipeline in pipelines.values() for name in pipeline.inputs()}
    read = {name.removeprefix("params:").split(".")[0] for name in inputs if "params:" in name}
    elsewhere = {"source", "sources", "methods", *METHODS, *BASELINES}
    assert read - elsewhere <= set(write_settings.GROUPS)
