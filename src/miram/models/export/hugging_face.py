"""An encoder as a folder that Hugging Face transformers loads as a `ViTModel`."""

import re
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.errors import MiramError
from miram.files import atomic_path
from miram.mammography.crops.pixels import FULL_RANGE
from miram.models.checkpoints.files import EncoderCheckpoint, write_weights
from miram.models.checkpoints.joined import single_encoder
from miram.models.export.shared import (
    atomic_folder,
    encode,
    require_packages,
    require_same,
    require_softmax,
    sample_images,
    write_card,
)
from miram.models.pretrained_weights.names import HUGGING_FACE_BLOCK, HUGGING_FACE_TOP

_LOADING = """from transformers import ViTModel

encoder = ViTModel.from_pretrained("<this folder>", add_pooling_layer=False).eval()
tokens = encoder(images).last_hidden_state  # CLS, then the patches row by row"""


def export_hugging_face(checkpoint: EncoderCheckpoint, folder: str | Path) -> None:
    """Write `config.json`, `model.safetensors`, `preprocessor_config.json` and a page.

    `transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False)` makes the encoder;
    its `last_hidden_state` is CLS and patch tokens after the last norm. The preprocessor takes
    crops of 16 bits, as a crop store holds them; for 8 bits give it `rescale_factor=1 / 255`.
    Where each crop is standardized by itself, that is left to be done after it. The weights keep
    the header of the checkpoint.

    Raises:
        MiramError: The packages of the extra `export` are not installed, the folder is taken,
            there is an encoder per fold, or a `ViTModel` cannot express this encoder.
    """
    require_packages("transformers")
    from transformers import ViTConfig, ViTImageProcessor

    checkpoint = single_encoder(checkpoint)
    require_softmax(checkpoint, "transformers")
    encoder = checkpoint.build_vision_transformer()
    config = ViTConfig(**vit_arguments(encoder), architectures=["ViTModel"])
    weights = hugging_face_weights(checkpoint.state)
    with atomic_folder(folder) as temporary:
        with atomic_path(temporary / "model.safetensors") as file:
            write_weights(file, weights, checkpoint.header())
        config.save_pretrained(temporary)
        ViTImageProcessor(**_preprocessing(checkpoint)).save_pretrained(temporary)
        write_card(checkpoint, temporary, "transformers", _LOADING)
        images = sample_images(checkpoint)
        require_same(_tokens(temporary, images), encode(encoder, images), "the ViTModel")


def _tokens(folder: Path, images: Tensor) -> Tensor:
    """What transformers makes of a folder: (B, C, S, S) -> (B, 1 + L, D)."""
    from transformers import ViTModel
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # A folder, so nothing is downloaded.
        loaded = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()  # nosec B615
    finally:
        if shown:
            logging.enable_progress_bar()
    with torch.inference_mode():
        return loaded(images).last_hidden_state


def vit_arguments(encoder: VisionTransformer) -> dict[str, Any]:
    """What `transformers.ViTConfig` takes to describe an encoder.

    Raises:
        MiramError: The encoder has another activation or last norm than a `ViTModel`.
    """
    block: Any = encoder.blocks[0]
    activation = getattr(block.mlp, "act", block.mlp)
    if not isinstance(activation, nn.GELU) or not isinstance(encoder.norm, nn.LayerNorm):
        raise MiramError(
            "transformers' ViTModel has GELU and a last layer norm, the encoder has "
            f"{type(activation).__name__} and {type(encoder.norm).__name__}: export to timm or ONNX"
        )
    return {
        "hidden_size": encoder.embed_dim,
        "num_hidden_layers": len(encoder.blocks),
        "num_attention_heads": block.attn.num_heads,
        "intermediate_size": block.mlp.fc1.out_features,
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.norm.eps,
        "image_size": encoder.patch_embed.img_size[0],
        "patch_size": encoder.patch_embed.patch_size[0],
        "num_channels": encoder.patch_embed.proj.in_channels,
        "qkv_bias": block.attn.qkv.bias is not None,
    }


def hugging_face_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's weights to those of a `ViTModel`; one map becomes query, key and value.

    Raises:
        MiramError: A weight has no place in a `ViTModel`.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in HUGGING_FACE_TOP:
            renamed[HUGGING_FACE_TOP[name]] = value
            continue
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name)
        parts = _parts(block[2], value) if block else {}
        if block is None or not parts.keys() <= HUGGING_FACE_BLOCK.keys():
            raise MiramError(
                f"transformers' ViTModel has no place for the encoder's weight {name!r}: export "
                "to timm or ONNX instead"
            )
        for part, piece in parts.items():
            place = f"encoder.layer.{block[1]}.{HUGGING_FACE_BLOCK[part]}"
            renamed[f"{place}.{block[3]}"] = piece
    return renamed


def _parts(part: str, value: Tensor) -> dict[str, Tensor]:
    if part != "attn.qkv":
        return {part: value}
    # Clones, as a file holds each tensor by itself.
    pieces = [piece.clone() for piece in value.chunk(3)]
    return dict(zip(("attn.q", "attn.k", "attn.v"), pieces, strict=True))


def _preprocessing(checkpoint: EncoderCheckpoint) -> dict[str, Any]:
    channels, height, width = checkpoint.input_shape
    mean, deviation = checkpoint.pixels.numbers
    return {
        "size": {"height": height, "width": width},
        "rescale_factor": 1 / FULL_RANGE,
        "image_mean": [mean] * channels,
        "image_std": [deviation] * channels,
        **checkpoint.pixels.header(),
    }
