"""Which patches are hidden: rules that turn uniform noise into masks.

A rule gives every patch a score; the patches of highest score are hidden. All rules hide the
same number of patches in every sample, so that batches stay rectangular, and draw on nothing
but the noise: the same noise gives the same mask.

To add one: a configuration with a new ``kind`` and ``scores``, and its name in the registry below.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from miram.configuration import Config, Registry
from miram.errors import MiramError
from miram.models.images import repeat_mask


@dataclass(frozen=True)
class Masking:
    """Which patches the encoder sees.

    Attributes:
        keep: (B, K) indices of the visible patches, in the order they are encoded.
        restore: (B, L) position of every patch in the shuffled sequence.
        mask: (B, L) 1 where a patch is hidden, 0 where it is visible.
    """

    keep: Tensor
    restore: Tensor
    mask: Tensor


def hide_highest(scores: Tensor, mask_ratio: float) -> Masking:
    """Hide the patches of highest score (B, L); int(L * (1 - mask_ratio)) stay visible."""
    visible = visible_patches(scores.shape[1], mask_ratio)
    shuffle = torch.argsort(scores, dim=1)
    restore = torch.argsort(shuffle, dim=1)
    return Masking(shuffle[:, :visible], restore, (restore >= visible).to(scores.dtype))


def visible_patches(patches: int, mask_ratio: float) -> int:
    """How many of the patches stay visible."""
    return int(patches * (1 - mask_ratio))


class MaskingConfig(Config, ABC):
    """A rule that gives every patch a score from uniform noise."""

    kind: str
    needs_lesion: ClassVar[bool] = False

    def noise_width(self, patches: int) -> int:
        """Uniform numbers that the mask of one sample takes.

        Raises:
            MiramError: The rule does not fit a grid of so many patches.
        """
        return patches

    @abstractmethod
    def scores(self, noise: Tensor, hidden: int, lesion: Tensor | None) -> Tensor:
        """Score the patches.

        Args:
            noise: (B, noise_width) uniform.
            hidden: Patches to hide in each sample.
            lesion: (B, m, m) uint8 coverage, 255 for all of a cell; None for no lesions.

        Returns:
            (B, L).
        """


class RandomMaskingConfig(MaskingConfig):
    """Every patch is as likely to be hidden as any other (MAE, He et al., 2022)."""

    kind: Literal["random"] = "random"

    def scores(self, noise: Tensor, hidden: int, lesion: Tensor | None) -> Tensor:
        """Take the noise itself: (B, L) -> (B, L)."""
        return noise


class BlockMaskingConfig(MaskingConfig):
    """Whole aligned blocks of patches are hidden (SimMIM, Xie et al., CVPR 2022).

    Neighbors cannot be copied from, so that the task is harder at the same share. Where the
    number of patches to hide is no multiple of a block's, one block is hidden in part.
    """

    kind: Literal["block"] = "block"
    side: int = Field(2, ge=2, description="patches along each side of a block")

    def noise_width(self, patches: int) -> int:
        """One number per patch; blocks of this side must tile the grid."""
        grid = round(patches**0.5)
        if grid % self.side:
            fitting = [side for side in range(2, grid + 1) if grid % side == 0]
            raise MiramError(
                f"masking.side ({self.side}) does not divide the grid of {grid} x {grid} patches; "
                f"sides that do: {', '.join(map(str, fitting))}"
            )
        return patches

    def scores(self, noise: Tensor, hidden: int, lesion: Tensor | None) -> Tensor:
        """Order the patches block by block, and at random within a block: (B, L) -> (B, L).

        A block's draw is the maximum of its patches' noise. The order of the noise within a
        block is independent of its maximum, so one set of numbers serves both.
        """
        grid = noise.unflatten(1, (round(noise.shape[1] ** 0.5), -1))  # (B, L) -> (B, n, n)
        blocks = F.max_pool2d(grid.unsqueeze(1), self.side).flatten(1)  # -> (B, blocks)
        ranks = blocks.argsort(dim=1).argsort(dim=1)
        return repeat_mask(ranks, self.side) + noise  # ranks are whole numbers, noise is below 1


class LesionMaskingConfig(MaskingConfig):
    """A share of the hidden patches is drawn on the lesion, the rest anywhere [ours].

    Lesion patches are drawn without replacement, with odds in proportion to how much of them
    the lesion covers (Efraimidis and Spirakis, 2006). A lesion smaller than its share is hidden
    whole; a sample without one is masked at random, exactly as ``random`` would.
    """

    needs_lesion: ClassVar[bool] = True

    kind: Literal["lesion"] = "lesion"
    share: float = Field(0.5, gt=0, le=1, description="of the hidden patches, drawn on the lesion")

    def noise_width(self, patches: int) -> int:
        """One draw anywhere and one on the lesion for each patch."""
        return 2 * patches

    def scores(self, noise: Tensor, hidden: int, lesion: Tensor | None) -> Tensor:
        """Put the patches that are drawn on the lesion first: (B, 2L) -> (B, L)."""
        anywhere, on_lesion = noise.chunk(2, dim=1)
        if lesion is None:
            return anywhere
        coverage = patch_coverage(lesion, round(anywhere.shape[1] ** 0.5))
        # log(u) / w orders like u^(1 / w), and is -inf where nothing is covered.
        keys = on_lesion.clamp(min=torch.finfo(noise.dtype).tiny).log() / coverage
        ranks = keys.argsort(dim=1, descending=True).argsort(dim=1)
        drawn = (ranks < round(self.share * hidden)) & (coverage > 0)
        return anywhere + drawn


MASKINGS: Registry[MaskingConfig] = Registry(
    "masking", RandomMaskingConfig, BlockMaskingConfig, LesionMaskingConfig
)
AnyMasking = Annotated[MaskingConfig, MASKINGS]


def patch_coverage(lesion: Tensor, grid_side: int) -> Tensor:
    """Share of each patch that a lesion covers: (B, m, m) uint8, 255 for all -> (B, n*n)."""
    cells = lesion.unsqueeze(1).float() / 255
    return F.interpolate(cells, size=(grid_side, grid_side), mode="area").flatten(1)
