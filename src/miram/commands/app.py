"""The command line: every command of `miram`, and how its errors are shown."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from miram.commands.benchmark import benchmark
from miram.commands.budget import budget
from miram.commands.compare import compare
from miram.commands.describe import describe
from miram.commands.download import download
from miram.commands.embed import embed
from miram.commands.evaluate import evaluate
from miram.commands.export import export
from miram.commands.new import new
from miram.commands.predict import predict
from miram.commands.replay import replay
from miram.commands.report import report
from miram.commands.scan_phi import scan_phi
from miram.commands.table import table
from miram.commands.ui import ui
from miram.commands.verify import verify
from miram.errors import MiramError, refusal
from miram.evaluation.statistics import StatisticsError

app = typer.Typer(
    name="miram",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tools around the pipelines of MIRAM, which run as `kedro run`.",
)
app.command("benchmark")(benchmark)
app.command("budget")(budget)
app.command("compare")(compare)
app.command("describe")(describe)
app.command("download")(download)
app.command("embed")(embed)
app.command("evaluate")(evaluate)
app.command("export")(export)
app.command("predict")(predict)
app.command("new")(new)
app.command("replay")(replay)
app.command("report")(report)
app.command("scan-phi")(scan_phi)
app.add_typer(table, name="table")
app.command("ui")(ui)
app.command("verify")(verify)


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
