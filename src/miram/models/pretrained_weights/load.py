"""Start from public weights: fit a checkpoint to a model and tell what became of every part."""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from pydantic import Field
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError
from miram.files import file_sha256
from miram.models.attention import MultiHeadAttention
from miram.models.images import sincos_2d
from miram.models.methods.moco import MocoV3
from miram.models.pixels import CROP, HALF, Pixels
from miram.models.pretrained_weights.files import SourceWeights, read_weights
from miram.models.pretrained_weights.names import ENCODER, by_slot, decoder_slots

log = logging.getLogger(__name__)

PATCHES = f"{ENCODER}patch_embed.proj.weight"
PATCHES_BIAS = f"{ENCODER}patch_embed.proj.bias"
POSITIONS = f"{ENCODER}pos_embed"
REGISTERS = f"{ENCODER}reg_token"
_NAMED = 6  # names shown in a message
_FOLLOWER = "key_encoder."  # of MoCo, which starts as a copy of the encoder


class InitializationConfig(Config):
    """The weights to start from: fresh ones, or those of a checkpoint."""

    checkpoint: str | None = Field(
        None, description="safetensors, .pth or .bin file, or Hugging Face folder; null for none"
    )
    strict: bool = Field(
        False, description="refuse where a weight of either side finds no partner in the other"
    )
    pixels: Literal["miram", "imagenet"] | None = Field(
        None,
        description="how the checkpoint expects pixels to be standardized where neither its header "
        "nor a file beside it says; the public MAE weights expect ImageNet's mean and deviation, "
        "which the patch embedding can absorb; null: as miram does, with a warning",
    )


@dataclass(frozen=True)
class ImportReport:
    """What became of every weight.

    Attributes:
        source: Name of the file; empty where nothing was imported.
        sha256: Of the file.
        format: See `SourceWeights`.
        loaded: Weights of the model that were taken as they are.
        resized: Weights of the model that were fitted: how, by name.
        not_used: Weights of the checkpoint that were left out: why, by name.
        missing: Weights of the model that stay fresh.
    """

    source: str = ""
    sha256: str = ""
    format: str = ""
    loaded: tuple[str, ...] = ()
    resized: dict[str, str] = field(default_factory=dict)
    not_used: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether each weight of either side found its partner."""
        return not self.not_used and not self.missing

    def header(self) -> dict[str, Any]:
        """The report as JSON, for the header of what is trained from here."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} weights loaded", f"{len(self.resized)} fitted"]
        if self.resized:
            parts[-1] += f" ({_some(f'{k}: {v}' for k, v in self.resized.items())})"
        if self.not_used:
            listed = _some(f"{name} ({why})" for name, why in self.not_used.items())
            parts.append(f"{len(self.not_used)} of the checkpoint not used: {listed}")
        if self.missing:
            parts.append(f"{len(self.missing)} of the model stay fresh: {_some(self.missing)}")
        return f"{self.source}: {'; '.join(parts)}"


def initialize_from(model: nn.Module, config: InitializationConfig) -> ImportReport:
    """Load a checkpoint into a model whose `encoder` is a vision transformer, in place.

    Some of the encoder's blocks at least must fit. Three channels become one by
    their sum, so that a grey image gives what its copy on three channels gave. Positions of
    another grid are resized bicubically, patches of another side by the pseudo-inverse of the
    resizing (FlexiViT, Beyer et al., 2023). A decoder at scale 1 with softmax attention, the
    map to it and the mask token are taken where the shapes fit. The number of heads cannot be
    read from a `.pth` file; where a configuration tells it, it must agree. A block of the encoder
    is taken whole or not at all: one with other parts would compute something else.

    Returns:
        What became of every weight; nothing where no checkpoint is asked for.

    Raises:
        MiramError: The checkpoint cannot be read, is another architecture, or `strict` is
            asked for and something has no partner.
    """
    if config.checkpoint is None:
        return ImportReport()
    source = read_weights(config.checkpoint)
    _check_attention(source, model)
    origin = ImportReport(source.file.name, file_sha256(source.file), source.format)
    weights = _for_our_pixels(source, config, getattr(model, "pixels", HALF))
    values, report = _match(weights, model, origin)
    if not any(name.startswith(f"{ENCODER}blocks.") for name in values):
        raise MiramError(f"nothing fits the blocks of the encoder; {report}")
    _check_blocks(report, values)
    _check_decoder_heads(source, model, values)
    if config.strict and not report.complete:
        raise MiramError(
            f"strict import refused; {report}; set strict to false to start nevertheless"
        )
    model.load_state_dict(values, strict=False)
    if isinstance(model, MocoV3):
        model.key_encoder.load_state_dict(model.encoder.state_dict())
    log.log(logging.INFO if report.complete else logging.WARNING, "%s", report)
    return report


