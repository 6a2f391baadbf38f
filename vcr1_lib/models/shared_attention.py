"""Attention in a packed row, without a mask over the prompt.

Most of a packed row is its prompt, and the prompt's tokens attend as in any causal row. A
mask as long as the row is wide would make the kernel compute what causality forbids, and
hide from it that flash attention will do. So the mask covers the last rows alone, and
attention runs twice: causally among the rows above, then the last rows on everything.

With 2,000 prompt tokens and 256 of answers that is half the work, a ninth of the mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from vcr1_lib.models import base_model

NAME = "shared_prefix"
_sdpa = AttentionInterface()["sdpa"]


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend as Transformers' ``"sdpa"``; rows above those of the mask are causal.

    Args:
        module: The attention layer.
        query: ``(B, heads, Q, D)``.
        key: ``(B, key heads, L, D)``.
        value: ``(B, key heads, L, D)``.
        attention_mask: ``(B, 1, T, L)``, what the last ``T`` of ``Q`` rows see. ``None`` or
            ``T = Q`` is plain ``"sdpa"``.
        **options: As any attention function takes them.

    Returns:
        ``(B, Q, heads, D)``, and no weights.
    """
    above = 0 if attention_mask is None else query.shape[2] - attention_mask.shape[2]
    if above == 0:
        out: tuple[Tensor, None] = _sdpa(module, query, key, value, attention_mask, **options)
        return out
    head, tail = query[:, :, :above], query[:, :, above:]
    causal, _ = _sdpa(module, head, key[:, :, :above], value[:, :, :above], None, **options)
    masked, _ = _sdpa(module, tail, key, value, attention_mask, **options)
    return torch.cat([causal, masked], dim=1), None


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, AttentionMaskInterface()["sdpa"])


def use_shared_attention(model: nn.Module) -> None:
    """Let a model's language layers take masks of a row's last tokens.

    The vision tower keeps its attention, and any other mask is treated as before, so the
    model stays this way: a checkpointed layer runs again long after ``forward`` returned.

    Raises:
        ValueError: If the model uses neither ``"sdpa"`` nor ``"eager"``.
    """
    inner = base_model(model)
    kind = inner.config.get_text_config()._attn_implementation
    if kind == "sdpa":
        inner.set_attn_implementation({"text_config": NAME})
    elif kind not in (NAME, "eager"):
        raise ValueError(
            f"a shared prefix needs attn_implementation 'sdpa' or 'eager', this model uses "
            f"{kind!r}; load it with attn_implementation='sdpa'"
        )


def model_mask(model: nn.Module, seen: Tensor, *, above: int = 0) -> Tensor:
    """Return a mask in the form that the model's attention takes.

    Args:
        model: A model prepared by :func:`use_shared_attention`.
        seen: ``(B, 1, T, L)``, true where one of the last ``T`` rows may see a column.
        above: Rows before those, which are causal.
    """
    if base_model(model).config.get_text_config()._attn_implementation != "eager":
        return seen
    causal = seen.new_ones(above, seen.shape[-1]).tril().expand(len(seen), 1, -1, -1)
    seen = torch.cat([causal, seen], dim=2)
    dtype = next(model.parameters()).dtype
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
