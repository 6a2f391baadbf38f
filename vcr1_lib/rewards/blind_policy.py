"""A policy that never sees the video, trained by GRPO on a reward: what does it learn to say?

``C`` candidate answers, ``T`` questions, ``S`` steps. The policy is one softmax over whole
answers, the same for every question; NumPy is all it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vcr1_lib.rewards import PRESETS
from vcr1_lib.rewards.bench import blind_payoffs
from vcr1_lib.rewards.cases import blind_answers

Floats = NDArray[np.float64]

STD_EPSILON: Final = 1e-4


class BlindGame(NamedTuple):
    """What every candidate earns on every question.

    Attributes:
        answers: ``C`` completions, in order of their mean ``quality``.
        payoffs: ``(C, T)``, what the reward pays.
        form: ``(C, T)``, what :func:`vcr1_lib.rewards.format_reward` pays.
        quality: ``(C, T)``, what the answer is truly worth, such as its IoU.
    """

    answers: list[str]
    payoffs: Floats
    form: Floats
    quality: Floats


class BlindRun(NamedTuple):
    """How a blind policy went.

    Attributes:
        reward: ``(S + 1,)``, expected reward before each step and after the last.
        quality: ``(S + 1,)``, what it is truly worth, such as mIoU.
        mass: ``(S + 1, C)``, probability of each candidate.
        best_reward: What the best fixed answer earns; no blind policy earns more.
    """

    reward: Floats
    quality: Floats
    mass: Floats
    best_reward: float


def blind_game(reward: Callable[..., Any], task: str) -> BlindGame:
    """Score about 250 answers, honest guesses and hacks, on 50 questions of a task.

    Args:
        reward: Any reward with TRL's signature.
        task: A key of :data:`vcr1_lib.rewards.PRESETS`, whose first accuracy reward is taken for
            the true worth.
    """
    (form, _), (worth, _) = PRESETS[task][:2]
    quality, answers = blind_payoffs(worth, task), blind_answers(task)
    order = np.argsort(quality.mean(1), kind="stable")
    return BlindGame(
        [answers[i] for i in order],
        blind_payoffs(reward, task)[order],
        blind_payoffs(form, task)[order],
        quality[order],
    )


def group_advantages(rewards: Floats) -> Floats:
    """Compare each answer with its siblings, as :func:`vcr1_lib.grpo.group_advantages` does.

    Args:
        rewards: ``(T, G)``.

    Returns:
        ``(T, G)``, exactly 0 in a group of equal rewards.

    >>> group_advantages(np.array([[0.0, 1.0], [0.7, 0.7]])).round(3).tolist()
    [[-0.707, 0.707], [0.0, 0.0]]
    """
    centred = rewards - rewards.mean(-1, keepdims=True)
    if rewards.shape[-1] > 1:
        centred = centred / (rewards.std(-1, ddof=1, keepdims=True) + STD_EPSILON)
    return np.where((rewards == rewards[:, :1]).all(-1, keepdims=True), 0.0, centred)


def train_blind_policy(
    payoffs: Floats,
    quality: Floats,
    *,
    steps: int = 200,
    group: int = 8,
    learning_rate: float = 5.0,
    seed: int = 0,
) -> BlindRun:
    r"""Train a softmax over answers by group advantages.

    A step samples ``G`` answers for every question and follows
    :math:`\sum_j A_j \nabla \log\pi(a_j)`; with advantages that add up to 0 that is the sum
    of the advantages on each candidate.

    Args:
        payoffs: ``(C, T)``, reward of each candidate on each question; see
            :func:`vcr1_lib.rewards.bench.blind_payoffs`.
        quality: ``(C, T)``, true worth of the same answers. The policy never sees it.
        steps: Updates.
        group: ``G``, answers sampled for each question.
        learning_rate: Of plain gradient ascent, on the mean over all sampled answers.
        seed: Of the sampling.

    Raises:
        ValueError: If the shapes differ, or ``group`` is less than 2.

    >>> run = train_blind_policy(np.eye(3), np.eye(3), steps=5)
    >>> run.reward.shape, run.mass.shape, round(run.best_reward, 3)
    ((6,), (6, 3), 0.333)
    """
    if payoffs.shape != quality.shape or payoffs.ndim != 2 or group < 2:
        raise ValueError(
            f"expected two (C, T) arrays and group >= 2, got {payoffs.shape}, {quality.shape} "
            f"and {group}"
        )
    rng = np.random.default_rng(seed)
    num_answers, num_truths = payoffs.shape
    questions = np.arange(num_truths)[:, None]
    logits, mass = np.zeros(num_answers), []
    for step in range(steps + 1):
        exps = np.exp(logits - logits.max())
        mass.append(exps / exps.sum())
        if step < steps:
            drawn = rng.choice(num_answers, size=(num_truths, group), p=mass[-1])
            advantages = group_advantages(payoffs[drawn, questions])
            push = np.bincount(drawn.ravel(), advantages.ravel(), minlength=num_answers)
            logits = logits + learning_rate * push / drawn.size
    means = payoffs.mean(1)
    return BlindRun(
        np.array(mass) @ means, np.array(mass) @ quality.mean(1), np.array(mass), float(means.max())
    )
