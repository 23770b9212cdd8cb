"""`miram verify`: is what miram wrote still what it wrote?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from miram.commands.options import AsJson
from miram.errors import MiramError
from miram.files import RAW_SUMS, SUMS, changed


def verify(
    folder: Annotated[Path, typer.Argument(help="folder of a study's data, or a crop store")],
    as_json: AsJson = False,
) -> None:
    """Hash every file that a later step reads again; exit status 1 where one has changed.

    Example: miram verify data
    """
    problems = find_problems(folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "ok": not problems, "problems": problems}))
    else:
        advice = "next: delete these files and run again what made them"
        typer.echo("\n".join([*problems, advice]) if problems else f"{folder}: ok")
    if problems:
        raise typer.Exit(1)


def find_problems(folder: Path) -> list[str]:
    """What is not as it was written under a folder, one line each.

    Raises:
        MiramError: Nothing under the folder says what was written.
    """
    from miram.mammography.crops.store import DIGEST, verify_store

    sums = [*folder.rglob(SUMS), *folder.rglob(RAW_SUMS)]
    stores = [path.parent for path in folder.rglob(DIGEST)]
    if not sums and not stores:
        raise MiramError(
            f"nothing under {folder} says what was written there: give the data_root of a study "
            "or a crop store"
        )
    problems = [f"{path}: not what was written" for one in sorted(sums) for path in changed(one)]
    for store in sorted(stores):
        problems += [f"{store}: {found}" for found in verify_store(store)]
    return problems