def _for_our_pixels(
    source: SourceWeights, config: InitializationConfig, ours: Pixels
) -> dict[str, Tensor]:
    """Weights whose patch embedding takes the pixels of the model.

    Where each crop is standardized by itself nothing can be absorbed: the weights stay as they
    are, made for pixels of about mean 0 and deviation 1 over all images.
    """
    weights, channels = source.weights, source.weights[PATCHES].shape[1]
    pixels = source.pixels
    if pixels is None and config.pixels == "imagenet":
        pixels = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    if pixels is None:
        if config.pixels is None and source.format in ("mae", "hugging_face"):
            log.warning(
                "nothing says how %s expects pixels to be standardized; they are taken as miram's "
                "own: grey levels %s. Public MAE weights and most of timm's expect "
                "ImageNet's: set training.initialization.pixels=imagenet, or =miram if it is right",
                source.file.name,
                ours.words,
            )
        return weights
    mean, deviation = (given * channels if len(given) == 1 else given for given in pixels)
    if ours == CROP or ({*mean}, {*deviation}) == ({ours.mean}, {ours.deviation}):
        return weights
    return absorb_pixels(weights, mean, deviation, ours)


def _match(
    weights: dict[str, Tensor], model: nn.Module, origin: ImportReport
) -> tuple[dict[str, Tensor], ImportReport]:
    """Find a partner for each weight: values by the model's names, and the report.

    Partners have the same name among those of `miram.models.pretrained_weights.names`.
    """
    state, slots = model.state_dict(), decoder_slots(_method_of(model))
    names = {by_slot(name, slots): name for name in state}
    values, resized, not_used = {}, {}, {}
    channels = weights[PATCHES].shape[1]
    for name, value in weights.items():
        if name not in names:
            if not _has_decoder_of(name, names):
                not_used[name] = "the model has no such part"
            elif is_sincos(value):
                resized[name] = "fixed sine-cosine positions, computed by the model"
            else:
                not_used[name] = "positions of its own; ours are fixed sine-cosines"
            continue
        own = names[name]
        if name == POSITIONS:
            registers = _registers(weights, REGISTERS), _registers(state, names.get(REGISTERS, ""))
            fitted = fit_positions(value, tuple(state[own].shape), registers)
        else:
            fitted = fit(name, value, tuple(state[own].shape), channels)
        if fitted is None:
            not_used[name] = f"shape {_shape(value)} does not fit {_shape(state[own])}"
            continue
        values[own] = fitted.value
        if fitted.how:
            resized[own] = fitted.how
    return values, replace(
        origin,
        loaded=tuple(name for name in values if name not in resized),
        resized=resized,
        not_used=not_used,
        missing=tuple(
            name for name in state if name not in values and not name.startswith(_FOLLOWER)
        ),
    )


def _has_decoder_of(name: str, names: dict[str, str]) -> bool:
    """Whether these are positions of a decoder that the model has; ours compute their own."""
    decoder, _, part = name.rpartition(".")
    return part == "positions" and any(known.startswith(f"{decoder}.") for known in names)


def _method_of(model: nn.Module) -> dict[str, Any]:
    config = getattr(model, "config", None)
    return config.model_dump(mode="json") if isinstance(config, Config) else {}


def _check_attention(source: SourceWeights, model: nn.Module) -> None:
    """Refuse another number of heads in the encoder, and warn of another kind of attention."""
    attention = model.get_submodule(f"{ENCODER}blocks.0.attn")
    if source.heads is not None and source.heads != attention.num_heads:
        raise MiramError(
            f"{source.file} has {source.heads} attention heads, the encoder "
            f"{attention.num_heads}: set encoder.overrides.num_heads to {source.heads}"
        )
    ours = attention.config.kind if isinstance(attention, MultiHeadAttention) else "softmax"
    if source.attention != ours:
        log.warning(
            "%s was trained with %s attention, the encoder has %s: the weights fit, but compute "
            "something else until they are trained on",
            *(source.file.name, source.attention, ours),
        )


def _check_decoder_heads(source: SourceWeights, model: nn.Module, taken: Iterable[str]) -> None:
    method = _method_of(model)
    decoders = zip(decoder_slots(method), method.get("decoders", ()), strict=True)
    for place, (slot, decoder) in enumerate(decoders):
        heads = decoder["heads"]
        theirs = source.decoder_heads.get(slot, heads)
        blocks = f"decoders.{place}.blocks."
        if theirs != heads and any(name.startswith(blocks) for name in taken):
            raise MiramError(
                f"{source.file} has {theirs} attention heads in the decoder {slot}, the model "
                f"{heads}: set heads of method.decoders.{place} to {theirs}"
            )


def _check_blocks(report: ImportReport, taken: Iterable[str]) -> None:
    """Refuse blocks that would be taken in part, as with layer scale on one side only."""

    def block(name: str) -> str:
        found = re.match(rf"{re.escape(ENCODER)}blocks\.\d+\.", name)
        return found[0] if found else ""

    loaded = {block(name) for name in taken} - {""}
    left = [name for name in report.not_used if block(name) in loaded]
    # A fresh bias is 0, as if there were none.
    fresh = [n for n in report.missing if block(n) in loaded and not n.endswith(".bias")]
    if left or fresh:
        sides = [f"of the checkpoint {_some(left)} not used"] if left else []
        sides += [f"of the encoder {_some(fresh)} not given"] if fresh else []
        raise MiramError(
            f"the blocks of {report.source} are made otherwise than the encoder's: "
            f"{', '.join(sides)}; set encoder.overrides to what the checkpoint has, such as "
            "init_values (ls1, ls2), qk_norm (q_norm, k_norm) or mlp_ratio (mlp)"
        )


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    rest = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + rest


