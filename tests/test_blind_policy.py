"""A policy that never looks finds what a reward pays for nothing, by real group advantages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib import grpo
from vcr1_lib.overlap import interval_iou
from vcr1_lib.rewards import PRESETS, format_reward, interval_set_iou_reward, temporal_iou_reward
from vcr1_lib.rewards.bench import NUM_TRUTHS, blind_payoffs, blind_score
from vcr1_lib.rewards.blind_policy import (
    BlindGame,
    blind_game,
    group_advantages,
    train_blind_policy,
)
from vcr1_lib.rewards.cases import blind_answers, draw_truths

WHEN = "temporal_grounding"


@given(st.lists(st.lists(st.floats(0, 2), min_size=4, max_size=4), min_size=1, max_size=5))
def test_advantages_are_those_of_the_trainer(rewards: list[list[float]]) -> None:
    theirs = grpo.group_advantages(torch.tensor(rewards, dtype=torch.float64))
    np.testing.assert_allclose(group_advantages(np.array(rewards)), theirs, atol=1e-9)
    assert group_advantages(np.array(rewards)[:, :1]).tolist() == [[0.0]] * len(rewards)


@pytest.fixture(scope="module")
def honest() -> BlindGame:
    return blind_game(temporal_iou_reward, WHEN)


def test_a_game_is_the_real_rewards_on_real_strings(honest: BlindGame) -> None:
    num_answers = len(blind_answers(WHEN))
    assert 200 <= num_answers <= 300
    assert honest.payoffs.shape == honest.form.shape == (num_answers, NUM_TRUTHS)
    assert sorted(honest.answers) == sorted(blind_answers(WHEN))
    np.testing.assert_array_equal(honest.payoffs, honest.quality)
    assert (np.diff(honest.quality.mean(1)) >= 0).all()
    rows = draw_truths(WHEN, NUM_TRUTHS, seed=0)
    i = next(i for i, text in enumerate(honest.answers) if ">6 to 24<" in text)
    ious = [interval_iou((6, 24), row["span"]) for row in rows]
    np.testing.assert_allclose(honest.payoffs[i], ious)
    assert honest.form[i].tolist() == format_reward([honest.answers[i]] * NUM_TRUTHS)


def test_no_blind_policy_beats_the_best_answer(honest: BlindGame) -> None:
    run = train_blind_policy(honest.payoffs, honest.quality)
    assert run.best_reward == blind_score(temporal_iou_reward, WHEN).mean_reward
    assert run.reward.max() <= run.best_reward + 1e-9
    assert run.reward[-1] > 0.95 * run.best_reward > run.reward[0] + 0.1
    np.testing.assert_allclose(run.reward, run.quality)
    np.testing.assert_allclose(run.mass.sum(1), 1)
    np.testing.assert_allclose(run.mass[0], 1 / len(honest.answers))


def test_the_seed_decides(honest: BlindGame) -> None:
    first, again, other = (
        train_blind_policy(honest.payoffs, honest.quality, steps=5, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.mass, again.mass)
    assert not np.array_equal(first.mass, other.mass)


def best_of_all_guesses(completions: list[str], span: Any, **columns: Any) -> list[float]:
    paid = []
    for text, truth in zip(completions, span, strict=True):
        found = re.findall(r"(\d{1,3}) to (\d{1,3})\b", text)
        guesses = [(float(start), float(end)) for start, end in found]
        paid.append(max((interval_iou(guess, truth) for guess in guesses), default=0.0))
    return paid


def test_a_hole_is_found_and_the_format_closes_it() -> None:
    game = blind_game(best_of_all_guesses, WHEN)
    hacked = train_blind_policy(game.payoffs, game.quality)
    assert hacked.reward[-1] > 0.5
    assert hacked.quality[-1] < 0.05 < hacked.quality[0]
    assert game.answers[hacked.mass[-1].argmax()].count(" to ") > 10
    guarded = train_blind_policy(game.payoffs + game.form, game.quality)
    assert guarded.quality[-1] > 0.25


def test_equal_rewards_move_nothing() -> None:
    flat = np.ones((4, 3))
    run = train_blind_policy(flat, flat, steps=10)
    np.testing.assert_array_equal(run.mass, np.full((11, 4), 0.25))


def test_one_sure_winner_takes_all() -> None:
    payoffs = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    run = train_blind_policy(payoffs, payoffs)
    assert run.mass[-1].argmax() == 1
    assert run.best_reward == 1.0


def test_what_raises_or_pays_no_number_pays_nothing() -> None:
    def moody(completions: list[str], **columns: Any) -> list[float]:
        if "0 to 2<" in completions[0]:
            raise KeyError("mood")
        return [float("nan") if "0 to 4<" in text else 1.0 for text in completions]

    means = blind_payoffs(moody, WHEN).mean(1)
    silent = [a for a, m in zip(blind_answers(WHEN), means, strict=True) if m == 0]
    assert all(re.search("0 to [24]<", answer) for answer in silent)
    assert set(means) == {0.0, 1.0}


@pytest.mark.parametrize("task", PRESETS)
def test_every_task_can_be_played_blind(task: str) -> None:
    accuracy = PRESETS[task][1][0]
    game = blind_game(accuracy, task)
    np.testing.assert_array_equal(game.payoffs, game.quality)
    assert 0 < train_blind_policy(game.payoffs, game.quality, steps=3).best_reward < 1


def test_truth_in_two_moments_is_two_spans() -> None:
    for row in draw_truths("grounded_qa", 20, seed=0):
        (a, b), (c, d) = row["spans"]
        assert 0 <= a <= b <= c <= d <= 40
    hull = next(text for text in blind_answers("grounded_qa") if "(0, 1), (39, 40)" in text)
    rows = draw_truths("grounded_qa", 5, seed=0)
    paid = interval_set_iou_reward([hull] * 5, [r["spans"] for r in rows], task=["grounded_qa"] * 5)
    assert all(p is not None and p < 0.2 for p in paid)


@pytest.mark.parametrize(
    ("payoffs", "quality", "group"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), 8),
        (np.ones(3), np.ones(3), 8),
        (*[np.ones((2, 2))] * 2, 1),
    ],
)
def test_bad_arguments_are_named(payoffs: Any, quality: Any, group: int) -> None:
    with pytest.raises(ValueError, match="expected two"):
        train_blind_policy(payoffs, quality, group=group)
