"""An encoder in the formats of other programs, beside each other in one folder.

Of a method with several seeds the first is written; of one with an encoder per fold, none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from miram.configuration import Config, Listed
from miram.errors import MiramError

if TYPE_CHECKING:
    from miram.models.checkpoints.files import EncoderCheckpoint

ExportFormat = Literal["timm", "onnx", "hugging_face"]


class ExportConfig(Config):
    """For which programs an encoder is written."""

    formats: Listed[ExportFormat] = Field(
        ("timm", "onnx", "hugging_face"), min_length=1, description="joined by + in one text"
    )


@dataclass(frozen=True)
class Exported:
    """What became of the formats that were wanted.

    Attributes:
        written: Name of the file or folder by format.
        left_out: Why there is none, by format.
        license: Terms of the weights.
    """

    written: dict[str, str]
    left_out: dict[str, str]
    license: str


def export_encoder(checkpoint: "EncoderCheckpoint", folder: str | Path, form: ExportFormat) -> Path:
    """Write an encoder in one format, below a folder; kept if it gives the encoder's numbers.

    Returns:
        The file or folder of the format.

    Raises:
        MiramError: The format cannot express the encoder, packages of the extra `export` are not
            installed, there is an encoder per fold, or the place is taken.
    """
    place = Path(folder) / ("encoder.onnx" if form == "onnx" else form)
    if form == "timm":
        from miram.models.export.timm_folder import export_timm

        export_timm(checkpoint, place)
    elif form == "onnx":
        from miram.models.export.onnx import export_onnx

        export_onnx(checkpoint, place)
    else:
        from miram.models.export.hugging_face import export_hugging_face

        export_hugging_face(checkpoint, place)
    return place


def export_all(
    checkpoint: "EncoderCheckpoint", formats: Iterable[ExportFormat], folder: str | Path
) -> Exported:
    """Write an encoder in every format that it can be had in.

    Exports of an earlier encoder are replaced, so that none stays beside one it did not come
    from. A format that is not possible does not stop the others.
    """
    from miram.models.export.shared import atomic_folder

    written: dict[str, str] = {}
    left_out: dict[str, str] = {}
    with atomic_folder(folder, replace=True) as temporary:
        for form in formats:
            try:
                written[form] = export_encoder(checkpoint, temporary, form).name
            except MiramError as error:
                left_out[form] = str(error)
    return Exported(written, left_out, checkpoint.license)
