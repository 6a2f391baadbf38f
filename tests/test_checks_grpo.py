"""Answers to notebook 03's exercises: right ones, and wrong ones with what they are told."""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from pathlib import Path
from statistics import mean, pstdev, stdev
from typing import Any

import numpy as np
import torch

from vcr1_lib import grpo
from vcr1_lib.grpo import kl

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "03_grpo_from_scratch.ipynb"


def by_library(rewards: list[float]) -> Any:
    return grpo.group_advantages(torch.tensor([rewards], dtype=torch.float64))[0]


def in_numpy(rewards: list[float]) -> Any:
    values = np.array(rewards)
    if (values == values[0]).all():
        return values * 0
    return (values - values.mean()) / (values.std(ddof=1) + 1e-4)


def centred(rewards: list[float]) -> list[float]:
    return [reward - mean(rewards) for reward in rewards]


def biased(rewards: list[float]) -> list[float]:
    return [c / (pstdev(rewards) + 1e-4) for c in centred(rewards)]


def without_epsilon(rewards: list[float]) -> list[float]:
    return [c / (stdev(rewards) or 1) for c in centred(rewards)]


def with_rounding(rewards: list[float]) -> list[float]:
    middle = sum(rewards) / len(rewards)
    return [(reward - middle) / (stdev(rewards) + 1e-4) for reward in rewards]


def lonely(rewards: list[float]) -> Any:
    return in_numpy(rewards) if len(rewards) > 1 else rewards


def clip(ratio: float, low: float = 0.8, high: float = 1.2) -> float:
    return max(low, min(high, ratio))


def clipped_by_library(ratio: float, advantage: float) -> float:
    logps = torch.tensor([[[ratio]]], dtype=torch.float64).log()
    pair = logps, torch.tensor([[advantage]], dtype=torch.float64)
    out = grpo.grpo_loss(*pair, torch.ones(1, 1, 1), old_logps=torch.zeros_like(logps))
    return -out.loss.item()


def clipped_by_cases(ratio: float, advantage: float) -> float:
    return advantage * (min(ratio, 1.2) if advantage > 0 else max(ratio, 0.8))


def sees(query: int, key: int, owner: Any) -> bool:
    return query == key or (key < query and owner[key] in {0, owner[query]} - {-1})


def sees_and_padding_reads(query: int, key: int, owner: Any) -> bool:
    return key <= query and (owner[key] == 0 or owner[key] == owner[query])


Answers = list[tuple[Callable[..., Any], str]]
RIGHT: dict[str, list[Callable[..., Any]]] = {
    "group_advantages": [by_library, in_numpy],
    "clipped_objective": [clipped_by_library, clipped_by_cases],
    "kl_k3": [
        lambda logp, ref: kl.kl_k3(torch.tensor(logp).double(), torch.tensor(ref).double()),
        lambda logp, ref: exp(ref - logp) + logp - ref - 1,
    ],
    "may_see": [sees, sees_and_padding_reads],
}
WRONG: dict[str, Answers] = {
    "group_advantages": [
        (centred, "divide by std"),
        (lambda rewards: [r / (stdev(rewards) + 1e-4) for r in rewards], "centre"),
        (biased, "centre on the group's mean"),
        (lambda r: biased(r) if len(r) > 2 else in_numpy(r), "over G - 1"),
        (without_epsilon, "add 1e-4"),
        (with_rounding, "exactly 0"),
        (lonely, "without siblings"),
    ],
    "clipped_objective": [
        (lambda ratio, advantage: -ratio * advantage, "the objective is the advantage"),
        (lambda ratio, advantage: ratio * advantage, "capped at 1.2"),
        (lambda ratio, advantage: clip(ratio) * advantage, "take the smaller product"),
        (
            lambda ratio, advantage: max(ratio * advantage, clip(ratio) * advantage),
            "capped at 1.2",
        ),
        (lambda ratio, advantage: min(ratio, 1.2) * advantage, "held at 0.8"),
        (lambda ratio, advantage: clip(ratio, 1, 1) * advantage, "passes as it is"),
    ],
    "kl_k3": [
        (lambda logp, ref: exp(ref - logp) - (ref - logp), "subtract 1"),
        (lambda logp, ref: exp(logp - ref) - (logp - ref) - 1, "reference minus policy"),
        (lambda logp, ref: logp - ref, "here +1"),
        (lambda logp, ref: max(0, exp(ref - logp) - 2), "here -1"),
    ],
    "may_see": [
        (lambda query, key, owner: key <= query, "a sibling"),
        (lambda query, key, owner: owner[key] in (0, owner[query]), "the future"),
        (lambda query, key, owner: key <= query and owner[key] == owner[query], "the prompt"),
        (lambda query, key, owner: key < query and sees(query, key, owner), "itself"),
        (lambda query, key, owner: key <= query and owner[key] == 0, "own past"),
        (
            lambda query, key, owner: owner[query] == -1 or sees(query, key, owner),
            "padding sees nothing",
        ),
    ],
}
