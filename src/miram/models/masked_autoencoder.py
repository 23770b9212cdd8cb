"""The multi-scale masked autoencoder: MAE, MIRAM and everything between, in one class.

One encoder reads the visible patches of a low-resolution image. Each decoder reconstructs
the whole image at its own scale. One decoder at scale 1 is MAE (He et al., 2022); a softmax
decoder at scale 1 and a linear-attention decoder at scale 2 is MIRAM (arXiv 2503.07157).
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from miram.configuration import Config
from miram.models.decoder import Decoder, DecoderConfig
from miram.models.encoder import EncoderConfig, encode_visible, initialize
from miram.models.patches import (
    gather_tokens,
    patchify,
    random_masking,
    repeat_mask,
    unpatchify,
)

EPSILON = 1e-6  # added to a patch's variance before the square root


class MaskedAutoencoderConfig(Config):
    """The decoders and what they reconstruct.

    `target: true` takes the pixels of the crop at each scale; `target: nearest` enlarges the
    encoder's input, as the authors' code does, and so adds no detail.
    """

    kind: Literal["masked_autoencoder"] = "masked_autoencoder"
    decoders: tuple[DecoderConfig, ...] = Field(min_length=1)
    decoder_dim: int = Field(512, ge=8, multiple_of=4, description="width shared by all decoders")
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    norm_pix: bool = Field(True, description="standardize each target patch")
    target: Literal["true", "nearest"] = "true"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        scales = [decoder.scale for decoder in self.decoders]
        if len(set(scales)) != len(scales):
            raise ValueError(f"each decoder needs a scale of its own, got {scales}")
        for decoder in self.decoders:
            if self.decoder_dim % decoder.heads:
                raise ValueError(
                    f"decoder_dim ({self.decoder_dim}) is not a multiple of heads "
                    f"({decoder.heads}) of the decoder at scale {decoder.scale}"
                )
            if max(scales) % decoder.scale:
                raise ValueError(f"scale {decoder.scale} does not divide {max(scales)}")
        return self

    @property
    def max_scale(self) -> int:
        """The highest scale reconstructed."""
        return max(decoder.scale for decoder in self.decoders)

    def crop_side(self, encoder: EncoderConfig) -> int:
        """Side of the crops to train on, in pixels."""
        return encoder.image_side * (self.max_scale if self.target == "true" else 1)

    def build(self, encoder: EncoderConfig, seed: int) -> "MaskedAutoencoder":
        """Make the model with fresh weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MaskedAutoencoder(self, encoder, seed)


