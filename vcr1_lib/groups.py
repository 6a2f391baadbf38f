"""One video, G answers: encode once, prefill once, score in one shared-prefix forward.

A group is one packed row, ``[prompt | answer 1 | ... | answer G]``. Each answer sees the
prompt and itself; its rotary positions continue from the prompt's last token, as they
would in a row of its own. So a 4,000-token video is paid for once, not G times, in the
vision tower, in the prefill, in every decoding step and in the training pass.

Notation: ``B`` prompts (one group each), ``P`` prompt tokens (padded on the left),
``G`` answers a prompt, ``R`` answer tokens (padded on the right), ``V`` vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from vcr1_lib.models import base_model, family_of

GREEDY = 0.0


class Prompts(NamedTuple):
    """A batch of video prompts, ready for the model.

    Attributes:
        input_ids: ``(B, P)``, padded on the left.
        attention_mask: ``(B, P)``, 1 where there is a token.
        position_ids: ``(B, P)`` or ``(3, B, P)``, the model's own rotary positions.
        vision: Keyword arguments of ``forward`` that carry the video: encoded features,
            or pixels where the vision tower is trained.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    vision: dict[str, Any]


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


class Packed(NamedTuple):
    """Groups laid out as rows of ``L = P + S`` tokens, ``S`` the longest row of answers.

    Attributes:
        input_ids: ``(B, L)``.
        attention_mask: ``(B, 1, L, L)``, true where the query row may see the key column.
        position_ids: ``(B, L)`` or ``(3, B, L)``.
        source: ``(B, G, R)``, for each answer token the index of the logits that predict it,
            counted from the prompt's last token.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    source: Tensor


def encode_prompts(model: nn.Module, batch: dict[str, Any]) -> Prompts:
    """Run the vision tower once and fix the positions.

    Args:
        model: A model of a known family.
        batch: What :func:`vcr1_lib.models.collate_prompts` returns.
    """
    family = family_of(model)
    pixels = {key: batch[key] for key in family.pixel_keys if key in batch}
    features = family.encode(model, pixels)
    return with_pixels(model, batch)._replace(vision={"mm_encoder_outputs": features})


def with_pixels(model: nn.Module, batch: dict[str, Any]) -> Prompts:
    """Like :func:`encode_prompts`, but leave the pixels to be encoded inside ``forward``.

    For a vision tower that is trained: the forward that scores the answers then also
    builds the tower's gradient.
    """
    family = family_of(model)
    pixels = {key: batch[key] for key in family.pixel_keys if key in batch}
    positions = family.positions(model, batch)
    return Prompts(batch["input_ids"], batch["attention_mask"], positions, pixels)


def pack(prompts: Prompts, tokens: Tensor, mask: Tensor) -> Packed:
    """Lay out each prompt with its answers as one row.

    Args:
        prompts: ``B`` prompts.
        tokens: ``(B, G, R)`` answer tokens.
        mask: ``(B, G, R)``, true on a prefix of each answer.
    """
    batch, group, length = tokens.shape
    device = tokens.device
    lengths = mask.sum(-1)
    ends = lengths.flatten(1).cumsum(1)
    columns = (ends - lengths)[..., None] + torch.arange(length, device=device)
    width = max(int(ends[:, -1].max()), 1)

    row, answer, step = mask.nonzero(as_tuple=True)
    at = (row, columns[mask])
    ids = prompts.input_ids.new_full((batch, width), int(prompts.input_ids[0, -1]))
    owner = torch.full((batch, width), -1, device=device)
    offset = torch.zeros((batch, width), dtype=torch.long, device=device)
    ids[at], owner[at], offset[at] = tokens[mask], answer + 1, step

    # Owner 0 is the prompt, 1..G the answers, -1 padding.
    owner = torch.cat([prompts.attention_mask.long() - 1, owner], dim=1)
    first = prompts.position_ids[..., -1:] + 1
    source = torch.where(torch.arange(length, device=device) == 0, 0, columns)
    return Packed(
        torch.cat([prompts.input_ids, ids], dim=1),
        _visible(owner),
        torch.cat([prompts.position_ids, first + offset], dim=-1),
        torch.where(mask, source, 0),
    )


def _visible(owner: Tensor) -> Tensor:
    """Turn owners ``(B, L)`` into the mask ``(B, 1, L, L)``: the prompt, and one's own past."""
    query, key = owner[:, :, None], owner[:, None, :]
    column = torch.arange(owner.shape[1], device=owner.device)
    past = column[:, None] >= column
    shared = (key == 0) | (key == query)
    # A padding row sees itself, since a softmax over nothing is NaN.
    itself = column[:, None] == column
    return ((shared & past & (key >= 0)) | itself)[:, None]


