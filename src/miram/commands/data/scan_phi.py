"""`miram scan-phi`: does a patient's name, number or file stand in what was written?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from miram.commands.options import AsJson
from miram.errors import MiramError


def scan_phi(
    folder: Annotated[Path, typer.Argument(help="what is to be searched, such as data")],
    data_root: Annotated[
        Path | None,
        typer.Option(help="study whose lesion table names the identifiers; else those in FOLDER"),
    ] = None,
    raw_root: Annotated[
        Path | None,
        typer.Option(help="raw data: also search for names and dates of their DICOM headers"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search every byte of a folder for identifiers of patients; exit status 1 where one is found.

    Identifiers are the own names of patients, lesions, images, files and folders in the
    tables of ingestion. Parquet, zip and gzip are searched unpacked; 01_raw and
    02_intermediate of a study, where the names belong, are left out.

    Example: miram scan-phi data --raw-root /data/my_lab
    """
    from miram.mammography import identifiers

    study = data_root or folder
    names: set[str] = set()
    for ingested in {data_root} if data_root else identifiers.studies(folder):
        names |= identifiers.identifiers_of_tables(ingested / "02_intermediate")
    if raw_root is not None:
        names |= identifiers.identifiers_of_files(raw_root)
    sought = identifiers.searchable(names)
    if not folder.is_dir() or not sought:
        raise MiramError(
            f"no identifier is known of {study}, or there is no folder {folder}: give the folder "
            "to search, with --data-root of an ingested study or --raw-root of its raw data"
        )
    searched = list(identifiers.search(folder, sought))
    found = [one for _, several in searched for one in several]
    counts = {"identifiers": len(sought), "too_common": len(names - sought), "files": len(searched)}
    if as_json:
        typer.echo(json.dumps({**counts, "found": [asdict(one) for one in found]}))
    else:
        for one in found:
            typer.echo(f"{one.file}: {one.identifier!r}, {one.times} times")
        typer.echo(
            f"{'nothing' if not found else len(found)} found: {counts['identifiers']} identifiers "
            f"in {counts['files']} files; {counts['too_common']} were not searched for, being "
            f"shorter than {identifiers.SHORTEST} characters or words of miram itself"
        )
    if found:
        raise typer.Exit(1)
