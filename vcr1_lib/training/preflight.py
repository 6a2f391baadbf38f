"""Small checks before a long run; each failure is a sentence and its remedy.

A model that never sees its video, answers scored by another model than the one that gave them, a
marker of the video inside an answer, rewards that pay something else more than the truth: each
trains for hours without an error. Here they take one clip and a few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import BatchFeature
from transformers.utils import logging

from vcr1_lib.groups import Prompts, encode_prompts
from vcr1_lib.groups.policy import GroupPolicy, Rollout
from vcr1_lib.groups.rollout import Answers, answer_noise
from vcr1_lib.metrics.baselines import blind_answers
from vcr1_lib.models import PromptLoader
from vcr1_lib.prompts import render_gold
from vcr1_lib.rewards.panel import RewardPanel
from vcr1_lib.video import blanked, shuffled

logger = logging.get_logger(__name__)

# Rounding makes sampling and scoring differ by less, another model by more.
LARGEST_GAP, LARGEST_GAP_16_BIT = 0.01, 0.5
FEW_TOKENS = 16
ANYWAY = "--preflight false trains it all the same"


class PreflightError(ValueError):
    """Training would run, and learn nothing or the wrong thing; the message says why."""


def check_model(
    model: nn.Module,
    policy: GroupPolicy,
    loader: PromptLoader,
    record: dict[str, Any],
    *,
    num_generations: int,
    seed: int = 0,
) -> None:
    """Answer one question; score the answers on its clip, on a grey one, on shuffled frames.

    Args:
        model: The policy; it is left in training mode.
        policy: How answers are sampled and scored.
        loader: How clips become prompts.
        record: A question of the training data.
        num_generations: ``G``.
        seed: Of the answers.

    Raises:
        PreflightError: If an answer holds a token that is never an answer's; if the model scores
            its answers otherwise than it sampled them, or on a grey clip the same.
    """
    model.eval()
    own = _read(model, policy, loader, record)
    noise = answer_noise(seed, 0, [0], group=num_generations, length=FEW_TOKENS)
    answers = policy.sample(model, own.prompts, own.inputs, noise)
    _check_tokens(answers, policy)
    model.train()
    logps = _score(model, policy, own, answers)
    _check_gap(_furthest(logps, answers.logps, answers), next(model.parameters()).dtype)
    for change in (blanked, shuffled):
        changed = _read(model, policy, _loader_with(loader, change), record)
        if _same(changed.inputs[0], own.inputs[0]):
            if change is blanked and not own.unreadable:
                raise PreflightError(
                    f"the frames of {record['id']!r} are all grey as the model gets them: look at "
                    f"one prompt's frames, and at what changes clips on their way; {ANYWAY}"
                )
            continue  # one frame cannot be shuffled
        gap = _furthest(logps, _score(model, policy, changed, answers), answers)
        if gap == 0 and change is blanked:
            raise PreflightError(
                "the model gives its answers the same probability when every frame is grey: it "
                "does not look. Check that its processor writes the video's tokens into the "
                f"prompt and that its vision tower is loaded (record {record['id']!r}); {ANYWAY}"
            )
        if gap == 0:
            logger.warning(
                "The model gives its answers the same probability with the frames in a random "
                "order: it sees what happens and not when, so it cannot learn to say when."
            )


def check_rewards(
    rewards: RewardPanel, records: Sequence[dict[str, Any]], *, num_generations: int
) -> None:
    """Warn where the rewards pay an empty answer, or one without looking, above the truth.

    Args:
        rewards: The reward functions with their weights.
        records: Training questions; the first of each task is tried.
        num_generations: Answers per group, for rewards that compare siblings.
    """
    for task in dict.fromkeys(record["task"] for record in records):
        record = next(r for r in records if r["task"] == task)
        try:
            truth = render_gold(task, record, thought="I looked.")
        except KeyError:  # rewarded by something else than a truth
            continue
        blind = {name: texts[0] for name, texts in _blind(record).items()}
        paid = {
            name: _paid(rewards, text, record, num_generations)
            for name, text in {"the truth": truth, "an empty answer": "", **blind}.items()
        }
        best = max(paid, key=lambda name: paid[name])
        if paid[best] > paid["the truth"] + 1e-6:
            logger.warning(
                "The rewards pay %s %.2f and the truth %.2f (record %r): a policy will learn the "
                "better paid. Try each reward: python -m vcr1_lib.rewards.bench MODULE:REWARD",
                best,
                paid[best],
                paid["the truth"],
                record["id"],
            )


def _blind(record: dict[str, Any]) -> dict[str, list[str]]:
    return blind_answers([record], train_records=[]) if record["task"] != "caption" else {}


def _paid(rewards: RewardPanel, text: str, record: dict[str, Any], group: int) -> float:
    graded = rewards([text] * group, [record]).rewards
    return float((graded.nan_to_num() * rewards.weights).sum(-1).mean())


class _Asked(NamedTuple):
    """One question: what the processor made of it, with its clip encoded, and why there is none."""

    inputs: list[Any]
    prompts: Prompts
    unreadable: str | None


def _read(
    model: nn.Module, policy: GroupPolicy, loader: PromptLoader, record: dict[str, Any]
) -> _Asked:
    loaded = loader([record])
    inputs = loaded["prompts"]
    batch = policy.collate(inputs, next(model.parameters()).device)
    with torch.no_grad():
        return _Asked(inputs, encode_prompts(model, batch), loaded["unreadable"][0])


def _score(model: nn.Module, policy: GroupPolicy, asked: _Asked, answers: Answers) -> Tensor:
    nothing = torch.zeros_like(answers.mask[..., 0]).float()
    with torch.no_grad():
        return policy.score(
            model, Rollout(asked.inputs, asked.prompts, answers, answers.mask, nothing)
        )


def _furthest(logps: Tensor, others: Tensor, answers: Answers) -> float:
    return float(((logps - others).abs() * answers.mask).max())


def _check_tokens(answers: Answers, policy: GroupPolicy) -> None:
    strange = answers.tokens[answers.mask].unique()
    strange = strange[policy.banned.to(strange.device)[strange]]
    if len(strange):
        names = policy.tokenizer.convert_ids_to_tokens(strange.tolist())
        raise PreflightError(
            f"the model answers with {names}, tokens of a video or of padding, which are banned in "
            "sampling: the rollout does not pass `banned` on; sample with vcr1_lib.groups.rollout"
        )


def _check_gap(gap: float, dtype: torch.dtype) -> None:
    bound = LARGEST_GAP if dtype == torch.float32 else LARGEST_GAP_16_BIT
    if gap > bound:
        raise PreflightError(
            f"answers were sampled with log-probabilities that differ by up to {gap:.3g} from "
            f"those they are trained with, more than {bound} for {dtype}: two different models. "
            f"Dropout does this: set --lora_dropout 0 and the model's own to 0; {ANYWAY}"
        )


def _loader_with(loader: PromptLoader, change: Any) -> PromptLoader:
    return PromptLoader(
        loader.processor,
        fps=loader.fps,
        max_frames=loader.max_frames,
        max_pixels=loader.max_pixels,
        on_error=loader.on_error,
        change_clip=change,
    )


def _same(one: BatchFeature, other: BatchFeature) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)
