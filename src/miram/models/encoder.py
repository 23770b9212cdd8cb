"""The encoder: a timm vision transformer, and how it reads visible patches only."""

import difflib
import inspect
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, field_validator, model_validator
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError
from miram.models.attention import ATTENTIONS, AnyAttention, SoftmaxConfig
from miram.models.images import gather_tokens, patchify, sincos_2d, to_unit
from miram.models.pixels import CROP, HALF, IMAGENET, Pixels

_POOLING = "the method and `features` say how tokens are pooled"
_DROPOUT = "it would have no effect here; proj_drop_rate, attn_drop_rate and drop_path_rate have"
# Arguments of timm that contradict a setting, or that reading visible patches alone passes by.
_NOT_OVERRIDDEN = {
    "img_size": "set encoder.image_size",
    "patch_size": "set encoder.patch_size",
    "in_chans": "set encoder.channels",
    "reg_tokens": "set encoder.registers",
    "num_classes": "an encoder has no classifier",
    "global_pool": _POOLING,
    "pool_include_prefix": _POOLING,
    "fc_norm": "the last norm is that of the tokens, before they are pooled",
    "patch_drop_rate": "set method.mask_ratio of a masked autoencoder",
    "pos_drop_rate": _DROPOUT,
    "drop_rate": _DROPOUT,
}
_CHOOSE = (
    "choose a plain vision transformer for encoder.name, such as vit_small_patch16_224; "
    "docs/methods.md says which models are"
)

_MOST_CROPS = 4096  # from which the statistics of `pixels: data` are taken


Pooling = Literal["patches", "cls"]
"""What a head reads: the mean of the patch tokens, or CLS."""


def _known_to_timm(name: str) -> str:
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"{name.split('_')[0]}*")[:5])
        raise ValueError(f"timm has no model {name!r}; it has, for instance: {close}")
    return name


TimmName = Annotated[str, AfterValidator(_known_to_timm)]


