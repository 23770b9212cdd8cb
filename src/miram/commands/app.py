"""The command line: every command of `miram`, and how its errors are shown."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from miram.commands.data.download import download
from miram.commands.data.scan_phi import scan_phi
from miram.commands.data.table import table
from miram.commands.data.verify import verify
from miram.commands.encoders.embed import embed
from miram.commands.encoders.export import export
from miram.commands.encoders.predict import predict
from miram.commands.methods.benchmark import benchmark
from miram.commands.methods.budget import budget
from miram.commands.methods.describe import describe
from miram.commands.methods.replay import replay
from miram.commands.new import new
from miram.commands.results.compare import compare
from miram.commands.results.evaluate import evaluate
from miram.commands.results.report import report
from miram.commands.results.ui import ui
from miram.errors import MiramError, refusal
from miram.evaluation.statistics import StatisticsError

app = typer.Typer(
    name="miram",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tools around the pipelines of MIRAM, which run as `kedro run`.",
)
_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {  # as the folders
    "Data": (download, scan_phi, verify),
    "Methods": (budget, describe, replay),
    "Results": (compare, evaluate, report, ui),
    "Encoders": (embed, export, predict),
}
app.command()(new)
app.add_typer(table, name="table", rich_help_panel="Data")
app.add_typer(benchmark, name="benchmark", rich_help_panel="Methods")
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"miram {version('miram')}")
        raise typer.Exit


@app.callback()
def _options(
    asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="the version")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an error that the user can mend becomes one line and exit status 1.

    Raises:
        SystemExit: Always, with the exit status.
    """
    try:
        app(args=arguments)
    except (MiramError, StatisticsError) as error:
        sys.stderr.write(f"miram: {' '.join(str(error).split())}\n")
        raise SystemExit(getattr(error, "exit_code", 1)) from None
    except OSError as error:
        if (words := refusal(error)) is None:
            raise
        sys.stderr.write(f"miram: {words}\n")
        raise SystemExit(1) from None
