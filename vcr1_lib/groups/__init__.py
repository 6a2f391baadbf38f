"""One video, G answers: encode once, score all of a group in one shared-prefix forward.

A group is one packed row, ``[prompt | answer 1 | ... | answer G]``. Each answer sees the
prompt and itself; its rotary positions continue from the prompt's last token, as they
would in a row of its own. So a 4,000-token video is paid for once, not G times, in the
vision tower, in the prefill, in every decoding step and in the training pass.

Notation: ``B`` prompts (one group each), ``P`` prompt tokens (padded on the left),
``G`` answers per prompt, ``R`` answer tokens (padded on the right), ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vcr1_lib.grpo.logprobs import chunked_logps
from vcr1_lib.models import base_model, family_of
from vcr1_lib.models.sharding import root_gathered
from vcr1_lib.models.shared_attention import model_mask, use_shared_attention

# Scores (tokens x vocabulary) that exist at a time: 64 MB in fp32.
CHUNK_SCORES = 1 << 24


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


class Packed(NamedTuple):
    """Groups laid out as rows of ``L = P + S`` tokens, ``S`` the longest row of answers.

    Attributes:
        input_ids: ``(B, L)``.
        attention_mask: ``(B, 1, 1 + S, L)``, true where the prompt's last token or an answer's
            may see a column. The rows above are causal.
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
    with root_gathered(model):
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


def take(model: nn.Module, prompts: Prompts, rows: list[int]) -> Prompts:
    """Pick some prompts of a batch whose video is already encoded.

    Args:
        model: The model that encoded them.
        prompts: What :func:`encode_prompts` returned.
        rows: Which to keep.
    """
    placeholder = family_of(model).placeholder(model)
    ids = prompts.input_ids
    counts = (ids == placeholder).sum(-1)
    picked = {}

    def pick(clips: Sequence[Tensor]) -> list[Tensor]:
        items = torch.cat(list(clips))
        # One item is one visual token, or one frame of several.
        sizes = (counts // items[0, ..., 0].numel()).tolist()
        return [items.split(sizes)[row] for row in rows]

    for kind, output in prompts.vision["mm_encoder_outputs"].items():
        kept: dict[str, Any] = {"pooler_output": pick(output.pooler_output)}
        if "deepstack_features" in output:
            kept["deepstack_features"] = [pick(level) for level in output.deepstack_features]
        picked[kind] = type(output)(**kept)
    positions = prompts.position_ids[..., rows, :]
    vision = {"mm_encoder_outputs": picked}
    return Prompts(ids[rows], prompts.attention_mask[rows], positions, vision)


def padding_inside(prompts: Prompts) -> Prompts:
    """Move the padding from the left to before each prompt's last token.

    There no token of the prompt sees it in a causal row, so the prompt needs no mask.

    >>> ids = torch.tensor([[0, 0, 7, 8, 9]])
    >>> padding_inside(Prompts(ids, ids > 0, ids, {})).input_ids
    tensor([[7, 8, 0, 0, 9]])
    """
    present = prompts.attention_mask.bool()
    columns = torch.arange(present.shape[1] - 1, device=present.device)
    order = (columns + (~present).sum(-1, keepdim=True)) % max(len(columns), 1)
    order = nn.functional.pad(order, (0, 1), value=len(columns))
    positions = prompts.position_ids
    return Prompts(
        prompts.input_ids.gather(-1, order),
        prompts.attention_mask.gather(-1, order),
        positions.gather(-1, order.expand_as(positions)),
        prompts.vision,
    )


def pack(prompts: Prompts, tokens: Tensor, mask: Tensor) -> Packed:
    """Lay out each prompt with its answers as one row.

    Args:
        prompts: ``B`` prompts.
        tokens: ``(B, G, R)`` answer tokens.
        mask: ``(B, G, R)``, true on a prefix of each answer.
    """
    prompts = padding_inside(prompts)
    batch, _, length = tokens.shape
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
        visible(owner, rows=width + 1),
        torch.cat([prompts.position_ids, first + offset], dim=-1),
        torch.where(mask, source, 0),
    )


def visible(owner: Tensor, *, rows: int | None = None) -> Tensor:
    """Turn owners ``(B, L)`` into who sees whom: the prompt, and one's own past.

    Args:
        owner: 0 for the prompt's tokens, 1 to G for the answers', -1 for padding.
        rows: How many of the last rows to return; all by default.

    Returns:
        ``(B, 1, rows, L)``, true where a row may see a column.
    """
    total = owner.shape[1]
    rows = total if rows is None else rows
    column = torch.arange(total, device=owner.device)
    row = column[total - rows :, None]
    query, key = owner[:, total - rows :, None], owner[:, None, :]
    shared = (key == 0) | (key == query)
    # A padding row sees itself, since a softmax over nothing is NaN.
    return ((shared & (row >= column) & (key >= 0)) | (row == column))[:, None]


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
    loss_slope: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return each answer token's log-probability, all of a group in one forward.

    Args:
        model: The policy; gradients flow if they are enabled.
        prompts: ``B`` prompts.
        tokens: ``(B, G, R)`` answers.
        mask: ``(B, G, R)``, true where there is a token.
        temperature: The temperature the answers were sampled at.
        banned: ``(V,)`` tokens that sampling never takes.
        loss_slope: As :func:`vcr1_lib.grpo.logprobs.chunked_logps` takes it, for ``(B, G, R)``.

    Returns:
        ``(B, G, R)`` log-probabilities, 0 where ``mask`` is false.
    """
    use_shared_attention(model)
    packed = pack(prompts, tokens, mask)
    above = prompts.input_ids.shape[1] - 1
    row = torch.arange(len(tokens), device=tokens.device)[:, None, None].expand_as(mask)
    at = (row[mask], packed.source[mask])

    def spread(chosen: Tensor) -> Tensor:
        return chosen.new_zeros(mask.shape).masked_scatter(mask, chosen)

    def score(hidden: Tensor, head: nn.Linear) -> Tensor:
        chosen = chunked_logps(
            hidden[at],
            head.weight,
            tokens[mask],
            bias=head.bias,
            temperature=temperature,
            banned=banned,
            chunk_tokens=max(1, CHUNK_SCORES // len(head.weight)),
            loss_slope=loss_slope and (lambda chosen: loss_slope(spread(chosen))[mask]),
        ).logps
        return spread(chosen)

    inputs = {
        "input_ids": packed.input_ids,
        "attention_mask": model_mask(model, packed.attention_mask, above=above),
        "position_ids": packed.position_ids,
        "logits_to_keep": packed.input_ids.shape[1] - above,
        "use_cache": False,
        **prompts.vision,
    }
    head = base_model(model).get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight.is_floating_point():
        with _head_replaced(head, score):
            return model(**inputs).logits
    # An adapted or quantised head has no plain weight to walk over.
    logps = token_logps(model(**inputs).logits, temperature=temperature, banned=banned)
    return spread(logps[(*at, tokens[mask])])


@contextmanager
def _head_replaced(head: nn.Linear, score: Callable[[Tensor, nn.Linear], Tensor]) -> Iterator[None]:
    """Let the output head score chosen tokens, inside the model's own ``forward``.

    That is where wrappers such as FSDP have the head's weight in one piece.
    """
    own = vars(head).get("forward")
    head.forward = lambda hidden: score(hidden, head)  # type: ignore
    try:
        yield
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own  # type: ignore
