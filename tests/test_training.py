"""The trainer learns, refuses to learn from noise, resumes exactly, and stops politely."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from vcr1_lib.callbacks import METRICS_FILE
from vcr1_lib.config import VideoGRPOConfig
from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.evaluation import Predictions, answer_greedily, read_predictions
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models import PromptLoader, load_model
from vcr1_lib.report import blind_baselines, compare_runs
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import COMPLETIONS_FILE, VideoGRPOTrainer
from vcr1_lib.video import blanked, shuffled

SAMPLES = Path(__file__).parent.parent / "data_samples"
QUICK = {"eval_strategy": "no", "eval_on_start": False, "save_strategy": "no", "disable_tqdm": True}
LENGTH = PROFILES["cpu"]["max_completion_length"]


def split(name: str) -> list[dict[str, Any]]:
    folder = SAMPLES / "charades_sta"
    return read_charades_sta(
        folder / f"toyworld_sta_{name}.txt", folder / f"toyworld_v1_{name}.csv", folder / "videos"
    )


TRAIN, HELDOUT = split("train"), split("heldout")


def trainer_of(folder: Path, rewards: Any, *, model: Any = None, **options: Any) -> Any:
    loaded, processor = load_model(SAMPLES / "tiny_model")
    config = VideoGRPOConfig(output_dir=str(folder), **(PROFILES["cpu"] | QUICK | options))
    return VideoGRPOTrainer(
        loaded if model is None else model, rewards, config, TRAIN, HELDOUT, processor
    )


def predict(model: Any, records: list[dict[str, Any]], **options: Any) -> Predictions:
    _, processor = load_model(SAMPLES / "tiny_model")
    loader = PromptLoader(processor, fps=1, max_frames=24, **options)
    texts = answer_greedily(model, loader, records, max_completion_length=LENGTH)
    return read_predictions(texts, records)


@pytest.fixture(scope="module")
def base() -> tuple[Predictions, Predictions]:
    model, _ = load_model(SAMPLES / "tiny_model")
    return predict(model, TRAIN), predict(model, HELDOUT)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tuned")
    trainer = trainer_of(folder, [format_reward, temporal_iou_reward], max_steps=40)
    trainer.train()
    return trainer


def verdict(base: tuple[Predictions, Predictions], after: Predictions) -> dict[str, Any]:
    return compare_runs(base[1], after, HELDOUT, train_before=base[0], train_records=TRAIN)


def test_it_learns_on_clips_it_has_not_seen(base: Any, tuned: Any) -> None:
    result = verdict(base, predict(tuned.model, HELDOUT))
    assert result["learned"], result["verdict"]
    log = [row for row in tuned.state.log_history if "loss" in row]
    assert max(row["sampling/max_logp_gap"] for row in log) < 1e-3


def test_without_the_video_it_is_no_better_than_a_fixed_span(tuned: Any) -> None:
    fixed = blind_baselines(HELDOUT, train_records=TRAIN)["best fixed span"].mean()
    for change in (blanked, shuffled):
        assert predict(tuned.model, HELDOUT, change_clip=change).ious.mean() < fixed + 0.03


def test_shuffled_rewards_end_in_did_not_learn(base: Any, tmp_path: Path) -> None:
    def broken_iou_reward(completions: list[str], span: Any, **columns: Any) -> list[float]:
        groups = np.array(temporal_iou_reward(completions, span, **columns)).reshape(-1, 8)
        rng = np.random.default_rng(int(groups.sum() * 1e6))
        return rng.permuted(groups, axis=1).flatten().tolist()

    trainer = trainer_of(tmp_path, [format_reward, broken_iou_reward], max_steps=30)
    trainer.train()
    result = verdict(base, predict(trainer.model, HELDOUT))
    assert not result["learned"], result["verdict"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    rewards = [format_reward, temporal_iou_reward]
    options = {"max_steps": 4, "per_device_train_batch_size": 2, "save_strategy": "steps"}
    whole = trainer_of(tmp_path / "whole", rewards, save_steps=2, save_total_limit=9, **options)
    whole.train()
    again = trainer_of(tmp_path / "again", rewards, save_steps=9, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)

    def steps(folder: str) -> list[Any]:
        rows = (tmp_path / folder / METRICS_FILE).read_text().splitlines()
        return [row for row in map(json.loads, rows) if "loss" in row]

    assert steps("whole") == steps("again")


def test_accumulation_equals_one_batch(tmp_path: Path) -> None:
    rewards = [format_reward, temporal_iou_reward]
    for loss_type in ("grpo", "dapo"):
        weights = []
        for batch, accumulate in ((4, 1), (1, 4)):
            trainer = trainer_of(
                tmp_path / f"{loss_type}{batch}", rewards, max_steps=1, warmup_steps=0,
                loss_type=loss_type, per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulate, optim="sgd", max_grad_norm=0.0,
                learning_rate=1.0,
            )  # fmt: skip
            trainer.train()
            weights.append([p.detach().clone() for p in trainer.model.parameters()])
        gap = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
        assert gap < 1e-5, loss_type


@pytest.mark.parametrize("adapters", [False, True])
def test_kl_starts_at_zero_and_only_adapters_move(tmp_path: Path, adapters: bool) -> None:
    model, _ = load_model(SAMPLES / "tiny_model")
    if adapters:
        targets = r".*text_model.*\.(q_proj|v_proj)"
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    rewards = [format_reward, temporal_iou_reward]
    options = {"max_steps": 2, "per_device_train_batch_size": 2, "warmup_steps": 0}
    trainer = trainer_of(tmp_path, rewards, model=model, beta=0.04, **options)
    trainer.train()
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert kl[0] == pytest.approx(0, abs=1e-8)
    assert kl[1] > 0
    moved = {n for n, p in model.named_parameters() if not torch.equal(before[n], p)}
    assert moved
    assert all(("lora_" in name) or not adapters for name in moved)
    assert not any("vision_model" in name for name in moved)


def test_a_bad_reward_is_named(tmp_path: Path) -> None:
    def nan_reward(completions: list[str], **columns: Any) -> list[float]:
        return [float("nan")] * len(completions)

    trainer = trainer_of(tmp_path, nan_reward, max_steps=1, per_device_train_batch_size=1)
    with pytest.raises(ValueError, match=r"nan_reward returned nan for sample 'charades_sta:T"):
        trainer.train()


def test_completions_are_logged_with_their_rewards(tuned: Any) -> None:
    rows = Path(tuned.args.output_dir, COMPLETIONS_FILE).read_text().splitlines()
    spans = {record["id"]: record["span"] for record in TRAIN}
    assert len(rows) == 40 * 16 * 8
    for row in map(json.loads, rows[:50]):
        (iou,) = temporal_iou_reward([row["completion"]], span=[spans[row["id"]]], duration=[24.0])
        assert row["rewards"]["temporal_iou_reward"] == pytest.approx(iou, abs=1e-6)
