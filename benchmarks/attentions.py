"""Other ways to attend in a packed row, to measure beside ``vcr1_lib.models.shared_attention``.

- ``shared``: the library's own, causal above and a mask for the last rows;
- ``dense``: one mask over all rows, one call of scaled-dot-product attention;
- ``flex``: FlexAttention, which skips empty blocks of the same mask; compiled on CUDA.

On a CPU all three give the same log-probabilities; on CUDA none has run yet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface

from vcr1_lib.models.shared_attention import NAME, shared_prefix_attention

_sdpa = AttentionInterface()["sdpa"]
compiled_flex = torch.compile(flex_attention)


def dense(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
    above = 0 if mask is None else query.shape[2] - mask.shape[2]
    if above:
        causal = mask.new_ones(above, mask.shape[-1]).tril().expand(len(mask), 1, -1, -1)
        mask = torch.cat([causal, mask], dim=2)
    return _sdpa(module, query, key, value, mask, **options)


@lru_cache(maxsize=1)  # the layers of one forward share their mask
def blocks(mask: Tensor, above: int) -> BlockMask:
    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        listed = mask[row, 0, (query - above).clamp(min=0), key]
        return torch.where(query < above, query >= key, listed)

    rows, total = above + mask.shape[2], mask.shape[3]
    return create_block_mask(sees, len(mask), None, rows, total, device=str(mask.device))


def flex(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
    above = 0 if mask is None else query.shape[2] - mask.shape[2]
    if above == 0:
        return _sdpa(module, query, key, value, mask, **options)
    attend: Any = compiled_flex if query.is_cuda else flex_attention
    choices = {"scale": options.get("scaling"), "enable_gqa": True}
    out = attend(query, key, value, block_mask=blocks(mask, above), **choices)
    return out.transpose(1, 2).contiguous(), None


WAYS: dict[str, Callable[..., Any]] = {
    "shared": shared_prefix_attention, "dense": dense, "flex": flex,
}  # fmt: skip


def use(way: str) -> None:
    """Let packed rows attend this way from now on."""
    AttentionInterface.register(NAME, WAYS[way])
