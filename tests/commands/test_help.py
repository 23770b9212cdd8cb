"""What every command has: an example that works, output for machines, names in the shell."""

import os
import shlex
import subprocess
import sys

import pytest
import typer
from miram_command import call_miram

from miram.commands.app import app
from miram.models.methods import METHODS

GROUP = typer.main.get_command(app)
COMMANDS = {
    " ".join(filter(None, (group, name))): command
    for group, commands in {
        "": GROUP.commands,
        **{name: getattr(found, "commands", {}) for name, found in GROUP.commands.items()},
    }.items()
    for name, command in commands.items()
    if not hasattr(command, "commands")
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_that_its_options_allow(name, capsys):
    assert call_miram(*name.split(), "--help") == 0
    assert f"Example: miram {name}" in capsys.readouterr().out
    lines = (COMMANDS[name].help or "").splitlines()
    (example,) = [line for line in lines if line.startswith(f"Example: miram {name} ")]
    arguments = shlex.split(example)[2 + len(name.split()) :]
    assert COMMANDS[name].make_context(name, arguments).params


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_to_machines(name):
    options = {option for param in COMMANDS[name].params for option in param.opts}
    assert "--json" in options


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("miram ex", ["export"]),
        ("miram describe miram_ny", ["miram_nystrom"]),
        ("miram compare h", ["hiend_mae", "hog", "hog_low"]),
        ("miram budget ", list(METHODS)),
    ],
)
def test_the_shell_completes_commands_and_methods(words, offered):
    place = len(words.split(" ")) - 1
    asked = {"_MIRAM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    code = "import sys; sys.argv[0] = 'miram'; from miram.commands.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert done.stdout.split() == offered, done.stderr