@dataclass(frozen=True)
class MaskedAutoencoderOutput:
    """What a forward pass gives.

    Attributes:
        loss: Weighted sum over the decoders.
        losses: Loss of each decoder by name, such as `loss_scale2`.
        predictions: For each decoder (B, s*s*L, p*p*C), standardized if `norm_pix`.
        mask: (B, L) 1 where a patch of the encoder's input was hidden.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    predictions: tuple[Tensor, ...]
    mask: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """One scale of a reconstruction, all (B, C, s*S, s*S) in the units of the input.

    Attributes:
        scale: s.
        target: The image to reconstruct.
        masked: The target with hidden patches at the image's mean grey.
        prediction: What the decoder gives for every patch.
    """

    scale: int
    target: Tensor
    masked: Tensor
    prediction: Tensor


class MaskedAutoencoder(nn.Module):
    """One encoder, a list of decoders.

    Args:
        config: Decoders, masking and targets.
        encoder: Which encoder.
        seed: Of the encoder's weights.
    """

    def __init__(self, config: MaskedAutoencoderConfig, encoder: EncoderConfig, seed: int) -> None:
        super().__init__()
        self.config, self.encoder_config = config, encoder
        self.encoder = encoder.build(seed)
        self.embed = nn.Linear(self.encoder.embed_dim, config.decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_dim))
        patch_values = encoder.patch_side**2 * encoder.channels
        self.decoders = nn.ModuleList(
            Decoder(decoder, config.decoder_dim, encoder.grid_side, patch_values)
            for decoder in config.decoders
        )
        initialize(self.embed)
        initialize(self.decoders)
        nn.init.normal_(self.mask_token, std=0.02)

    @property
    def patches(self) -> int:
        """Patches of the encoder's input, L; the width of the noise."""
        return self.encoder_config.grid_side**2

    def forward(self, images: Tensor, noise: Tensor) -> MaskedAutoencoderOutput:
        """Hide patches, encode the rest, reconstruct at every scale.

        Args:
            images: (B, C, s_max*S, s_max*S), or (B, C, S, S) for `target: nearest`.
            noise: (B, L) uniform; the patches with the highest noise are hidden.
        """
        views = self.pyramid(images)
        masking = random_masking(noise, self.config.mask_ratio)
        tokens = self.embed(encode_visible(self.encoder, views[1], masking.keep))
        cls, grid = tokens[:, :1], self._unshuffle(tokens[:, 1:], masking.restore)
        predictions = tuple(decoder(cls, grid) for decoder in self.decoders)
        losses = {
            f"loss_scale{decoder.scale}": self._loss(
                decoder, prediction, views[decoder.scale], masking.mask
            )
            for decoder, prediction in zip(self.config.decoders, predictions, strict=True)
        }
        weights = [decoder.weight for decoder in self.config.decoders]
        loss = torch.stack([w * x for w, x in zip(weights, losses.values(), strict=True)]).sum()
        return MaskedAutoencoderOutput(loss, losses, predictions, masking.mask)

    def pyramid(self, images: Tensor) -> dict[int, Tensor]:
        """The images at scale 1 and at every decoder's scale.

        Args:
            images: As for `forward`.

        Returns:
            Images (B, C, s*S, s*S) by scale s: area averages of the crop, or for
            `target: nearest` enlargements of the encoder's input.
        """
        side = self.config.crop_side(self.encoder_config)
        if images.shape[-2:] != (side, side):
            raise ValueError(f"images must have side {side}, got {tuple(images.shape)}")
        scales = {1, *(decoder.scale for decoder in self.config.decoders)}
        if self.config.target == "nearest":
            return {s: F.interpolate(images, scale_factor=s, mode="nearest") for s in scales}
        top = self.config.max_scale
        return {s: F.avg_pool2d(images, top // s) if s < top else images for s in scales}

    def _unshuffle(self, visible: Tensor, restore: Tensor) -> Tensor:
        hidden = restore.shape[1] - visible.shape[1]
        masks = self.mask_token.expand(len(visible), hidden, -1).to(visible.dtype)
        tokens = gather_tokens(torch.cat([visible, masks], dim=1), restore)  # (B, L, D)
        return tokens.unflatten(1, (self.encoder_config.grid_side, -1))  # (B, L, D) -> (B, n, n, D)

    def _loss(
        self, decoder: DecoderConfig, prediction: Tensor, image: Tensor, mask: Tensor
    ) -> Tensor:
        target = patchify(image, self.encoder_config.patch_side)
        if self.config.norm_pix:
            target = standardize(target).values
        # Losses stay in float32 under autocast: a mean over many small squares.
        error = (prediction.float() - target).square().mean(dim=-1)  # (B, s*s*L)
        if decoder.loss_on == "all":
            return error.mean()
        hidden = repeat_mask(mask, decoder.scale)
        return (error * hidden).sum() / hidden.sum()

    @torch.no_grad()
    def reconstruct(self, images: Tensor, noise: Tensor) -> list[Reconstruction]:
        """Reconstruct in the units of the input, for looking at.

        With `norm_pix` a decoder predicts standardized patches; mean and deviation of the
        true patch bring them back, as in the figures of the MAE paper.

        Args:
            images: As for `forward`.
            noise: (B, L).

        Returns:
            One item per decoder.
        """
        output = self(images, noise)
        views = self.pyramid(images)
        return [
            self._to_pixels(views[decoder.scale], prediction, output.mask, decoder.scale)
            for decoder, prediction in zip(self.config.decoders, output.predictions, strict=True)
        ]

    def _to_pixels(
        self, image: Tensor, prediction: Tensor, mask: Tensor, scale: int
    ) -> Reconstruction:
        side, channels = self.encoder_config.patch_side, self.encoder_config.channels
        target = patchify(image, side)
        prediction = prediction.float()
        if self.config.norm_pix:
            standard = standardize(target)
            prediction = prediction * standard.deviation + standard.mean
        hidden = repeat_mask(mask, scale).unsqueeze(-1)  # (B, s*s*L, 1)
        grey = target.mean(dim=(1, 2), keepdim=True)
        masked = target * (1 - hidden) + grey * hidden
        return Reconstruction(
            scale, image, unpatchify(masked, side, channels), unpatchify(prediction, side, channels)
        )


@dataclass(frozen=True)
class Standardized:
    """Patches with zero mean and unit variance, and the way back.

    Attributes:
        values: (B, L, P).
        mean: (B, L, 1).
        deviation: (B, L, 1).
    """

    values: Tensor
    mean: Tensor
    deviation: Tensor


def standardize(patches: Tensor) -> Standardized:
    """Standardize each patch with its mean and unbiased variance (He et al., 2022).

    Args:
        patches: (B, L, P).
    """
    mean = patches.mean(dim=-1, keepdim=True)
    deviation = (patches.var(dim=-1, keepdim=True) + EPSILON).sqrt()
    return Standardized((patches - mean) / deviation, mean, deviation)
