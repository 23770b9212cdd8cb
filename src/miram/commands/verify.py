"""`miram verify`: is a crop store what its digest says?"""

import json
from pathlib import Path
from typing import Annotated

import typer


def verify(
    store: Annotated[Path, typer.Argument(help="folder of the crop store")],
    as_json: Annotated[
        bool, typer.Option("--json", help="print the result for machines, on one line")
    ] = False,
) -> None:
    """Recompute every hash of a crop store; exit status 1 where one differs.

    Example: miram verify data/05_model_input/crops
    """
    from miram.mammography.crops.store import verify_store

    problems = verify_store(store)
    if as_json:
        typer.echo(json.dumps({"store": str(store), "ok": not problems, "problems": problems}))
    else:
        typer.echo("\n".join(problems) if problems else f"{store}: ok")
    if problems:
        raise typer.Exit(1)
