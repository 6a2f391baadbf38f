"""Questions about a clip told as a time line, for a language model that sees no video."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from vcr1_lib.prompts import render_span
from vcr1_lib.rewards import format_reward, temporal_iou_reward

THINGS = [
    "dog", "rain", "car", "song", "fire", "ball", "boat", "bell", "bird", "train", "cake", "horse",
    "snow", "kite", "lamp", "drum",
]  # fmt: skip
CLIP_SECONDS, SHOTS = 20, 2
RULE = "Answer as <think>what</think><answer>START to END</answer>."


class Question(NamedTuple):
    """A chat that ends with a question, and the span that answers it."""

    messages: list[dict[str, str]]
    span: tuple[int, int]


def ask(draw: random.Random) -> tuple[str, str, tuple[int, int]]:
    """Describe a clip and ask for one of its things: question, thing, span."""
    ends = [0, *sorted(draw.sample(range(1, CLIP_SECONDS), 2)), CLIP_SECONDS]
    things = draw.sample(THINGS, 3)
    spans = list(pairwise(ends))
    line = "; ".join(f"{a} to {b} {t}" for (a, b), t in zip(spans, things, strict=True))
    wanted = draw.randrange(3)
    return f"Seconds {line}. When is the {things[wanted]}?", things[wanted], spans[wanted]


def make_questions(count: int, seed: int) -> list[Question]:
    """Draw questions, each behind answered examples of its own."""
    draw, questions = random.Random(seed), []
    for _ in range(count):
        messages = [{"role": "system", "content": RULE}]
        for _ in range(SHOTS):
            text, thing, span = ask(draw)
            messages.append({"role": "user", "content": text})
            messages.append({"role": "assistant", "content": render_span(*span, thought=thing)})
        text, _, span = ask(draw)
        questions.append(Question([*messages, {"role": "user", "content": text}], span))
    return questions


def pay(texts: list[str], questions: list[Question], copies: int) -> Tensor:
    """Score answers by format and IoU: ``(B, copies, 2)``."""
    spans = [question.span for question in questions for _ in range(copies)]
    gold = {"task": ["temporal_grounding"] * len(texts), "duration": [CLIP_SECONDS] * len(texts)}
    scores = [f(texts, span=spans, **gold) for f in (format_reward, temporal_iou_reward)]
    return torch.tensor(scores).T.reshape(len(questions), copies, 2)
