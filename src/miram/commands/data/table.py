"""`miram table check`: what a lab's own table says, and the settings that take it in."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miram.commands.options import AsJson
from miram.errors import MiramError
from miram.files import atomic_path

if TYPE_CHECKING:
    from miram.mammography.sources.table_guess import Guess

_OF_ONE_TYPE = """\
    # If all lesions are masses, say so; some tasks are asked of masses alone:
    # constants: { abnormality_type: mass }
"""
_FIRST_METHODS = """\
# Settings of the study: docs/settings.md has all.
# A first report within minutes. Without this line all methods of conf/base are compared.
methods: [random, mae]
"""

_PLACES, _TABLE, _STUDY = "globals.yml", "parameters_ingest.yml", "parameters.yml"

table = typer.Typer(no_args_is_help=True, help="Your own table of lesions.")


@table.callback()
def _group() -> None:
    pass


@table.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="CSV with one row per lesion", metavar="FILE")],
    raw_root: Annotated[
        Path | None, typer.Option(help="folder of the images; that of the table if not given")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            help="folder for the settings, such as conf/my_lab", metavar="FOLDER", file_okay=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Guess what the columns and words of a table mean, try it, and print the settings to paste.

    Read them before you use them: a guess may be wrong.

    Example: miram table check /data/my_lab/findings.csv --write conf/my_lab
    """
    from miram.mammography.sources.table_guess import guess_table

    _check_paths(file, write)
    folder = (raw_root or file.parent).absolute()
    guess = guess_table(file, folder)
    settings = {"sources": {"image_table": guess.options}}
    tried = try_table(guess, folder)
    places = {
        "source": "image_table",
        "raw_root": str(folder),
        "data_root": f"data/{(write or folder).absolute().name}",
    }
    doubts = [f"decide: {doubt}" for doubt in guess.doubts]
    verdict = "".join(f"# {line}\n" for line in (*_words(tried), *doubts))
    text = verdict + _as_yaml(settings)
    if "abnormality_type" not in guess.options.get("columns", {}):
        text += _OF_ONE_TYPE
    contents = {_PLACES: _as_yaml(places), _TABLE: text, _STUDY: _FIRST_METHODS}
    written = _write(contents, write) if write else []
    if as_json:
        typer.echo(json.dumps({**settings, "doubts": guess.doubts, **tried}))
        raise typer.Exit("fault" in tried)
    typer.echo((verdict if write else text).rstrip())
    if write is None:
        typer.echo("# paste this into conf/local/parameters.yml, or have it written with --write")
        run = "kedro run --params " + ",".join(f"{name}={place}" for name, place in places.items())
    else:
        typer.echo(f"# written: {', '.join(written)}")
        run = f"kedro run --env {write.absolute().name}"
    mend = "mend what cannot be read, then " if "fault" in tried else ""
    typer.echo(f"# next: {mend}{run}")
    if "fault" in tried:
        raise typer.Exit(1)


def _check_paths(file: Path, write: Path | None) -> None:
    if file.is_dir():
        tables = ", such as " + str(one) if (one := next(file.glob("*.csv"), None)) else ""
        raise MiramError(f"{file} is a folder: name the table in it{tables}")
    if write is None:
        return
    if write.suffix in {".yml", ".yaml"}:
        raise MiramError(f"--write takes a folder: --write {write.parent}")
    if write.absolute().parent.name != "conf":
        raise MiramError(f"an environment is a folder below conf: --write conf/{write.name}")
    for path in (write / _PLACES, write / _TABLE):
        if path.exists():
            raise MiramError(f"{path} exists: remove it, or write to another folder")


def _write(contents: dict[str, str], folder: Path) -> list[str]:
    """Write files by name; settings of a study that were copied to the folder stay."""
    paths = {folder / name: text for name, text in contents.items()}
    if (study := folder / _STUDY).exists():
        del paths[study]
    for path, text in paths.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [str(path) for path in paths]


def _as_yaml(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def try_table(guess: "Guess", raw_root: Path) -> dict[str, Any]:
    """Read the table with the guessed settings.

    Returns:
        `lesions`, `patients`, `mammograms`, `pathology` (rows by value) and `audit` (rows by
        code); or `fault`, why it cannot be read.
    """
    from miram.mammography.lesion_table import has_place
    from miram.mammography.sources import make_source

    try:
        found = make_source("image_table", guess.options).ingest(raw_root)
    except MiramError as error:
        return {"fault": str(error)}
    lesions = found.lesions[has_place(found.lesions)]
    return {
        "lesions": len(lesions),
        "patients": int(found.lesions["patient_id"].nunique()),
        "mammograms": int(found.lesions["image_id"].nunique()),
        "pathology": lesions["pathology"].value_counts().to_dict(),
        "audit": found.audit["code"].value_counts().to_dict(),
    }


def _words(tried: dict[str, Any]) -> list[str]:
    if "fault" in tried:
        return [f"cannot be read yet: {tried['fault']}"]
    counts = "{lesions} lesions of {patients} patients in {mammograms} mammograms".format(**tried)
    labels = ", ".join(f"{count} {name}" for name, count in tried["pathology"].items())
    audit = ", ".join(f"{count} x {code}" for code, count in tried["audit"].items())
    return [counts, f"pathology: {labels or 'not given'}", f"audit: {audit or 'empty'}"]
