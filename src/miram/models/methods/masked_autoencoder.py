"""The multi-scale masked autoencoder: MAE, MIRAM and everything between, in one class.

One encoder reads the visible patches of a low-resolution image. Each decoder reconstructs
the whole image at its own scale. One decoder at scale 1 is MAE (He et al., 2022); a softmax
decoder at scale 1 and a linear-attention decoder at scale 2 is MIRAM (arXiv 2503.07157).
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from miram.errors import MiramError
from miram.models.attention import ATTENTIONS
from miram.models.decoders import AnyDecoder, DecodedPatches, DecoderSizes, EncodedImage
from miram.models.encoder import EncoderConfig, encode_levels, initialize
from miram.models.images import repeat_mask
from miram.models.masking import (
    AnyMasking,
    Masking,
    RandomMaskingConfig,
    hide_highest,
    visible_patches,
)
from miram.models.methods.config import TrainedMethodConfig
from miram.models.reconstruction import Reconstruction, enlargements, loss_terms, pyramid, to_pixels


class MaskedAutoencoderConfig(TrainedMethodConfig):
    """The decoders and what they reconstruct.

    `target: true` takes the pixels of the crop at each scale; `target: nearest` enlarges the
    encoder's input, as the authors' code does, and so adds no detail.
    """

    kind: Literal["masked_autoencoder"] = "masked_autoencoder"
    decoders: tuple[AnyDecoder, ...] = Field(min_length=1)
    decoder_dim: int = Field(512, ge=8, multiple_of=4, description="width shared by all decoders")
    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of the patches hidden")
    masking: AnyMasking = Field(RandomMaskingConfig(), description="which patches are hidden")
    norm_pix: bool = Field(True, description="standardize each target patch")
    target: Literal["true", "nearest"] = Field(
        "true", description="of higher scales: pixels of the crop, or the enlarged input"
    )

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

    def crop_size(self, encoder: EncoderConfig) -> int:
        """Height and width of the crops to train on, in pixels."""
        scales = (decoder.scale for decoder in self.decoders)
        return encoder.image_size * (max(scales) if self.target == "true" else 1)

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
        losses: Loss of each decoder by name, such as `loss_scale2` and `loss_scale2_gradient`.
        decoded: What each decoder predicts, standardized if `norm_pix`.
        mask: (B, L) 1 where a patch of the encoder's input was hidden.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    decoded: tuple[DecodedPatches, ...]
    mask: Tensor

    @property
    def predictions(self) -> tuple[Tensor, ...]:
        """Pixels of each decoder: (B, s*s*L, p*p*C), or of the patches it chose."""
        return tuple(patches.pixels for patches in self.decoded)


class MaskedAutoencoder(nn.Module):
    """One encoder, a list of decoders.

    Raises:
        MiramError: No patch would be visible, or none hidden; or a part does not fit the encoder.
    """

    def __init__(self, config: MaskedAutoencoderConfig, encoder: EncoderConfig, seed: int) -> None:
        super().__init__()
        self.config, self.encoder_config = config, encoder
        self.pixels = encoder.standardization
        visible = visible_patches(self.patches, config.mask_ratio)
        if not 0 < visible < self.patches:
            fault = "lower" if visible == 0 else "raise"
            raise MiramError(
                f"mask_ratio {config.mask_ratio} leaves {visible} of {self.patches} patches "
                f"visible: {fault} it, or choose smaller patches"
            )
        if encoder.attention.module.needs_grid:
            free = [kind for kind, one in ATTENTIONS.items() if not one.module.needs_grid]
            raise MiramError(
                f"encoder.attention {encoder.attention.kind} needs all patches in their places, "
                "but a masked autoencoder encodes the visible ones alone: choose "
                f"{' or '.join(free)}, or give it to a decoder, or train supervised or moco_v3"
            )
        self.encoder = encoder.build(seed)
        self.embed = nn.Linear(self.encoder.embed_dim, config.decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_dim))
        sizes = DecoderSizes(
            dim=config.decoder_dim,
            prefix_tokens=self.encoder.num_prefix_tokens,
            grid_side=encoder.grid_side,
            patch_values=encoder.patch_size**2 * encoder.channels,
            encoder_dim=self.encoder.embed_dim,
            encoder_depth=len(self.encoder.blocks),
        )
        decoders = [decoder.build(sizes) for decoder in config.decoders]
        self.decoders = nn.ModuleList(decoders)
        self.levels = {level for decoder in decoders for level in decoder.levels}
        # Of a sample's noise the mask takes its part, then each decoder.
        self.noise_widths = [
            config.masking.noise_width(self.patches),
            *(decoder.noise_width(self.patches) for decoder in config.decoders),
        ]
        initialize(self.embed)
        initialize(self.decoders)
        nn.init.normal_(self.mask_token, std=0.02)

    @property
    def patches(self) -> int:
        """Patches of the encoder's input, L."""
        return self.encoder_config.grid_side**2

    @property
    def noise_width(self) -> int:
        """Uniform numbers that a sample takes: L, and more for some maskings and decoders."""
        return sum(self.noise_widths)

    @property
    def needs_lesion(self) -> bool:
        """Whether the mask depends on where the lesion is."""
        return self.config.masking.needs_lesion

    def forward(
        self, images: Tensor, noise: Tensor | None = None, lesion: Tensor | None = None
    ) -> MaskedAutoencoderOutput:
        """Hide patches, encode the rest, reconstruct at every scale.

        Args:
            images: (B, C, s_max*S, s_max*S), or (B, C, S, S) for `target: nearest`.
            noise: (B, noise_width) uniform; the same noise gives the same mask. Drawn by default.
            lesion: (B, m, m) uint8 coverage by the lesion, 255 for all of a cell, for
                `masking: {kind: lesion}`; None where there is none.
        """
        if noise is None:
            noise = torch.rand(len(images), self.noise_width, device=images.device)
        views = self.pyramid(images)
        for_mask, *for_decoders = self._split(noise)
        encoded = self.encode(views[1], self.mask(for_mask, lesion))
        decoded = tuple(
            decoder(encoded, numbers)
            for decoder, numbers in zip(self.decoders, for_decoders, strict=True)
        )
        mask, norm_pix = encoded.masking.mask, self.config.norm_pix
        terms = [
            term
            for config, patches in zip(self.config.decoders, decoded, strict=True)
            for term in loss_terms(config, patches, views[config.scale], mask, norm_pix)
        ]
        return MaskedAutoencoderOutput(
            loss=torch.stack([term.weight * term.loss for term in terms]).sum(),
            losses={term.name: term.loss for term in terms},
            decoded=decoded,
            mask=mask,
        )

    def mask(self, noise: Tensor, lesion: Tensor | None = None) -> Masking:
        """Choose the patches to hide; `noise` (B, m) is the mask's part of a sample's noise."""
        ratio = self.config.mask_ratio
        hidden = self.patches - visible_patches(self.patches, ratio)
        return hide_highest(self.config.masking.scores(noise, hidden, lesion), ratio)

    def encode(self, images: Tensor, masking: Masking) -> EncodedImage:
        """Encode the visible patches of images (B, C, S, S), in the decoders' width."""
        levels = encode_levels(self.encoder, images, masking.keep, self.levels)
        tokens = self.embed(levels[len(self.encoder.blocks)])  # (B, P + K, E) -> (B, P + K, D)
        return EncodedImage(tokens, self.mask_token, masking, levels)

    def pyramid(self, images: Tensor) -> dict[int, Tensor]:
        """The images (B, C, s*S, s*S) at scale 1 and at every decoder's scale s.

        Area averages of the crop, or for `target: nearest` enlargements of the encoder's input.
        """
        size = self.config.crop_size(self.encoder_config)
        if images.shape[-2:] != (size, size):
            raise ValueError(f"images must be {size} x {size}, got {tuple(images.shape)}")
        scales = {1, *(decoder.scale for decoder in self.config.decoders)}
        if self.config.target == "nearest":
            return enlargements(images, scales)
        return pyramid(images, scales)

    @torch.no_grad()
    def reconstruct(
        self, images: Tensor, noise: Tensor, lesion: Tensor | None = None
    ) -> list[Reconstruction]:
        """Reconstruct images in the units of the input, one item per decoder; see `forward`."""
        views = self.pyramid(images)
        masking = self.mask(self._split(noise)[0], lesion)
        encoded = self.encode(views[1], masking)
        return [
            to_pixels(
                views[config.scale],
                decoder(encoded).pixels,
                repeat_mask(masking.mask, config.scale),
                scale=config.scale,
                patch_size=self.encoder_config.patch_size,
                norm_pix=self.config.norm_pix,
                loss_on=config.loss_on,
            )
            for config, decoder in zip(self.config.decoders, self.decoders, strict=True)
        ]

    def _split(self, noise: Tensor) -> tuple[Tensor, ...]:
        if noise.shape[1] != self.noise_width:
            raise ValueError(
                f"a sample takes {self.noise_width} uniform numbers (noise_width), "
                f"got noise of shape {tuple(noise.shape)}"
            )
        return noise.split(self.noise_widths, dim=1)
