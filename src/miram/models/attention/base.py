"""What every attention shares: its projections, and tokens on their 2-D grid.

Tokens are the prefix (CLS, registers), then the h·w patches row by row. Letters: B batch, H heads,
N tokens (prefix included), T = h·w grid tokens, D width of a head.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError

GridSize = tuple[int, int]


class TokenGrid(NamedTuple):
    """Where N tokens lie: P prefix tokens (1 with a CLS token), then a grid of ``size`` (h, w)."""

    prefix: int
    size: GridSize

    @property
    def num_tokens(self) -> int:
        """N = P + h·w."""
        return self.prefix + self.size[0] * self.size[1]

    def require(self, num_tokens: int) -> None:
        """Check that a sequence is the prefix followed by the whole grid.

        Raises:
            MiramError: if ``num_tokens`` is another number than N.
        """
        if num_tokens != self.num_tokens:
            raise MiramError(
                f"{num_tokens} tokens are not {self.prefix} prefix tokens and a grid of "
                f"{self.size[0]} x {self.size[1]}: give the attention the grid_size and "
                "num_prefix_tokens of its input, and all tokens of the grid (this attention "
                "cannot run on visible tokens only)"
            )


class MultiHeadAttention(nn.Module, ABC):
    """Self-attention whose mixing of tokens is left to a subclass.

    A drop-in for timm's ``Attention``: same constructor arguments, same ``qkv`` and ``proj`` (and
    ``q_norm``, ``k_norm``, ``norm``) parameters, same ``forward``, so that any subclass can be the
    ``attn_layer`` of ``timm.models.vision_transformer.Block``. A subclass supplies :meth:`attend`.

    Beside timm's arguments it takes ``config``, the settings of the attention; ``grid``, where the
    tokens lie; ``kv_heads``, H or 1 (then shared by all query heads); ``share_kv``, whether the
    values are the keys. ``attn_drop`` must be 0: most attentions here have no N x N matrix to drop
    entries from.

    Attributes:
        needs_grid: Whether a token is mixed by its place, so that the input must be the prefix and
            the whole grid; if not, any number of tokens will do, such as the visible ones.

    Raises:
        MiramError: if ``dim`` is no multiple of ``num_heads``, or ``attn_drop`` is not 0.
    """

    needs_grid: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        scale_norm: bool = False,
        proj_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_layer: type[nn.Module] = nn.LayerNorm,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        config: Any,
        grid: TokenGrid,
        kv_heads: int | None = None,
        share_kv: bool = False,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise MiramError(f"dim {dim} is no multiple of num_heads {num_heads}: change either")
        if attn_drop:
            raise MiramError(f"attn_drop is {attn_drop}: use proj_drop, the attentions have none")
        self.config = config
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.kv_heads = kv_heads or num_heads
        self.share_kv = share_kv
        self.grid = grid

        dd: dict[str, Any] = {"device": device, "dtype": dtype}
        kv_dim = self.kv_heads * self.head_dim
        self.qkv = nn.Linear(dim, dim + kv_dim * (1 if share_kv else 2), bias=qkv_bias, **dd)
        self.q_norm = norm_layer(self.head_dim, **dd) if qk_norm else nn.Identity()
        self.k_norm = norm_layer(self.head_dim, **dd) if qk_norm else nn.Identity()
        self.norm = norm_layer(dim, **dd) if scale_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim, bias=proj_bias, **dd)
        self.proj_drop = nn.Dropout(proj_drop)

    @abstractmethod
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mix the values: q (B, H, N, D), k and v (B, kv_heads, N, D) -> (B, H, N, D)."""

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Project to heads, attend, merge the heads: (B, N, C) -> (B, N, C).

        timm's ``Block`` passes ``attn_mask`` and ``is_causal``; both are refused.
        """
        if attn_mask is not None or is_causal:
            raise MiramError(f"{type(self).__name__} takes no mask: give it whole images")
        if self.needs_grid:
            self.grid.require(x.shape[1])
        q, k, v = self.split_heads(self.qkv(x))
        x = self.attend(q, k, v).transpose(1, 2).flatten(2)  # (B, H, N, D) -> (B, N, C)
        return self.proj_drop(self.proj(self.norm(x)))

    def split_heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the joint projection (B, N, C + 2 * kv_heads * D) into q, k and v by head."""
        heads = qkv.unflatten(2, (-1, self.head_dim)).transpose(1, 2)  # -> (B, heads, N, D)
        # Not by slices: the backward pass would fill and add an array of zeros for each.
        q, k, *rest = heads.split([self.num_heads, *[self.kv_heads] * (2 - self.share_kv)], dim=1)
        return self.q_norm(q), self.k_norm(k), rest[0] if rest else k


