"""`miram report`: where the page of a study is, or the page itself."""

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    data_root: Annotated[Path, typer.Option(help="folder of the study's data")] = Path("data"),
    open_page: Annotated[
        bool, typer.Option("--open", help="show the page in the web browser")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="print the result for machines, on one line")
    ] = False,
) -> None:
    """Tell where the report of a finished study is, and open it.

    It is one HTML page that needs no network; kedro run --pipeline report writes it anew.

    Example: miram report --data-root data --open
    """
    page = _find(data_root).resolve()
    typer.echo(json.dumps({"report": str(page)}) if as_json else str(page))
    if open_page:
        _show(page)


def _find(data_root: Path) -> Path:
    from miram.errors import MiramError

    page = data_root / "08_reporting" / "report.html"
    if not page.is_file():
        raise MiramError(
            f"there is no report at {page}: kedro run --pipeline report makes it from a finished "
            "study, kedro run the whole study; name another folder with --data-root"
        )
    return page


def _show(page: Path) -> None:
    import webbrowser

    from miram.errors import MiramError

    if not webbrowser.open(page.as_uri()):
        raise MiramError(
            f"no web browser could be started here: copy {page} to a machine that has one"
        )
