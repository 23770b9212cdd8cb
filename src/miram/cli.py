"""Kedro's command line for this project: `kedro run` with errors that a user can read."""

import re
import warnings
from typing import Any

import click
from kedro import KedroDeprecationWarning
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError
from kedro.validation.exceptions import ParameterValidationError

from miram.errors import MiramError


@click.group(name="miram")
def cli() -> None:
    """Commands of the project."""


def readable(error: BaseException) -> str | None:
    """The message of an error that the user can mend, or None for a fault of the program.

    Kedro wraps errors of datasets, so the causes are searched as well.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ParameterValidationError):
            # Kedro repeats the name of the parameter and adds that of a class.
            return re.sub(r"Failed to instantiate \w+ for parameter '[^']*': ", "", str(cause))
        if isinstance(cause, MiramError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    is_choice = isinstance(error, ValueError) and "pipeline" in str(error).lower()
    return str(error) if is_choice else None


def run_readably(**options: Any) -> Any:
    """Run `kedro run`; a mendable error becomes one message and exit status 1."""
    # Kedro 1.7 announces that --pipeline will go in 2.0; the project pins kedro below that.
    warnings.filterwarnings(
        "ignore", message="Option '--pipeline'", category=KedroDeprecationWarning
    )
    assert kedro_run.callback is not None
    try:
        return kedro_run.callback(**options)
    except (KeyboardInterrupt, KedroCliError):
        raise
    except Exception as error:
        message = readable(error)
        if message is None:
            raise
        raise click.ClickException(message) from error


cli.add_command(
    click.Command("run", callback=run_readably, params=kedro_run.params, help=kedro_run.help)
)