class AttentionConfig(Config, ABC):
    """Settings of an attention, told apart by ``kind``.

    Attributes:
        module: The class of the layers that these settings make.
        untrained: Settings with which it approximates softmax before anything is learned.
    """

    module: ClassVar[type[MultiHeadAttention]]
    untrained: ClassVar[dict[str, Any]] = {}

    kind: str

    def layer(self, num_prefix_tokens: int, grid_size: GridSize) -> type[nn.Module]:
        """What to pass as ``attn_layer`` to timm's ``Block``."""
        return bind(self.module, config=self, grid=TokenGrid(num_prefix_tokens, grid_size))


def bind(layer: type[MultiHeadAttention], **arguments: Any) -> type[nn.Module]:
    """Fix some arguments of an attention: ``functools.partial`` for timm's ``attn_layer``.

    timm calls ``issubclass`` on the ``attn_layer`` it is given, which a ``functools.partial`` does
    not survive. What is returned is a class, and calling it makes a plain ``layer`` (not a subclass
    of it), so that models can be pickled and copied.
    """
    make: Callable[..., MultiHeadAttention] = functools.partial(layer, **arguments)

    def new(_: type, *args: Any, **kwargs: Any) -> MultiHeadAttention:
        return make(*args, **kwargs)

    return type(layer.__name__, (layer,), {"__new__": new, "__doc__": layer.__doc__})


def to_image(x: Tensor, grid: TokenGrid) -> Tensor:
    """Lay the grid tokens of all heads out as an image: (B, H, N, D) -> (B, H*D, h, w)."""
    grid.require(x.shape[2])
    x = x[:, :, grid.prefix :].transpose(2, 3)  # (B, H, N, D) -> (B, H, D, T)
    return x.flatten(1, 2).unflatten(2, grid.size)  # -> (B, H*D, h, w)


def from_image(image: Tensor, grid: TokenGrid, num_heads: int) -> Tensor:
    """Undo :func:`to_image`, (B, H*D, h, w) -> (B, H, N, D); the prefix tokens are zeros."""
    x = image.flatten(2).unflatten(1, (num_heads, -1))  # (B, H*D, h, w) -> (B, H, D, T)
    return F.pad(x.transpose(2, 3), (0, 0, grid.prefix, 0))  # -> (B, H, N, D)


def no_autocast(x: Tensor) -> torch.autocast:
    """Context in which autocast is off on the device of ``x``, be it a CPU or a GPU."""
    return torch.autocast(x.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Cast half precision to float32; leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def kernel_attention(phi_q: Tensor, phi_k: Tensor, v: Tensor, floor: float) -> Tensor:
    """φ(q) (φ(k)ᵀ v) / max(φ(q) Σ φ(k), floor), from features of queries and keys.

    φ(q) (B, H, N, m), φ(k) (B, H, M, m) and v (B, H, M, D) -> (B, H, N, D).
    """
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1)  # (B, H, M, D + 1)
    out = phi_q @ (phi_k.mT @ v)  # the added column becomes the denominator
    return out[..., :-1] / out[..., -1:].clamp_min(floor)