class EncoderConfig(Config):
    """Which timm vision transformer is trained, and on which images.

    `overrides` go to `timm.create_model` as they stand, such as `depth: 6`. The model must be
    plain: one CLS token, a position for each token, patches embedded by one linear map. `build`
    says what else a model is.

    Registers are learned tokens beside CLS, where a transformer keeps what belongs to no patch
    (Darcet et al., "Vision Transformers Need Registers", ICLR 2024, arXiv 2309.16588). Decoders and
    heads of the patches see them as they see CLS; nothing is read of them.

    With another attention than softmax the weights are no longer those of a model that timm alone
    can make: `create_encoder` makes it. Masked autoencoders take those attentions that can do
    without the hidden patches.
    """

    renamed: ClassVar[dict[str, str]] = {"image_side": "image_size", "patch_side": "patch_size"}

    name: TimmName = Field(description="name of a timm vit_* model")
    image_size: int = Field(ge=16, description="height and width of the input in pixels")
    patch_size: int = Field(ge=2, description="height and width of a patch in pixels")
    channels: int = Field(1, ge=1, le=3, description="the grey image, repeated")
    pixels: Literal["crop", "data", "imagenet", "half"] | tuple[float, float] = Field(
        "crop",
        description="how grey levels are standardized: by mean and deviation of each crop, of the "
        "training crops, of ImageNet, by 0.5 and 0.5, or by a given mean and deviation",
    )
    registers: int = Field(0, ge=0, le=64, description="learned tokens beside CLS")
    attention: AnyAttention = Field(SoftmaxConfig(), description="of every block")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="arguments of timm, such as depth, embed_dim, num_heads"
    )

    @field_validator("overrides")
    @classmethod
    def _arguments_of_timm(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        known = inspect.signature(VisionTransformer).parameters.keys() - _NOT_OVERRIDDEN
        for name in overrides:
            if name in _NOT_OVERRIDDEN:
                raise ValueError(f"{name} cannot be overridden: {_NOT_OVERRIDDEN[name]}")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"timm's vision transformer has no argument {name}{hint}")
        return overrides

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.image_size % self.patch_size:
            nearest = max(1, round(self.image_size / self.patch_size)) * self.patch_size
            raise ValueError(
                f"encoder.image_size ({self.image_size}) is not a multiple of "
                f"encoder.patch_size ({self.patch_size}); {nearest} would be"
            )
        if "attn_layer" in self.overrides and self.attention.kind != "softmax":
            raise ValueError("overrides.attn_layer contradicts attention: leave out either")
        return self

    @property
    def standardization(self) -> Pixels:
        """How grey levels are standardized; those of `data` are known once it is `settled`."""
        if isinstance(self.pixels, tuple):
            return Pixels(*self.pixels)
        return {"crop": CROP, "imagenet": IMAGENET, "half": HALF, "data": HALF}[self.pixels]

    def settled(self, crops: NDArray[np.uint16], rows: NDArray[np.integer]) -> Self:
        """With `pixels: data`, the same with the mean and deviation of the crops at `rows`."""
        if self.pixels != "data":
            return self
        some = rows[:: -(-len(rows) // _MOST_CROPS)]
        grey = to_unit(torch.from_numpy(np.asarray(crops[some]))).double()
        numbers = round(grey.mean().item(), 4), round(grey.std(correction=0).item(), 4)
        return self.model_copy(update={"pixels": numbers})

    @property
    def grid_side(self) -> int:
        """Patches along each axis of the image."""
        return self.image_size // self.patch_size

    @property
    def timm_arguments(self) -> dict[str, Any]:
        """Arguments that make the same model again with `create_encoder`."""
        attention = self.attention.model_dump(mode="json")
        return {
            "model_name": self.name,
            "img_size": self.image_size,
            "patch_size": self.patch_size,
            "in_chans": self.channels,
            "num_classes": 0,
            **({"reg_tokens": self.registers} if self.registers else {}),
            **({} if attention["kind"] == "softmax" else {"attn_layer": attention}),
            **self.overrides,
        }

    def build(self, seed: int) -> VisionTransformer:
        """Make the encoder with fresh weights and fixed sine-cosine positions.

        Raises:
            MiramError: It is no plain vision transformer with one CLS token, or timm cannot
                make it.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vit = self._make()
            initialize(vit)
            vit.cls_token = nn.Parameter(torch.empty(1, 1, vit.embed_dim).normal_(std=0.02))
            if vit.reg_token is not None:
                nn.init.normal_(vit.reg_token, std=0.02)
        positions = sincos_2d(vit.embed_dim, self.grid_side, vit.num_prefix_tokens)
        vit.pos_embed = nn.Parameter(positions, requires_grad=False)
        return vit

    def _make(self) -> VisionTransformer:
        what = f"encoder {self.name} with overrides {self.overrides}"
        try:
            vit = create_encoder(self.timm_arguments)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise MiramError(f"timm cannot make the {what} ({reason}): {_CHOOSE}") from error
        fault = _fault(vit, self.registers)
        if fault is not None or not isinstance(vit, VisionTransformer):
            raise MiramError(f"the {what} cannot be trained here, as it {fault}: {_CHOOSE}")
        return vit


def create_encoder(arguments: Mapping[str, Any], **more: Any) -> nn.Module:
    """Make a timm model, with an attention of ours unless `attn_layer` names one of timm's.

    Softmax attention has timm's weights and its numbers in float32, and is faster in bf16 on a CPU.

    Raises:
        MiramError: There is no such attention, or its settings are not valid.
    """
    arguments = {**arguments, **more}
    plain = timm.models.is_model_in_modules(arguments["model_name"], ["vision_transformer"])
    settings = arguments.get("attn_layer", {"kind": "softmax"} if plain else None)
    if not isinstance(settings, Mapping):
        return timm.create_model(**arguments)
    side = arguments["img_size"] // arguments["patch_size"]
    prefix = 1 + arguments.get("reg_tokens", 0)
    attention = ATTENTIONS.model_validate(settings)
    layer = attention.layer(prefix, (side, side))
    encoder = timm.create_model(**{**arguments, "attn_layer": layer})
    if isinstance(attention, SoftmaxConfig):  # timm's own does, also where timm saves the model
        getattr(encoder, "_model_args", {}).pop("attn_layer", None)
    return encoder


def _fault(vit: nn.Module, registers: int) -> str | None:
    """What keeps a model from being trained on visible patches alone, if anything does."""
    if not isinstance(vit, VisionTransformer):
        return f"is of timm's class {type(vit).__name__}, no plain vision transformer"
    if not vit.has_class_token:
        return "has no CLS token"
    if hasattr(vit, "dist_token"):
        return "has a token for distillation"
    if vit.num_prefix_tokens != 1 + registers:
        return f"has {vit.num_prefix_tokens - 1} registers, where encoder.registers is {registers}"
    if vit.no_embed_class or vit.pos_embed is None:
        return "has no learned position for its CLS token"
    if vit.embed_dim % 4:
        return f"has a width of {vit.embed_dim}, which is no multiple of 4"
    embed = vit.patch_embed
    if not isinstance(embed, PatchEmbed) or not isinstance(embed.norm, nn.Identity):
        return "embeds patches by more than one linear map"
    if not isinstance(vit.fc_norm, nn.Identity) or vit.attn_pool is not None:
        return "has parts behind its pooling, which would not be trained"
    return None


def initialize(module: nn.Module) -> None:
    """Initialize as MAE does: xavier-uniform linear maps, unit norms, flattened patch embedding."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d) and part.kernel_size == part.stride:
            nn.init.xavier_uniform_(part.weight.view(part.weight.shape[0], -1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def pool_tokens(vit: VisionTransformer, tokens: Tensor, pooling: Pooling) -> Tensor:
    """What a head reads of all tokens: (B, P + N, D) -> (B, D)."""
    if pooling == "cls":
        return tokens[:, 0]
    return tokens[:, vit.num_prefix_tokens :].mean(dim=1)


def encode_levels(
    vit: VisionTransformer, images: Tensor, keep: Tensor, levels: Collection[int] = ()
) -> dict[int, Tensor]:
    """Encode the visible patches, and keep what inner blocks give on the way.

    Hidden patches cost nothing, not even an embedding.
    The encoder has one norm, after its last block, and it is made for that block's tokens. Inner
    levels are given as they are in the residual stream; who reads them norms them.

    Args:
        vit: The encoder, with N patches.
        images: (B, C, H, W).
        keep: (B, K) indices of the visible patches.
        levels: Inner blocks, counted from 1.

    Returns:
        (B, P + K, D) CLS, registers and visible tokens, by number of the block: those of the last
        block, after the last norm, and those asked for.
    """
    tokens = embed_visible(vit, images, keep)
    found = {}
    for level, block in enumerate(vit.blocks, start=1):
        tokens = block(tokens)
        if level in levels:
            found[level] = tokens
    return {**found, len(vit.blocks): vit.norm(tokens)}


def embed_visible(vit: VisionTransformer, images: Tensor, keep: Tensor) -> Tensor:
    """The prefix and the visible patches, with positions: (B, C, H, W), (B, K) -> (B, P + K, D)."""
    projection = vit.patch_embed.proj
    patches = gather_tokens(patchify(images, projection.kernel_size[0]), keep)
    tokens = F.linear(patches, projection.weight.flatten(1), projection.bias)  # (B, K, D)
    assert vit.pos_embed is not None and vit.cls_token is not None
    positions = vit.pos_embed.expand(len(images), -1, -1)  # (1, P + N, D) -> (B, P + N, D)
    tokens = tokens + gather_tokens(positions[:, vit.num_prefix_tokens :], keep)
    prefix: Tensor = vit.cls_token  # (1, 1, D)
    if vit.reg_token is not None:
        prefix = torch.cat([prefix, vit.reg_token], dim=1)  # (1, P, D)
    prefix = prefix + positions[:, : vit.num_prefix_tokens]  # (B, P, D)
    return vit.norm_pre(torch.cat([prefix, tokens], dim=1))  # (B, P + K, D)
