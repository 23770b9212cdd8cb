"""Kedro's command line for this project: `kedro run` with errors that a user can read."""

import copy
import os
import re
import warnings
from typing import IO, Any

import click
from kedro import KedroDeprecationWarning
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError
from kedro.validation.exceptions import ParameterValidationError

from miram.errors import MiramError, causes, refusal, resumable
from miram.evaluation.statistics import StatisticsError
from miram.integrations.engine_run import on_engine
from miram.integrations.parameters import check_environment, conf_folder, given_parameters

_SIGNALS = 128  # and the number of a signal: the exit status of what it ended


@click.group(name="miram")
def cli() -> None:
    """Commands of the project."""


def readable(error: BaseException) -> str | None:
    """The message of an error that the user can mend, or None for a fault of the program.

    Kedro wraps errors of datasets, so the causes are searched as well.
    """
    for cause in causes(error):
        if isinstance(cause, ParameterValidationError):
            # Kedro repeats the name of the parameter and adds that of a class.
            return re.sub(r"Failed to instantiate \w+ for parameter '[^']*': ", "", str(cause))
        if isinstance(cause, (MiramError, StatisticsError)):
            return str(cause)
        if words := refusal(cause):
            return words
    is_choice = isinstance(error, ValueError) and "pipeline" in str(error).lower()
    return str(error) if is_choice else None


class ReadableFailure(click.ClickException):
    """One message and an exit status."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message; being stopped is no error."""
        stopped = self.exit_code > _SIGNALS
        click.echo(self.message if stopped else f"Error: {self.message}", file=file, err=True)


def run_readably(**options: Any) -> Any:
    """Run `kedro run`; a mendable error becomes one message and exit status 1."""
    # Kedro 1.7 announces that --pipeline will go in 2.0; the project pins kedro below that.
    warnings.filterwarnings(
        "ignore", message="Option '--pipeline'", category=KedroDeprecationWarning
    )
    assert kedro_run.callback is not None
    try:
        conf = conf_folder(options.get("conf_source"))
        if conf.is_dir():  # and no archive
            check_environment(conf, options.get("env") or os.environ.get("KEDRO_ENV"))
        with resumable(), on_engine(options) as chosen:
            return kedro_run.callback(**chosen)
    except KedroCliError:
        raise
    except Exception as error:
        message = readable(error)
        if message is None:
            raise
        # That of what was stopped, or 1.
        code = next((found.exit_code for found in causes(error) if hasattr(found, "exit_code")), 1)
        raise ReadableFailure(message, int(code)) from error


_options = [copy.copy(option) for option in kedro_run.params]
for _option in _options:
    if _option.name == "params":
        _option.callback = given_parameters
cli.add_command(click.Command("run", callback=run_readably, params=_options, help=kedro_run.help))
