"""Checks before training: each sick model and each sick reward is named, a healthy run is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vcr1_lib.datasets import read_charades_sta, read_jsonl
from vcr1_lib.groups.policy import GroupPolicy
from vcr1_lib.models import PromptLoader, banned_tokens, family_of
from vcr1_lib.models.loading import load_model
from vcr1_lib.rewards import PRESETS, format_reward, temporal_iou_reward
from vcr1_lib.rewards.panel import RewardPanel
from vcr1_lib.training.preflight import PreflightError, check_model, check_rewards
from vcr1_lib.video import blanked

SAMPLES = Path(__file__).parents[1] / "data_samples"
CLIPS = SAMPLES / "charades_sta"
RECORD = read_charades_sta(
    CLIPS / "toyworld_sta_train.txt", CLIPS / "toyworld_v1_train.csv", CLIPS / "videos"
)[0]
MANY = list(read_jsonl(SAMPLES / "many_tasks" / "train.jsonl"))


def checked(model: Any, processor: Any, policy: GroupPolicy | None = None, **options: Any) -> None:
    policy = policy or GroupPolicy(model, processor, temperature=1.0)
    loader = PromptLoader(processor, fps=1, max_frames=24, **options)
    check_model(model, policy, loader, RECORD, num_generations=4)


def test_a_healthy_model_passes_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    model, processor = load_model(SAMPLES / "tiny_model")
    checked(model, processor)
    assert model.training
    assert not caplog.records


def test_a_model_that_does_not_look_is_refused() -> None:
    model, processor = load_model(SAMPLES / "tiny_model")
    for module in family_of(model).tower(model):
        for parameter in module.parameters():
            parameter.data.zero_()
    with pytest.raises(PreflightError, match="every frame is grey: it does not look"):
        checked(model, processor)


def test_frames_that_arrive_grey_are_refused() -> None:
    with pytest.raises(PreflightError, match="are all grey as the model gets them"):
        checked(*load_model(SAMPLES / "tiny_model"), change_clip=blanked)


def test_a_model_that_drops_at_random_is_refused() -> None:
    model, processor = load_model(SAMPLES / "tiny_model", use_peft=True, lora_dropout=0.5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    with pytest.raises(PreflightError, match="set --lora_dropout 0"):
        checked(model, processor)


def test_a_token_of_the_video_in_an_answer_is_refused() -> None:
    model, processor = load_model(SAMPLES / "tiny_model")
    policy = GroupPolicy(model, processor, temperature=1.0)
    sample, banned = policy.sample, int(banned_tokens(model, processor).nonzero()[0])

    def with_a_marker(*args: Any) -> Any:
        answers = sample(*args)
        answers.tokens[0, 0, 0] = banned
        return answers

    policy.sample = with_a_marker  # type: ignore[method-assign]
    with pytest.raises(PreflightError, match="tokens of a video or of padding"):
        checked(model, processor, policy)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(
        "vcr1_lib.training.preflight.logger.warning",
        lambda text, *values: said.append(text % values),
    )
    return said


def test_our_rewards_pay_the_truth_best_in_every_task(told: list[str]) -> None:
    every = {r.__name__: r for preset in PRESETS.values() for r, _ in preset}
    check_rewards(RewardPanel(list(every.values())), MANY, num_generations=2)
    assert told == []


def test_a_reward_with_a_hole_is_named(told: list[str]) -> None:
    def width_reward(completions: list[str], **columns: Any) -> list[float]:
        return [float(len(text) < 5) * 2 for text in completions]

    rewards = RewardPanel([format_reward, temporal_iou_reward, width_reward], [0.5, 0.5, 1.0])
    check_rewards(rewards, [RECORD], num_generations=2)
    assert len(told) == 1
    assert "pay an empty answer 2.00 and the truth 1.00" in told[0]
