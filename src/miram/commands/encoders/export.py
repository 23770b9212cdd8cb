"""`miram export`: hand an encoder to programs that do not know this project."""

import json
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from miram.commands.options import AsJson, DataRoot, complete_method
from miram.errors import MiramError
from miram.files import versions_of

# Those of `miram.models.export.export`, without importing it for every command.
Format = Literal["timm", "onnx", "hugging_face"]
FORMATS: tuple[Format, ...] = get_args(Format)
_FILE = "encoder.safetensors"


def export(
    method: Annotated[
        str,
        typer.Argument(
            help="name of the method, such as miram_nystrom", autocompletion=complete_method
        ),
    ],
    to: Annotated[Path, typer.Option(help="folder for the export; made where missing")],
    data_root: DataRoot = Path("data"),
    version: Annotated[
        str | None, typer.Option(help="timestamp of a run; the newest if not given")
    ] = None,
    format: Annotated[
        str, typer.Option(help=f"one of: {', '.join(FORMATS)}, all; or several, joined by +")
    ] = "timm",
    as_json: AsJson = False,
) -> None:
    """Write a pretrained encoder for timm, ONNX Runtime or Hugging Face transformers.

    Each format is compared with the encoder before it is kept. ONNX and Hugging Face need the
    extra "export", see docs/models.md.

    Example: miram export miram_nystrom --to exports/miram_nystrom --format all
    """
    formats = _formats(format)
    path = find_encoder(data_root, method, version)

    from miram.models.checkpoints.files import EncoderCheckpoint
    from miram.models.export.export import export_encoder

    checkpoint = EncoderCheckpoint.load(path)
    written = {name: str(export_encoder(checkpoint, to, name)) for name in formats}
    result = {"encoder": str(path), "license": checkpoint.license, "written": written}
    if as_json:
        typer.echo(json.dumps(result))
        return
    lines = [f"{name}: {place}" for name, place in written.items()]
    lines += [f"license: {result['license']}", "docs/models.md tells how each is loaded"]
    typer.echo("\n".join([f"from {path}", *lines]))


def _formats(asked: str) -> tuple[Format, ...]:
    names = {name.strip() for name in asked.replace(",", "+").split("+")}
    unknown = sorted(names - {*FORMATS, "all"})
    if unknown:
        known = ", ".join(FORMATS)
        raise MiramError(f"unknown format {unknown[0]!r}: one of {known}, all; or some joined by +")
    return FORMATS if "all" in names else tuple(name for name in FORMATS if name in names)


def find_encoder(data_root: Path, method: str, version: str | None) -> Path:
    """Find the file of an encoder, by default the newest version, the last by name.

    Raises:
        MiramError: There is none; the message names those that are there.
    """
    models = data_root / "06_models"
    found = versions_of(models / method / _FILE)
    if not found:
        there = sorted({p.parents[2].name for p in models.glob(f"*/{_FILE}/*/{_FILE}")})
        known = f"there are encoders of {', '.join(there)}" if there else "there are no encoders"
        raise MiramError(
            f"no encoder of {method!r} under {models}: {known}; name another folder with "
            f"--data-root, or train one with kedro run --pipeline pretrain --namespaces {method}"
        )
    versions = [path.parent.name for path in found]
    if version is None:
        return found[-1]
    if version not in versions:
        raise MiramError(f"no version {version!r} of {method}: there are {', '.join(versions)}")
    return found[versions.index(version)]
