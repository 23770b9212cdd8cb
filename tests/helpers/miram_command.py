"""The command line `miram`, called in this process."""

import pytest

from miram.commands.app import main


def call_miram(*arguments) -> int:
    """Run a command; gives its exit status."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0
