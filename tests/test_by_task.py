"""A mixed run: who comes how often, whose figures are whose, and what is refused."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vcr1_lib.datasets import read_jsonl
from vcr1_lib.grpo import combine_rewards, group_advantages
from vcr1_lib.metrics.by_task import figures_by_task, scores_by_task, tasks_of
from vcr1_lib.models.loading import load_model
from vcr1_lib.prompts import render_gold
from vcr1_lib.rewards import PRESETS, format_reward, later_track_iou_reward, track_iou_reward
from vcr1_lib.rewards.panel import RewardPanel
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.callbacks import COMPLETIONS_FILE
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.training.windows import RepeatedWindows, balanced_order

SAMPLES = Path(__file__).parents[1] / "data_samples"
REWARDS = list({r.__name__: r for preset in PRESETS.values() for r, _ in preset}.values())


def records(*tasks: str) -> list[dict[str, Any]]:
    every = read_jsonl(SAMPLES / "many_tasks" / "train.jsonl")
    return [next(r for r in every if r["task"] == task) for task in tasks]


def trainer_of(folder: Path, rewards: Any, rows: list[dict[str, Any]], **options: Any) -> Any:
    model, processor = load_model(SAMPLES / "tiny_model")
    plain = {"num_generations": 2, "max_completion_length": 6, "fps": 0.4, "use_cpu": True,
             "disable_tqdm": True, "save_strategy": "no", "max_steps": 2}  # fmt: skip
    config = VideoGRPOConfig(output_dir=str(folder), **(plain | options))
    return VideoGRPOTrainer(model, rewards, config, rows, rows, processor)


def test_balanced_sampling_gives_every_task_its_turn() -> None:
    tasks = ["a"] * 20 + ["b"] * 3 + ["c"]
    order = balanced_order(tasks, np.random.default_rng(0))
    assert Counter(tasks[row] for row in order) == {"a": 8, "b": 8, "c": 8}
    for first in range(0, 24, 3):
        assert {tasks[row] for row in order[first : first + 3]} == {"a", "b", "c"}
    # A task with few rows repeats them, each as often as the others to within one.
    repeats = Counter(row for row in order if tasks[row] == "b").values()
    assert max(repeats) - min(repeats) <= 1
    assert len({row for row in order if tasks[row] == "a"}) == 8


def test_a_task_with_one_sample_takes_part_in_both_samplings() -> None:
    tasks = ["a"] * 7 + ["b"]
    proportional = RepeatedWindows(8, window=4, times=1, seed=0)
    assert Counter(tasks[row] for row in proportional) == {"a": 7, "b": 1}
    balanced = RepeatedWindows(8, window=4, times=2, seed=0, tasks=tasks)
    rows = list(balanced)
    assert Counter(tasks[row] for row in rows) == {"a": 8, "b": 8}
    assert rows[:4] == rows[4:8], "a window comes as often as its answers are used"
    assert rows == list(RepeatedWindows(8, window=4, times=2, seed=0, tasks=tasks))
    balanced.epoch = lambda: 1
    assert rows != list(balanced)


def test_an_unknown_task_is_refused_before_training(tmp_path: Path) -> None:
    rows = [*records("caption"), records("quality")[0] | {"task": "dancing", "id": "d1"}]
    with pytest.raises(ValueError, match=r"expected a task of .* got 'dancing' in record 'd1'"):
        trainer_of(tmp_path, REWARDS, rows)


def test_a_task_no_reward_answers_for_is_named(tmp_path: Path) -> None:
    rows = records("caption", "quality")
    trainer = trainer_of(tmp_path, [track_iou_reward], rows, per_device_train_batch_size=2)
    with pytest.raises(ValueError, match=r"of task .(caption|quality).: every one returned None"):
        trainer.train()
    panel = RewardPanel([track_iou_reward, later_track_iou_reward])
    with pytest.raises(ValueError, match=r"sample '.*caption:0' of task 'caption'.*add a reward"):
        panel(["x"], rows[:1])


def test_rewards_of_different_scale_weigh_the_same_when_groups_are_scaled() -> None:
    """One task pays up to 100, the other up to 1: scaled by group, both push alike."""
    paid = torch.tensor([[0.0, 50.0, 100.0, 50.0], [0.0, 0.5, 1.0, 0.5]])
    alike = group_advantages(paid, scale_rewards="group")
    torch.testing.assert_close(alike[0], alike[1], atol=1e-3, rtol=0)
    # Without it the task with the larger rewards pushes a hundred times as hard.
    raw = group_advantages(paid, scale_rewards="none")
    torch.testing.assert_close(raw[0], 100 * raw[1])
    # Within one task the terms add up, and reward_weights is the remedy.
    both = torch.stack([paid[0], paid[1].flip(0)], -1)[None]
    total = combine_rewards(both, torch.tensor([0.01, 1.0]))
    torch.testing.assert_close(total[0], paid[0] / 100 + paid[1].flip(0))


def test_scores_of_a_mixed_list_are_those_of_each_task_alone() -> None:
    rows = records(*PRESETS)
    texts = [render_gold(row["task"], row, thought="I look.") for row in rows]
    scores = scores_by_task(texts, rows)
    assert list(scores) == tasks_of(rows) == sorted(PRESETS)
    assert all(s.values.tolist() == [1.0] for s in scores.values())
    figures = figures_by_task([None, *texts[1:]], rows)
    assert figures["temporal_grounding/mIoU"] == 0
    assert figures["tracking/AO"] == 1


def test_the_log_holds_each_tasks_reward_as_the_completions_file_has_it(tmp_path: Path) -> None:
    rows = records("multiple_choice", "quality", "caption")
    trainer = trainer_of(
        tmp_path, REWARDS, rows, per_device_train_batch_size=3, task_sampling="balanced",
        log_completions=True, eval_strategy="steps", eval_steps=2,
    )  # fmt: skip
    trainer.train()
    log = [row for row in trainer.state.log_history if "reward" in row]
    task_of = {row["id"]: row["task"] for row in rows}
    saved: dict[tuple[int, str], list[float]] = defaultdict(list)
    for line in (tmp_path / COMPLETIONS_FILE).read_text().splitlines():
        row = json.loads(line)
        paid = [value for value in row["rewards"].values() if value is not None]
        saved[row["step"], task_of[row["id"]]].append(sum(paid))
    for step, row in enumerate(log):
        for task in task_of.values():
            assert row[f"reward/{task}"] == pytest.approx(np.mean(saved[step, task]), abs=1e-6)
    (last,) = (row for row in trainer.state.log_history if "eval_caption/event_recall" in row)
    assert {"eval_quality/accuracy", "eval_multiple_choice/accuracy_low"} <= set(last)


def test_one_task_alone_keeps_the_plain_names(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, [format_reward], records("quality"), max_steps=1)
    trainer.train()
    assert not any(key.startswith("reward/") for row in trainer.state.log_history for key in row)


def test_every_process_names_every_task_in_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means are gathered one after the other: a process whose batch lacks a task must take part."""
    trainer = trainer_of(tmp_path, [format_reward], records("quality", "caption", "tracking"))
    gathered: list[tuple[str, list[float]]] = []
    monkeypatch.setattr(trainer, "_watch", lambda name, v: gathered.append((name, v.tolist())))
    trainer._watch_tasks(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), ["tracking", "caption"])
    trainer._watch_tasks(torch.tensor([[0.25, 0.75]]), ["quality"])
    names = ["reward/caption", "reward/quality", "reward/tracking"]
    assert [name for name, _ in gathered] == names * 2
    assert [values for _, values in gathered] == [[0.5, 0.5], [], [1.0, 0.0], [], [0.25, 0.75], []]
