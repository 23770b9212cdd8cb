"""Reading checkpoints of others: weights only, never code, under one naming."""

import argparse
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from miram.errors import MiramError
from miram.files import newest_version
from miram.models.checkpoints.files import EncoderCheckpoint, making_a_model, read_header
from miram.models.checkpoints.joined import single_encoder
from miram.models.encoder import create_encoder
from miram.models.pretrained_weights.names import (
    ENCODER,
    MAE_DECODER,
    by_slot,
    decoder_slots,
    from_hugging_face,
    from_mae,
)

_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
_WRAPPERS = ("model", "state_dict")

Pixels = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class SourceWeights:
    """What a checkpoint holds.

    Attributes:
        format: `miram`, `miram_encoder`, `hugging_face`, or `mae` for that and timm's own.
        file: The file that was read.
        weights: float32 by the names of `miram.models.pretrained_weights.names`.
        heads: Attention heads of the encoder, where something says how many.
        decoder_heads: Likewise of each decoder, by what it is (`decoder_slots`).
        attention: Kind of the encoder's attention.
        pixels: Mean and deviation of each channel, or one for all, by which the header or a file
            beside the checkpoint says that pixels are standardized.
    """

    format: str
    file: Path
    weights: dict[str, Tensor]
    heads: int | None
    decoder_heads: dict[str, int]
    pixels: Pixels | None
    attention: str = "softmax"


def read_weights(path: str | Path) -> SourceWeights:
    """Read a checkpoint of facebookresearch/mae, Hugging Face, timm or ours.

    Files of torch are read with `weights_only=True`: they may hold tensors, plain containers
    and the arguments of a command line (`argparse.Namespace`, which the MAE code saves), and
    nothing that could run.

    Args:
        path: A `.safetensors`, `.pth`, `.pt` or `.bin` file, a study's folder of versions of
            one, or a Hugging Face folder.

    Raises:
        MiramError: There is no such file, it is damaged, it holds more than weights, or its
            names are not known.
    """
    file = _file_of(Path(path))
    raw, header = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    raw = {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in raw.items()
    }
    if any(name.startswith(f"{ENCODER}patch_embed.") for name in raw):
        method = header.get("method", {})
        with making_a_model(method):
            slots = decoder_slots(method)
            decoders = zip(slots, method.get("decoders", ()), strict=True)
            decoder_heads = {slot: int(one["heads"]) for slot, one in decoders if "heads" in one}
        weights = {by_slot(name, slots): value for name, value in raw.items()}
        heads, pixels = _heads_of_timm(header), _pixels(header)
        attention = _attention_of_timm(header)
        return SourceWeights("miram", file, weights, heads, decoder_heads, pixels, attention)
    if any("embeddings.patch_embeddings.projection" in name for name in raw):
        weights = from_mae(from_hugging_face(raw))
        config = _json_beside(file, "config.json")
        decoder = config.get("decoder_num_attention_heads")
        decoder_heads = {} if decoder is None else {MAE_DECODER: int(decoder)}
        heads, pixels = config.get("num_attention_heads"), _pixels_beside(file)
        return SourceWeights("hugging_face", file, weights, heads, decoder_heads, pixels)
    if "patch_embed.proj.weight" in raw:
        kind = "miram_encoder" if "timm" in header else "mae"
        pixels = _pixels(header) if kind == "miram_encoder" else _pixels_beside(file)
        heads, attention = _heads_of_timm(header), _attention_of_timm(header)
        return SourceWeights(kind, file, from_mae(raw), heads, {}, pixels, attention)
    raise MiramError(
        f"{file} is no vision transformer of facebookresearch/mae, Hugging Face ViT or ViTMAE, "
        f"timm or miram; its first weights are {', '.join(list(raw)[:3]) or 'none'}"
    )


def _file_of(path: Path) -> Path:
    path = newest_version(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise MiramError(f"there is no checkpoint at {path}")
    for name in _FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise MiramError(f"{path} holds neither {' nor '.join(_FOLDER_FILES)}: name the file itself")


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(file, framework="pt") as opened:
            weights = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            one = single_encoder(EncoderCheckpoint(weights, read_header(opened)))
            return one.state, one.metadata
    except SafetensorError as error:
        raise MiramError(f"{file} is not a whole safetensors file: {error}") from error


def _read_torch(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MiramError(
            f"{file} holds Python objects besides weights, or is no file of torch; it is not "
            "read, as that could run code: save its weights alone, best as safetensors"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise MiramError(f"{file} is not a whole file of torch: {error}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise MiramError(f"{file} holds a {type(content).__name__}, not weights by name")
    return {str(k): v for k, v in content.items() if isinstance(v, Tensor)}, {}


def _pixels(header: Mapping[str, Any]) -> Pixels | None:
    return _per_channel(header.get("pixel_mean"), header.get("pixel_std"))


def _pixels_beside(file: Path) -> Pixels | None:
    """What `preprocessor_config.json` of Hugging Face or `config.json` of timm says."""
    config = _json_beside(file, "preprocessor_config.json")
    mean, deviation = config.get("image_mean"), config.get("image_std")
    if not config.get("do_normalize", True) or mean is None or deviation is None:
        published = _json_beside(file, "config.json").get("pretrained_cfg", {})
        mean, deviation = published.get("mean"), published.get("std")
    return _per_channel(mean, deviation)


def _per_channel(mean: Any, deviation: Any) -> Pixels | None:
    if mean is None or deviation is None:
        return None
    return tuple(np.atleast_1d(mean).tolist()), tuple(np.atleast_1d(deviation).tolist())


def _json_beside(file: Path, name: str) -> dict[str, Any]:
    path = file.parent / name
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return content


def _heads_of_timm(header: Mapping[str, Any]) -> int | None:
    if "timm" not in header:
        return None
    arguments = EncoderCheckpoint({}, dict(header)).timm_arguments()
    with making_a_model(arguments), torch.device("meta"):
        encoder = create_encoder(arguments)
        return int(encoder.get_submodule("blocks.0.attn").num_heads)  # type: ignore[arg-type]


def _attention_of_timm(header: Mapping[str, Any]) -> str:
    settings = header.get("timm", {}).get("attn_layer")
    return str(settings["kind"]) if isinstance(settings, Mapping) else "softmax"
