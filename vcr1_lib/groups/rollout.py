"""Sample G answers a video: one prefill, one cache, seeded noise.

Notation as in :mod:`vcr1_lib.groups`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from vcr1_lib.groups import Prompts, padding_inside, token_logps
from vcr1_lib.models.loading import ModelError
from vcr1_lib.models.sharding import any_process, is_sharded
from vcr1_lib.models.shared_attention import model_mask, use_shared_attention

GREEDY = 0.0


class Answers(NamedTuple):
    """Sampled answers.

    Attributes:
        tokens: ``(B, G, R)`` token ids, the end token included.
        mask: ``(B, G, R)``, true where there is a token.
        logps: ``(B, G, R)`` log-probability of each token under the sampling distribution.
        finished: ``(B, G)``, false where the answer was cut at the length limit.
    """

    tokens: Tensor
    mask: Tensor
    logps: Tensor
    finished: Tensor


def answer_noise(seed: int, step: int, row_ids: list[int], *, group: int, length: int) -> Tensor:
    """Return the uniform numbers that decide every sampled token.

    Each answer's numbers depend on (seed, step, row, answer) alone, so a run does not
    change with the batch split, the number of processes or a restart.

    Returns:
        ``(B, G, R)`` in [0, 1).
    """
    draws = [
        [np.random.default_rng((seed, step, row, answer)).random(length) for answer in range(group)]
        for row in row_ids
    ]
    return torch.from_numpy(np.array(draws))


@torch.no_grad()
def sample_groups(
    model: nn.Module,
    prompts: Prompts,
    *,
    noise: Tensor,
    eos_token_id: int,
    temperature: float = 1.0,
    banned: Tensor | None = None,
    on_token: Callable[[Tensor], None] | None = None,
) -> Answers:
    """Sample G answers a prompt with one prefill and one key-value cache of the prompt.

    The G answers of a group decode as the newest columns of one row: at each step G query
    tokens enter, each sees the prompt and its own earlier tokens. The prompt's cache is
    never copied.

    Args:
        model: The policy.
        prompts: ``B`` prompts.
        noise: ``(B, G, R)`` uniforms in [0, 1), see :func:`answer_noise`; its shape sets the
            number of answers and their longest length.
        eos_token_id: The token that ends an answer.
        temperature: 0 takes the most likely token.
        banned: ``(V,)`` tokens never to take.
        on_token: Called with ``(B, G)`` tokens as soon as they are chosen.

    Raises:
        ModelError: If the model's scores have overflowed.
    """
    batch, group, limit = noise.shape
    device = prompts.input_ids.device
    use_shared_attention(model)
    prompts = padding_inside(prompts)
    seen = prompts.attention_mask.bool()[:, None, None]
    cache = DynamicCache()
    logits = model(
        input_ids=prompts.input_ids,
        attention_mask=model_mask(model, seen, above=seen.shape[-1] - 1),
        position_ids=prompts.position_ids,
        past_key_values=cache,
        logits_to_keep=1,
        **prompts.vision,
    ).logits.expand(batch, group, -1)
    _check_finite(logits)

    seen = seen.expand(batch, 1, group, -1)
    own = torch.eye(group, dtype=torch.bool, device=device).expand(batch, 1, group, group)
    position = prompts.position_ids[..., -1:] + 1
    alive = torch.ones(batch, group, dtype=torch.bool, device=device)
    tokens, logps, masks = [], [], []
    shared_calls = is_sharded(model)
    for step in range(limit):
        scores = token_logps(logits, temperature=temperature, banned=banned)
        token = _choose(scores, noise[..., step].to(device), temperature)
        tokens.append(token.where(alive, torch.full_like(token, eos_token_id)))
        logps.append(scores.gather(-1, token[..., None])[..., 0] * alive)
        masks.append(alive)
        if on_token is not None:
            on_token(tokens[-1])
        alive = alive & (token != eos_token_id)
        going = bool(alive.any())
        if step == limit - 1 or not (any_process(going, device) if shared_calls else going):
            break
        seen = torch.cat([seen, own], dim=-1)
        logits = model(
            input_ids=tokens[-1],
            attention_mask=model_mask(model, seen),
            position_ids=position.expand(*position.shape[:-1], group) + step,
            past_key_values=cache,
        ).logits
    return Answers(torch.stack(tokens, -1), torch.stack(masks, -1), torch.stack(logps, -1), ~alive)


def _check_finite(logits: Tensor) -> None:
    """Name the reason before a GPU names an index that is out of range."""
    if not logits.isfinite().all():
        raise ModelError(
            f"expected finite scores of the first token, got {logits.dtype} ones that are not: in "
            "float16 a model made for bfloat16 can overflow, so load it with dtype='bfloat16', or "
            "'float32' where the GPU has none; if it happened in training, lower learning_rate"
        )


def _choose(logps: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Take the most likely token, or invert the cumulative distribution at ``uniform``."""
    if temperature == GREEDY:
        return logps.argmax(-1)
    cumulative = logps.double().exp().cumsum(-1)
    # The last cumulative value is only nearly 1: scale by it and stay below it.
    total = cumulative[..., -1:]
    target = (uniform.double()[..., None] * total).minimum(total.nextafter(total.new_zeros(())))
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)
