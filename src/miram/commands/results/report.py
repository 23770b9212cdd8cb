"""`miram report`: where the page of a study is, the page itself, or its first pages on paper."""

import json
import os
import shutil
import subprocess
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from miram.commands.options import AsJson, DataRoot
from miram.errors import MiramError
from miram.files import atomic_path

_BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
)


def report(
    data_root: DataRoot = Path("data"),
    open_page: Annotated[
        bool, typer.Option("--open", help="show the page in the web browser")
    ] = False,
    as_pdf: Annotated[
        bool, typer.Option("--pdf", help="print the answer on two pages, report.pdf beside it")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell where the report of a finished study is, and open or print it.

    It is one HTML page that needs no network; kedro run --pipeline report writes it anew.

    Example: miram report --data-root data --open
    """
    page = _find(data_root).resolve()
    found = {"report": str(page)}
    if as_pdf:
        found["pdf"] = str(_print(page))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        lines = [f"{what}: {place}" for what, place in found.items()]
        shown = "" if open_page else "--open shows it in the browser"
        printed = "" if as_pdf else "--pdf prints its answer on two pages"
        if advice := ", ".join(filter(None, (shown, printed))):
            lines.append(f"next: {advice}")
        typer.echo("\n".join(lines))
    if open_page:
        _show(page)


def _find(data_root: Path) -> Path:
    page = data_root / "08_reporting" / "report.html"
    if not page.is_file():
        raise MiramError(
            f"there is no report at {page}: kedro run --pipeline report makes it from a finished "
            "study, kedro run the whole study; name another folder with --data-root"
        )
    return page


def _print(page: Path) -> Path:
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise MiramError(
            f"printing takes Chromium, Chrome or Edge, and none is installed here: apt-get install "
            f"chromium, or open {page} in a browser and print it from there"
        )
    pdf = page.with_suffix(".pdf")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with tempfile.TemporaryDirectory() as profile, atomic_path(pdf) as temporary:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            *["--no-sandbox"] * is_root,  # Chromium refuses root a sandbox
            "--no-pdf-header-footer",
            f"--user-data-dir={profile}",
            f"--print-to-pdf={temporary}",
            page.as_uri(),
        ]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode or not temporary.stat().st_size:
            raise MiramError(
                f"{browser} did not print {page}: {run.stderr.strip()[-300:]}; open it in a "
                "browser and print it from there"
            )
    return pdf


def _show(page: Path) -> None:
    if not webbrowser.open(page.as_uri()):
        raise MiramError(
            f"no web browser could be started here: copy {page} to a machine that has one"
        )
