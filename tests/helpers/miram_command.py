"""The command lines `miram` and `kedro`, in this process and in others."""

import os
import subprocess
import sys

import pytest

_MIRAM = "from miram.commands.app import main; main()"


def call_miram(*arguments) -> int:
    """Run a command in this process; gives its exit status."""
    from miram.commands.app import main

    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


def run_miram(*arguments, folder=None, **environment):
    """Run a command in a process of its own; gives its exit status and what it printed."""
    return _run("-c", _MIRAM, *arguments, folder=folder, **environment)


def run_kedro(*arguments, folder=None, **environment):
    """The same of `kedro`."""
    return _run("-m", "kedro", *arguments, folder=folder, **environment)


def _run(*arguments, folder, **environment):
    command = [sys.executable, *map(str, arguments)]
    known = {**os.environ, "DO_NOT_TRACK": "1", **environment}
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True)
