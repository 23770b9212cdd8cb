"""Cross-attention: queries from one set of tokens, keys and values from another.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762. With Q queries and M
memory tokens it costs O(Q M) time; the fused kernel never keeps the Q x M matrix.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Multi-head attention on a memory, with timm's names: ``q``, ``kv``, ``proj``.

    Args:
        dim: Width of all tokens, D.
        heads: H, a divisor of D.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Read the memory.

        Args:
            x: (B, Q, D) tokens that ask.
            memory: (B, M, D) tokens that are read.

        Returns:
            (B, Q, D).
        """
        q, k, v = (self._split(part) for part in (self.q(x), *self.kv(memory).chunk(2, dim=-1)))
        x = F.scaled_dot_product_attention(q, k, v)  # (B, H, Q, D/H)
        return self.proj(x.transpose(1, 2).flatten(2))  # -> (B, Q, D)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)  # -> (B, H, N, D/H)
