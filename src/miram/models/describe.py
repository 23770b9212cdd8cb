"""What a method costs before it is run: parameters, multiplications, activation memory.

Nothing is computed and no weight is drawn. The model is made without storage, and its forward
pass is traced with tensors that have shapes only; every matrix product and every fused attention
is counted as it is dispatched.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count

from miram.models.encoder import EncoderConfig
from miram.models.methods.config import MethodConfig
from miram.models.methods.kinds import build_on_meta_device
from miram.models.methods.masked_autoencoder import MaskedAutoencoder

_BATCH = 2  # images traced; costs are per image


@dataclass(frozen=True)
class Part:
    """One part of a method, such as its encoder, in one training step.

    Attributes:
        name: Of the part.
        parameters: Those that are trained.
        macs: Multiply-accumulate operations of the forward pass, for one image; the backward
            pass takes twice as many.
        tokens: CLS and visible patches that an encoder reads, or patches that a decoder
            predicts; 0 where there are none.
        activation_bytes: What one image keeps for the backward pass, in float32. bf16 autocast
            takes a little more than half of it.
    """

    name: str
    parameters: int
    macs: int
    tokens: int
    activation_bytes: int


def describe(method: MethodConfig, encoder: EncoderConfig) -> list[Part]:
    """Measure the parts of a method, the encoder first."""
    with traced(build_on_meta_device(method, encoder)) as model:
        images = _images(encoder.channels, method.crop_size(encoder))
        if isinstance(model, MaskedAutoencoder):
            return list(_masked_autoencoder_parts(model, images))
        if not method.trained:
            return [_encoder_part(model, images)]
        return list(_other_parts(model, images))


def describe_encoder(method: MethodConfig, encoder: EncoderConfig) -> Part:
    """Measure how a method's encoder reads a whole image, whatever its training shows it."""
    with traced(build_on_meta_device(method, encoder)) as model:
        facts = method.encoder_facts(encoder)
        images = _images(facts["timm"]["in_chans"], facts["image_size"])
        return _encoder_part(model, images)


@contextmanager
def traced(model: nn.Module) -> Iterator[Any]:
    """A model of the meta device, and within the block tensors that have shapes only."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        # The fused kernels that are counted are chosen by device.
        yield model.to_empty(device="cpu")


def _images(channels: int, size: int) -> Tensor:
    return torch.empty(_BATCH, channels, size, size)


def _masked_autoencoder_parts(model: MaskedAutoencoder, images: Tensor) -> Iterator[Part]:
    views = model.pyramid(images)
    for_mask, *for_decoders = images.new_empty(_BATCH, model.noise_width).split(
        model.noise_widths, dim=1
    )
    masking = model.mask(for_mask)
    shared = [*model.encoder.parameters(), *model.embed.parameters(), model.mask_token]
    with metered(shared) as meter:
        encoded = model.encode(views[1], masking)
    yield meter.part("encoder", encoded.tokens.shape[1])
    for config, decoder, noise in zip(
        model.config.decoders, model.decoders, for_decoders, strict=True
    ):
        with metered(decoder.parameters()) as meter:
            decoded = decoder(encoded, noise)
        name = f"decoder, scale {config.scale}, {config.label}"
        yield meter.part(name, decoded.pixels.shape[1])


def _encoder_part(model: Any, images: Tensor) -> Part:
    with metered(model.encoder.parameters()) as meter:
        features = model.encoder.forward_features(images)
    tokens = features.shape[1] if features.ndim == 3 else 0
    return meter.part("encoder", tokens)


def _other_parts(model: nn.Module, images: Tensor) -> Iterator[Part]:
    """The encoder on one view, and all else: heads, further views, a momentum encoder."""
    encoder = _encoder_part(model, images)
    views = getattr(model, "views", 1)
    batch = {"images": images if views == 1 else torch.stack([images] * views, dim=1)}
    if getattr(model, "needs_labels", False):
        batch["labels"] = torch.empty(_BATCH, dtype=torch.int64)
    with metered(model.parameters()) as meter:
        model(**batch)
    whole = meter.part("all", 0)
    yield encoder
    yield Part(
        "all else",
        whole.parameters - encoder.parameters,
        whole.macs - encoder.macs,
        0,
        whole.activation_bytes - encoder.activation_bytes,
    )


@dataclass
class Meter:
    """What happened within a block of code, for all images of the batch."""

    trained: list[nn.Parameter]
    kept: Callable[[], int]  # bytes for the backward pass
    flops: int = 0  # once the block has ended

    def part(self, name: str, tokens: int) -> Part:
        """The costs of one image."""
        return Part(
            name=name,
            parameters=sum(weight.numel() for weight in self.trained),
            macs=self.flops // (2 * _BATCH),
            tokens=tokens,
            activation_bytes=self.kept() // _BATCH,
        )


def _fused_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    flops: int = sdpa_flop_count(query, key, value)
    return flops


def _convolution_backward_flops(
    gradient: list[int], images: list[int], weights: list[int], *rest: Any, **_: Any
) -> int:
    """Of all shapes; either gradient takes as many operations as the convolution itself."""
    transposed, _, _, wanted = rest[-4:]
    return sum(wanted[:2]) * conv_flop_count(images, weights, gradient, transposed)


_COUNTS = {
    # torch before 2.15 takes the fused attention of a CPU for free.
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused_flops,
    # torch counts the gradient of grouped weights as if there were no groups.
    torch.ops.aten.convolution_backward: _convolution_backward_flops,
}


@contextmanager
def metered(parameters: Iterable[nn.Parameter]) -> Iterator[Meter]:
    """Count what the parts with these parameters cost within the block."""
    trained = [weight for weight in parameters if weight.requires_grad]
    counter = FlopCounterMode(display=False, custom_mapping=_COUNTS)
    with counter, kept_for_backward(trained) as kept:
        meter = Meter(trained, kept)
        yield meter
    meter.flops = counter.get_total_flops()


@contextmanager
def kept_for_backward(weights: Iterable[Tensor]) -> Iterator[Callable[[], int]]:
    """Count the bytes that passes within the block keep for the backward pass, but for weights."""
    known = {_storage(weight) for weight in weights}
    kept: dict[int, Tensor] = {}  # held, so that no address serves twice

    def keep(tensor: Tensor) -> Tensor:
        # A tensor that several operations keep, or several views of it, takes memory once.
        kept.setdefault(_storage(tensor), tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(
            tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in known
        )


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
