"""One naming of weights for all checkpoints: what others call the parts of a masked autoencoder.

Here a masked autoencoder's weights are named as in its state dict, but that a decoder is named
by what it is (`decoders.scale1-softmax.`) and not by its place in a list. Sources of the names:
facebookresearch/mae `models_mae.py`; Hugging Face transformers `vit` and `vit_mae`.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

ENCODER = "encoder."
MAE_DECODER = "scale1-softmax"  # the decoder of He et al. (2022)

# timm's names and those of Hugging Face's ViT files, outside of the blocks and inside of one.
HUGGING_FACE_TOP = {
    "cls_token": "embeddings.cls_token",  # nosec B105
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
HUGGING_FACE_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.q": "attention.attention.query",
    "attn.k": "attention.attention.key",
    "attn.v": "attention.attention.value",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
# Names inside a block that transformers 5 uses in memory, and that some files hold.
_NEWER_BLOCK = {
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_FROM_TOP = {theirs: name for name, theirs in HUGGING_FACE_TOP.items()}
_FROM_BLOCK = {theirs: name for name, theirs in HUGGING_FACE_BLOCK.items()} | _NEWER_BLOCK
_BLOCK = re.compile(
    r"(?:(?P<decoder>decoder_layers|decoder_encoder\.layer)|encoder\.layer|layers)"
    r"\.(?P<number>\d+)\.(?P<part>.+)\.(?P<kind>weight|bias)"
)
_MAE_TO_OURS = {
    "decoder_embed.": "embed.",
    "decoder_blocks.": f"decoders.{MAE_DECODER}.blocks.",
    "decoder_norm.": f"decoders.{MAE_DECODER}.norm.",
    "decoder_pred.": f"decoders.{MAE_DECODER}.head.",
    "decoder_pos_embed": f"decoders.{MAE_DECODER}.positions",
    "mask_token": "mask_token",  # nosec B105
}


def from_hugging_face(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a ViT or ViTMAE to those of facebookresearch/mae.

    Queries, keys and values become one map; names that are not known stay as they are.
    """
    renamed = {_mae_name(name): value for name, value in weights.items()}
    for name in [name for name in renamed if ".attn.q." in name]:
        parts = [name.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in renamed for part in parts):
            joined = torch.cat([renamed.pop(part) for part in parts])
            renamed[name.replace(".attn.q.", ".attn.qkv.")] = joined
    return renamed


def _mae_name(name: str) -> str:
    short = re.sub(r"^(?:vit\.|decoder\.(?=decoder_|mask_token))", "", name)
    if short in _FROM_TOP:
        return _FROM_TOP[short]
    block = _BLOCK.fullmatch(short)
    if block:
        part = block["part"]
        known = _FROM_BLOCK.get(part)
        stem = "decoder_blocks" if block["decoder"] else "blocks"
        return f"{stem}.{block['number']}.{known}.{block['kind']}" if known else name
    return short if short.startswith(("decoder_", "mask_token")) else name


def from_mae(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of facebookresearch/mae or timm, and reorder the pixels of the decoder.

    There a patch is predicted pixel by pixel (p, p, C), here channel by channel (C, p, p).
    """
    channels = weights["patch_embed.proj.weight"].shape[1]
    renamed = {}
    for name, value in weights.items():
        if name.startswith("decoder_pred."):
            value = value.unflatten(0, (-1, channels)).transpose(0, 1).flatten(0, 1)
        prefix = next((theirs for theirs in _MAE_TO_OURS if name.startswith(theirs)), None)
        if prefix is None:
            renamed[ENCODER + name] = value
        else:
            renamed[_MAE_TO_OURS[prefix] + name.removeprefix(prefix)] = value
    return renamed


def decoder_slots(method: Mapping[str, Any]) -> list[str]:
    """What each decoder of a method (as JSON) is, such as `scale2-nystrom` or `scale1-cross`."""
    return [_slot(decoder) for decoder in method.get("decoders", ())]


def _slot(decoder: Mapping[str, Any]) -> str:
    kind = decoder.get("kind", "self")
    attention = decoder.get("attention", {}).get("kind")
    parts = [f"scale{decoder['scale']}", "" if kind == "self" else kind, attention]
    return "-".join(part for part in parts if part)


def by_slot(name: str, slots: list[str]) -> str:
    """Name a decoder's weight by what the decoder is: `decoders.0.x` -> `decoders.<slot>.x`."""
    found = re.fullmatch(r"decoders\.(\d+)\.(.+)", name)
    if found is None or int(found[1]) >= len(slots):
        return name
    return f"decoders.{slots[int(found[1])]}.{found[2]}"
