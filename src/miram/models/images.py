"""Images as pixels and patches, tokens by index, positions of patches: pure functions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from miram.models.pixels import Pixels

_MAXIMUM_GREY = 65_535


def plain_views(crops: Tensor, image_size: int, pixels: Pixels) -> Tensor:
    """Crops without augmentation, standardized for the encoder and area-averaged to a size S.

    (B, H, H) uint16 -> (B, 1, S, S) float32.
    """
    return shrink(pixels.standardize(to_unit(crops)), image_size)


def shrink(images: Tensor, size: int) -> Tensor:
    """Area averages of square images: (B, C, H, H) -> (B, C, S, S)."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="area")


def to_unit(crops: Tensor) -> Tensor:
    """Grey levels in [0, 1]: (B, H, W) uint16 -> (B, 1, H, W) float32."""
    return crops.unsqueeze(1).to(torch.float32) / _MAXIMUM_GREY


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into patches, row by row, each in the order of a convolution's weight.

    (B, C, H, W) with H and W multiples of the patch size p -> (B, H/p * W/p, C*p*p).
    """
    return F.unfold(images, kernel_size=patch_size, stride=patch_size).transpose(1, 2)


def unpatchify(patches: Tensor, patch_size: int, channels: int = 1) -> Tensor:
    """Put the patches of square images together again: the inverse of `patchify`.

    (B, L, C*p*p) with L a square number -> (B, C, H, W).
    """
    size = round(patches.shape[1] ** 0.5) * patch_size
    assert patches.shape[2] == channels * patch_size**2
    return F.fold(patches.transpose(1, 2), (size, size), patch_size, stride=patch_size)


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Pick tokens by index: (B, N, D), (B, K) -> (B, K, D)."""
    return torch.gather(tokens, 1, indices.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def repeat_mask(mask: Tensor, scale: int) -> Tensor:
    """Repeat each value of a mask over the s x s finer patches of the same area.

    (B, L) with L = n * n -> (B, s*s*L).
    """
    grid = mask.unflatten(1, (round(mask.shape[1] ** 0.5), -1))  # (B, L) -> (B, n, n)
    fine = grid.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return fine.flatten(1)  # (B, s*n, s*n) -> (B, s*s*L)


def sincos_2d(dim: int, side: int, prefix_tokens: int = 0, step: int = 1) -> Tensor:
    """Fixed 2-D sine-cosine position embedding of a square grid (He et al., 2022).

    Half of the channels encode the column, half the row; frequencies are
    10000^(-i / (dim / 4)), sines before cosines.

    Args:
        dim: D, a multiple of 4.
        side: n, patches along each side.
        prefix_tokens: Rows of zeros put before the grid, one per CLS token.
        step: How many times coarser than the grid of the coordinates this one is; a patch of a
            coarse grid stands at the center of the fine ones that cover the same area.

    Returns:
        (1, prefix_tokens + n * n, D) float32.
    """
    if dim % 4:
        raise ValueError(f"dim ({dim}) must be a multiple of 4")
    omega = 10_000 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    places = (torch.arange(side, dtype=torch.float64) + 0.5) * step - 0.5
    angles = places.outer(omega)  # (n, D/4)
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # (n, D/2)
    columns, rows = axis.repeat(side, 1), axis.repeat_interleave(side, dim=0)
    grid = torch.cat([columns, rows], dim=1)  # (n*n, D)
    return F.pad(grid, (0, 0, prefix_tokens, 0)).float().unsqueeze(0)