def _shape(value: Tensor) -> str:
    return " x ".join(str(side) for side in value.shape)


@dataclass(frozen=True)
class Fitted:
    """A weight in the shape that is wanted."""

    value: Tensor
    how: str  # what was done to it; empty for nothing


def fit(name: str, value: Tensor, wanted: tuple[int, ...], channels: int) -> Fitted | None:
    """Bring a weight to the shape that a model wants; None where that would change its meaning.

    `channels` are those of the checkpoint's images.
    """
    if tuple(value.shape) == wanted:
        return Fitted(value, "")
    if value.ndim != len(wanted):
        return None
    if name == PATCHES:
        return _fit_patches(value, wanted)
    head = name.endswith((".head.weight", ".head.bias")) and name.startswith("decoders.")
    if head and tuple(value.shape) == (channels * wanted[0], *wanted[1:]):
        # The mean over channels is the best grey image for the squared error.
        grey = value.unflatten(0, (channels, -1)).mean(dim=0)  # (C*p*p, ...) -> (p*p, ...)
        return Fitted(grey, f"mean of {channels} channels")
    return None


def _registers(weights: Mapping[str, Tensor], name: str) -> int:
    return weights[name].shape[1] if name in weights else 0


def fit_positions(
    value: Tensor, wanted: tuple[int, ...], registers: tuple[int, int]
) -> Fitted | None:
    """Bring positions of CLS, registers and grid, (1, 1 + R + n*n, D), to the shape wanted.

    `registers` are those of the checkpoint and of the model; where they differ, the model's start
    without positions, as fresh ones do.
    """
    if value.ndim != 3:
        return None
    theirs, ours = registers
    old, new = _grid_side(value.shape[1] - theirs), _grid_side(wanted[1] - ours)
    if value.shape[2] != wanted[2] or old is None or new is None:
        return None
    cls, own, grid = value.split([1, theirs, old**2], dim=1)
    how = []
    if old != new:
        grid = resample_abs_pos_embed(grid, [new, new], [old, old], num_prefix_tokens=0)
        how.append(f"grid {old} x {old} resized to {new} x {new}")
    if theirs != ours:
        own = value.new_zeros(1, ours, wanted[2])
        how.append(f"{ours} registers in place of {theirs}")
    return Fitted(torch.cat([cls, own, grid], dim=1), ", ".join(how))


def _fit_patches(value: Tensor, wanted: tuple[int, ...]) -> Fitted | None:
    steps = []
    if value.shape[1] != wanted[1]:
        if value.shape[1] != 3 or wanted[1] != 1:
            return None
        value = adapt_input_conv(1, value)  # (D, 3, p, p) -> (D, 1, p, p)
        steps.append("3 channels summed")
    if value.shape[2:] != wanted[2:]:
        steps.append(f"patch size {value.shape[2]} resampled to {wanted[2]}")
        value = resample_patch_embed(value, list(wanted[2:]))
    return Fitted(value, ", ".join(steps)) if tuple(value.shape) == wanted else None


def _grid_side(tokens: int) -> int | None:
    """Patches along a side of a square grid behind one CLS token, if it is one."""
    side = math.isqrt(max(0, tokens - 1))
    return side if side and side * side == tokens - 1 else None


def is_sincos(positions: Tensor) -> bool:
    """Whether positions (1, 1 + n*n, D) are the fixed ones that our decoders compute."""
    side = _grid_side(positions.shape[1]) if positions.ndim == 3 else None
    if side is None or positions.shape[2] % 4:
        return False
    fixed = sincos_2d(positions.shape[2], side, prefix_tokens=1)
    return torch.allclose(positions, fixed, atol=1e-3)  # half precision is as coarse as this


def absorb_pixels(
    weights: Mapping[str, Tensor],
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    ours: Pixels,
) -> dict[str, Tensor]:
    """Let the patch embedding take our pixels where it expects others.

    With u = (x - m) / d ours and (x - mean) / deviation theirs, theirs is affine in u for
    each channel: the factor goes into the weights, the shift into the bias.

    Raises:
        MiramError: The patch embedding takes another number of channels, or has no bias.
    """
    kernel, bias = weights[PATCHES], weights.get(PATCHES_BIAS)
    if kernel.shape[1] != len(mean) or bias is None:
        raise MiramError(
            f"other pixels need a patch embedding of {len(mean)} channels with a bias, the "
            f"checkpoint's has {kernel.shape[1]}{'' if bias is not None else ' and no bias'}"
        )
    means = torch.tensor(mean).view(1, -1, 1, 1)
    deviations = torch.tensor(deviation).view(1, -1, 1, 1)
    own_mean, own_deviation = ours.numbers
    shift = (kernel * (own_mean - means) / deviations).sum(dim=(1, 2, 3))
    return {
        **weights,
        PATCHES: kernel * own_deviation / deviations,
        PATCHES_BIAS: bias + shift,
    }
