"""`miram export`: hand an encoder to programs that do not know this project."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from miram.models.checkpoints import EncoderCheckpoint

FORMATS = ("timm", "onnx", "hugging_face")
_FILE = "encoder.safetensors"


def export(
    method: Annotated[str, typer.Argument(help="name of the method, such as miram_nystrom")],
    to: Annotated[Path, typer.Option(help="folder for the export; made where missing")],
    data_root: Annotated[Path, typer.Option(help="folder of the project's data")] = Path("data"),
    version: Annotated[
        str | None, typer.Option(help="timestamp of a run; without it the newest")
    ] = None,
    format: Annotated[str, typer.Option(help=f"one of: {', '.join(FORMATS)}, all")] = "timm",
    as_json: Annotated[
        bool, typer.Option("--json", help="print the result for machines, on one line")
    ] = False,
) -> None:
    """Write a pretrained encoder for timm, ONNX Runtime or Hugging Face transformers.

    Each format is compared with the encoder before it is kept. ONNX and Hugging Face need
    pip install 'miram[export]'.

    Example: miram export miram_nystrom --to exports/miram_nystrom --format all
    """
    from miram.errors import MiramError

    if format not in (*FORMATS, "all"):
        raise MiramError(f"unknown format {format!r}: one of {', '.join(FORMATS)}, all")
    path = find_encoder(data_root, method, version)

    from miram.models.checkpoints import EncoderCheckpoint
    from miram.models.export_card import license_of

    checkpoint = EncoderCheckpoint.load(path)
    written = {
        name: str(_writer(name)(checkpoint, to))
        for name in (FORMATS if format == "all" else (format,))
    }
    result = {"encoder": str(path), "license": license_of(checkpoint), "written": written}
    if as_json:
        typer.echo(json.dumps(result))
        return
    lines = [f"{name}: {place}" for name, place in written.items()]
    typer.echo("\n".join([f"from {path}", *lines, f"license: {result['license']}"]))


def find_encoder(data_root: Path, method: str, version: str | None) -> Path:
    """Find the file of an encoder; versions are timestamps, so the newest is the last by name.

    Args:
        data_root: Folder of the project's data.
        method: Name of the method.
        version: Which run; None for the newest.

    Raises:
        MiramError: There is none; the message names those that are there.
    """
    from miram.errors import MiramError

    models = data_root / "06_models"
    found = sorted((models / method / _FILE).glob(f"*/{_FILE}"))
    if not found:
        there = sorted({p.parents[2].name for p in models.glob(f"*/{_FILE}/*/{_FILE}")})
        known = f"there are encoders of {', '.join(there)}" if there else "there are no encoders"
        raise MiramError(
            f"no encoder of {method!r} under {models}: {known}; train one with "
            f"kedro run --pipeline pretrain --namespaces {method}"
        )
    versions = [path.parent.name for path in found]
    if version is None:
        return found[-1]
    if version not in versions:
        raise MiramError(f"no version {version!r} of {method}: there are {', '.join(versions)}")
    return found[versions.index(version)]


def _writer(name: str) -> Callable[["EncoderCheckpoint", Path], Path]:
    return {"timm": _to_timm, "onnx": _to_onnx, "hugging_face": _to_hugging_face}[name]


def _to_timm(checkpoint: "EncoderCheckpoint", to: Path) -> Path:
    from miram.models.export_timm import export_timm

    export_timm(checkpoint, to / "timm")
    return to / "timm"


def _to_onnx(checkpoint: "EncoderCheckpoint", to: Path) -> Path:
    from miram.models.export_onnx import export_onnx

    export_onnx(checkpoint, to / "encoder.onnx")
    return to / "encoder.onnx"


def _to_hugging_face(checkpoint: "EncoderCheckpoint", to: Path) -> Path:
    from miram.models.export_hugging_face import export_hugging_face

    export_hugging_face(checkpoint, to / "hugging_face")
    return to / "hugging_face"
