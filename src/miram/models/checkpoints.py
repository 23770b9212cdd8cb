"""Encoders on disk: timm's names for the weights, everything else in the file's header."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from miram.errors import MiramError
from miram.files import atomic_path
from miram.models.pixels import PIXEL_MEAN, PIXEL_STD


@dataclass(frozen=True)
class EncoderCheckpoint:
    """The weights of an encoder and what they came from.

    Attributes:
        state: Weights under timm's names.
        metadata: `timm` (arguments that make the model), `method`, `config`, `data_digest`,
            `git_commit`, `pixel_mean`, `pixel_std`, `license` and whatever else is known.
    """

    state: dict[str, Tensor]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, encoder: VisionTransformer, metadata: dict[str, Any]) -> "EncoderCheckpoint":
        """Take the weights of an encoder, detached, on the CPU."""
        state = {k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()}
        pixels = {"pixel_mean": PIXEL_MEAN, "pixel_std": PIXEL_STD}
        return cls(state, {**pixels, **metadata})

    def build(self) -> VisionTransformer:
        """Make the encoder with these weights, in evaluation mode."""
        arguments = self.metadata.get("timm")
        if arguments is None:
            raise MiramError(
                "the checkpoint's header does not say which timm model it is: load it with "
                "timm.create_model(name, in_chans=1, num_classes=0, checkpoint_path=...)"
            )
        encoder = timm.create_model(**arguments)
        assert isinstance(encoder, VisionTransformer)
        encoder.load_state_dict(self.state)
        encoder.eval()
        return encoder

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all."""
        header = {key: json.dumps(value) for key, value in self.metadata.items()}
        with atomic_path(path) as temporary:
            save_file(self.state, temporary, metadata={"format": "pt", **header})

    @classmethod
    def load(cls, path: str | Path) -> "EncoderCheckpoint":
        """Read a safetensors file."""
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = {key: json.loads(value) for key, value in header.items() if key != "format"}
        return cls(state, metadata)