def _attention_mask(model: nn.Module, visible: Tensor) -> Tensor:
    """Return the mask in the form the model's attention takes.

    Raises:
        ValueError: If the attention implementation cannot take a 4-D mask.
    """
    kind = base_model(model).config._attn_implementation
    if kind == "sdpa":
        return visible
    if kind == "eager":
        dtype = next(model.parameters()).dtype
        return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    raise ValueError(
        f"a shared prefix needs attn_implementation 'sdpa' or 'eager', this model uses {kind!r}; "
        "load it with attn_implementation='sdpa'"
    )


def token_logps(logits: Tensor, *, temperature: float, banned: Tensor | None = None) -> Tensor:
    """Normalise logits ``(..., V)`` to the distribution that answers are sampled from.

    Args:
        logits: Raw scores.
        temperature: Above 0; 0 (greedy) is read as 1.
        banned: ``(V,)``, true for tokens that are never sampled.
    """
    scores = logits.float() / (temperature or 1.0)
    if banned is not None:
        scores = scores.masked_fill(banned, float("-inf"))
    return scores.log_softmax(-1)


def score_groups(
    model: nn.Module,
    prompts: Prompts,
    tokens: Tensor,
    mask: Tensor,
    *,
    temperature: float = 1.0,
    banned: Tensor | None = None,
) -> Tensor:
    """Return each answer token's log-probability, all of a group in one forward.

    Args:
        model: The policy; gradients flow if they are enabled.
        prompts: ``B`` prompts.
        tokens: ``(B, G, R)`` answers.
        mask: ``(B, G, R)``, true where there is a token.
        temperature: The temperature the answers were sampled at.
        banned: ``(V,)`` tokens that sampling never takes.

    Returns:
        ``(B, G, R)`` log-probabilities, 0 where ``mask`` is false.
    """
    packed = pack(prompts, tokens, mask)
    kept = packed.input_ids.shape[1] - prompts.input_ids.shape[1] + 1
    logits = model(
        input_ids=packed.input_ids,
        attention_mask=_attention_mask(model, packed.attention_mask),
        position_ids=packed.position_ids,
        logits_to_keep=kept,
        use_cache=False,
        **prompts.vision,
    ).logits
    logps = token_logps(logits, temperature=temperature, banned=banned)
    row = torch.arange(len(tokens), device=tokens.device)[:, None, None]
    return logps[row, packed.source, tokens.clamp(min=0)].where(mask, logps.new_zeros(()))


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
    logits = model(**inputs, use_cache=False).logits[:, -length - 1 : -1]
    logps = token_logps(logits, temperature=temperature, banned=banned)
    chosen = logps.gather(-1, tokens[0, ..., None])[None, ..., 0]
    return chosen.where(mask, chosen.new_zeros(()))


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
    """
    batch, group, limit = noise.shape
    device = prompts.input_ids.device
    cache = DynamicCache()
    prompt_owner = prompts.attention_mask.long() - 1
    logits = model(
        input_ids=prompts.input_ids,
        attention_mask=_attention_mask(model, _visible(prompt_owner)),
        position_ids=prompts.position_ids,
        past_key_values=cache,
        logits_to_keep=1,
        **prompts.vision,
    ).logits.expand(batch, group, -1)

    seen = (prompt_owner == 0)[:, None, None, :].expand(batch, 1, group, -1)
    own = torch.eye(group, dtype=torch.bool, device=device).expand(batch, 1, group, group)
    position = prompts.position_ids[..., -1:] + 1
    alive = torch.ones(batch, group, dtype=torch.bool, device=device)
    tokens, logps, masks = [], [], []
    for step in range(limit):
        scores = token_logps(logits, temperature=temperature, banned=banned)
        token = _choose(scores, noise[..., step].to(device), temperature)
        tokens.append(token.where(alive, torch.full_like(token, eos_token_id)))
        logps.append(scores.gather(-1, token[..., None])[..., 0] * alive)
        masks.append(alive)
        alive = alive & (token != eos_token_id)
        if not alive.any() or step == limit - 1:
            break
        seen = torch.cat([seen, own], dim=-1)
        logits = model(
            input_ids=tokens[-1],
            attention_mask=_attention_mask(model, seen),
            position_ids=position.expand(*position.shape[:-1], group) + step,
            past_key_values=cache,
        ).logits
    return Answers(
        torch.stack(tokens, -1), torch.stack(masks, -1), torch.stack(logps, -1), ~alive
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
