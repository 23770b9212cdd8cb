"""`miram download`: fetch a collection from TCIA."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miram.commands.options import AsJson, given
from miram.errors import MiramError, resumable

if TYPE_CHECKING:
    from miram.mammography.download.fetch import DownloadReport, Progress

_COLLECTIONS = {"cbis_ddsm": "CBIS-DDSM"}
_SHOWN = 5  # failed series to name on the screen


def download(
    collection: Annotated[str, typer.Argument(help=f"one of: {', '.join(_COLLECTIONS)}")],
    to: Annotated[Path, typer.Option(help="folder for the series; made where missing")],
    manifest: Annotated[
        Path | None, typer.Option(help=".tcia file; default: the whole collection")
    ] = None,
    collection_subset: Annotated[
        str | None, typer.Option(help="mass or calc: only the series of these lesions")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="folder of the case-description CSVs, which name a subset's series"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="only the first series of the list")] = None,
    workers: Annotated[int | None, typer.Option(help="transfers at a time")] = None,
    retries: Annotated[int | None, typer.Option(help="further tries of what failed")] = None,
    timeout: Annotated[float | None, typer.Option(help="longest silence, seconds")] = None,
    recheck: Annotated[
        bool | None,
        typer.Option("--recheck", help="compare the hashes of finished files again"),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="another NBIA server, up to /v4")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a collection of mammograms from The Cancer Imaging Archive.

    What is finished is not fetched again: run the same command after an interruption.

    Example: miram download cbis_ddsm --to data/01_raw/cbis_ddsm --collection-subset mass
    """
    from miram.mammography.download.fetch import download_collection

    if collection not in _COLLECTIONS:
        raise MiramError(f"unknown collection {collection!r}: one of {', '.join(_COLLECTIONS)}")
    config = _config(
        collection=_COLLECTIONS[collection],
        to=to,
        manifest=manifest,
        subset=collection_subset,
        tables=tables,
        limit=limit,
        workers=workers,
        retries=retries,
        timeout=timeout,
        recheck=recheck,
        base_url=base_url,
    )
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with resumable(), _bar() as progress:
        report = download_collection(config, progress)
    typer.echo(json.dumps(asdict(report), sort_keys=True) if as_json else _as_text(report, to))
    if report.failed:
        raise typer.Exit(1)


def _config(**options: Any) -> Any:
    from pydantic import ValidationError

    from miram.mammography.download.plan import DownloadConfig

    try:
        return DownloadConfig(**given(**options))
    except ValidationError as error:
        fault = error.errors()[0]
        option = str(fault["loc"][0]).replace("subset", "collection-subset").replace("_", "-")
        raise MiramError(f"--{option}: {fault['msg']}") from error


@contextmanager
def _bar() -> "Iterator[Progress]":
    """A progress bar with bytes, on stderr so that stdout stays for the result."""
    from rich import progress
    from rich.console import Console

    from miram.mammography.download.fetch import Progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    # It vanishes at the end: the result and errors say all that counts.
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking the server", total=None)
        done = wanted = 0

        def plan(series: int, size: int) -> None:
            nonlocal wanted
            wanted = series
            bar.update(task, total=size or None, description=f"0 of {series} series")

        def advance(count: int) -> None:
            bar.update(task, advance=count)

        def finish() -> None:
            nonlocal done
            done += 1
            bar.update(task, description=f"{done} of {wanted} series")

        yield Progress(plan, advance, finish)


def _as_text(report: "DownloadReport", to: Path) -> str:
    lines = [
        f"{report.present + len(report.fetched)} of {report.wanted} series are in {to} "
        f"({len(report.fetched)} fetched now, {report.bytes_fetched / 1e6:.1f} MB)"
    ]
    if report.failed:
        lines.append(f"{len(report.failed)} could not be had; run the same command again:")
        shown = list(report.failed.items())[:_SHOWN]
        lines += [f"  {uid}: {reason}" for uid, reason in shown]
        if len(report.failed) > _SHOWN:
            lines.append(f"  and {len(report.failed) - _SHOWN} more (--json lists them)")
    else:
        params = f"source=cbis_ddsm,raw_root={to},data_root=data/cbis"
        lines.append(f"next: kedro run --pipeline ingest --params {params}")
    return "\n".join(lines)
