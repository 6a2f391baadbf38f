"""The plain way, every answer in a row of its own: the reference, and the way out.

What the shared prefix must equal, and what replaces it on a model where it does not.
Notation as in :mod:`vcr1_lib.groups`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vcr1_lib.groups import Prompts, encode_prompts, score_groups, token_logps
from vcr1_lib.groups.rollout import Answers, sample_groups
from vcr1_lib.models import family_of


def score_rows(
    model: nn.Module,
    batch: dict[str, Any],
    tokens: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    banned: Tensor | None = None,
) -> Tensor:
    """Do what :func:`score_groups` does the plain way: every answer in a row of its own.

    The reference implementation. The video is repeated G times and the model finds its
    own positions, so it shares no code with the packed forward.

    Args:
        batch: One prompt, as :func:`vcr1_lib.models.collate_prompts` returns it.
        tokens: ``(1, G, R)``.
        mask: ``(1, G, R)``.
    """
    family = family_of(model)
    _, group, length = tokens.shape
    inputs = {}
    for key, value in batch.items():
        repeats = [group] + [1] * (value.ndim - 1)
        inputs[key] = value.repeat(repeats)
        if key not in family.pixel_keys:
            extra = {"input_ids": tokens[0], "attention_mask": mask[0].to(value.dtype)}
            tail = extra.get(key, torch.zeros_like(tokens[0]))
            inputs[key] = torch.cat([inputs[key], tail.to(value.dtype)], dim=1)
    if "token_seconds" in inputs:  # times that the model's own rule cannot know
        inputs["position_ids"] = family.positions(model, inputs)
        del inputs["token_seconds"]
    # The prompt's logits are never read, and would be most of the memory.
    logits = model(**inputs, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
    logps = token_logps(logits, temperature=temperature, banned=banned)
    chosen = logps.gather(-1, tokens[0, ..., None])[None, ..., 0]
    return chosen.where(mask, chosen.new_zeros(()))


def sample_rows(
    model: nn.Module, prompts: Sequence[Prompts], *, noise: Tensor, **options: Any
) -> Answers:
    """Do what :func:`sample_groups` does with every answer in a row of its own.

    The slow way, for a model whose attention cannot share a prefix.

    Args:
        model: The policy.
        prompts: ``B`` single prompts.
        noise: ``(B, G, R)``.
        **options: As :func:`sample_groups` takes them.
    """
    batch, group, _ = noise.shape
    alone = [
        sample_groups(model, prompts[i], noise=noise[i : i + 1, g : g + 1], **options)
        for i in range(batch)
        for g in range(group)
    ]
    width = max(answers.tokens.shape[-1] for answers in alone)
    eos = options["eos_token_id"]

    def join(parts: list[Tensor], fill: int) -> Tensor:
        padded = [nn.functional.pad(x[0, 0], (0, width - x.shape[-1]), value=fill) for x in parts]
        return torch.stack(padded).reshape(batch, group, width)

    return Answers(
        join([a.tokens for a in alone], eos),
        join([a.mask for a in alone], 0),
        join([a.logps for a in alone], 0),
        torch.cat([a.finished for a in alone]).reshape(batch, group),
    )


# How far two correct computations of a log-probability drift apart, by precision.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 2.5e-1}


@torch.no_grad()
def shares_prefix_exactly(
    model: nn.Module,
    batch: dict[str, Any],
    tokens: Tensor,
    mask: Tensor,
    sampled_logps: Tensor,
    *,
    temperature: float = 1.0,
    banned: Tensor | None = None,
) -> bool:
    """Tell whether packed decoding and packed scoring agree with separate rows, on this model.

    Args:
        batch: One prompt, as :func:`vcr1_lib.models.collate_prompts` returns it.
        tokens: ``(1, G, R)`` answers to it.
        mask: ``(1, G, R)``.
        sampled_logps: ``(1, G, R)`` log-probabilities that decoding gave them.
        temperature: As in sampling.
        banned: As in sampling.
    """
    options: dict[str, Any] = {"temperature": temperature, "banned": banned}
    # One at a time: the logits of G rows would be the most memory of a whole run.
    pairs = zip(tokens.split(1, dim=1), mask.split(1, dim=1), strict=True)
    plain = torch.cat([score_rows(model, batch, *pair, **options) for pair in pairs], dim=1)
    packed = score_groups(model, encode_prompts(model, batch), tokens, mask, **options)
    gap = torch.stack([packed - plain, sampled_logps - plain]).abs().max()
    return bool(gap <= TOLERANCE[next(model.parameters()).dtype])
