"""The trainer learns, refuses to learn from noise, resumes exactly, and stops politely."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from peft import LoraConfig, get_peft_model
from transformers import TrainerControl, TrainerState

from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.evaluation import Predictions, answer_greedily, read_predictions
from vcr1_lib.evaluation.report import blind_baselines, compare_runs
from vcr1_lib.grpo import logprobs
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import load_model
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.rewards.panel import RewardPanel
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.callbacks import (
    COMPLETIONS_FILE,
    METRICS_FILE,
    SkippedSteps,
    StopOnInterrupt,
)
from vcr1_lib.training.checkpoints import CheckpointError
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.training.windows import RepeatedWindows
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


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 2},
        {"beta": 0.04, "loss_type": "bnpo"},
        {"num_iterations": 2, "loss_type": "grpo"},
    ],
)
def test_a_trained_head_is_gone_through_once(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer foretells the slope of its loss, and it comes true."""
    found: list[float | None] = []
    compare = logprobs._factor
    monkeypatch.setattr(logprobs, "_factor", lambda *a: found.append(compare(*a)) or found[-1])
    trainer_of(tmp_path, [format_reward, temporal_iou_reward], max_steps=2, **options).train()
    assert len(found) >= 2
    assert None not in found


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


def test_a_finished_run_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    options = PROFILES["cpu"] | QUICK
    config = VideoGRPOConfig(output_dir=str(tmp_path), **options)
    with pytest.raises(CheckpointError, match="holds a finished run: give another --output_dir"):
        config.check(len(TRAIN))
    VideoGRPOConfig(output_dir=str(tmp_path), resume_from_checkpoint="last", **options).check(
        len(TRAIN)
    )
    with pytest.raises(CheckpointError, match="is a file"):
        VideoGRPOConfig(output_dir=str(tmp_path / "result.json"), **options).check(len(TRAIN))


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


SMALL = {"max_steps": 4, "per_device_train_batch_size": 2, "warmup_steps": 0}
REWARDS = [format_reward, temporal_iou_reward]


def rollouts_of(trainer: Any) -> list[int]:
    """Train and return the step at which each micro-batch was sampled."""
    steps, sample = [], trainer._rollout

    def note(*args: Any) -> Any:
        steps.append(trainer.state.global_step)
        return sample(*args)

    trainer._rollout = note
    trainer.train()
    return steps


def test_answers_are_used_again_and_the_clip_acts(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, REWARDS, num_iterations=2, learning_rate=2e-3, **SMALL)
    assert rollouts_of(trainer) == [0, 2]
    clipped = [row["clip_ratio/region_mean"] for row in trainer.state.log_history if "loss" in row]
    assert clipped[0] == clipped[2] == 0
    assert clipped[1] > 0


def test_a_generation_may_serve_several_steps(tmp_path: Path) -> None:
    options = SMALL | {"gradient_accumulation_steps": 2}
    trainer = trainer_of(tmp_path, REWARDS, steps_per_generation=4, **options)
    assert rollouts_of(trainer) == [0] * 4 + [2] * 4


def test_a_run_resumed_inside_a_window_samples_the_rest(tmp_path: Path) -> None:
    options = SMALL | {"num_iterations": 2, "save_strategy": "steps", "save_steps": 1}
    trainer_of(tmp_path, REWARDS, **(options | {"max_steps": 1})).train()
    again = trainer_of(tmp_path, REWARDS, **options)
    steps, sample = [], again._rollout
    again._rollout = lambda *args: steps.append(again.state.global_step) or sample(*args)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert steps == [1, 2]


def test_a_window_holds_the_same_rows_each_time() -> None:
    rows = list(RepeatedWindows(7, window=3, times=2, seed=0))
    assert len(rows) == len(RepeatedWindows(7, window=3, times=2, seed=0)) == 12
    assert rows[:3] == rows[3:6]
    assert rows[6:9] == rows[9:]
    assert len(set(rows)) == 6
    with pytest.raises(ValueError, match="at least 8 training questions"):
        RepeatedWindows(7, window=8, times=1, seed=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_iterations": 0}, "num_iterations >= 1"),
        ({"max_steps": -3}, "max_steps > 0, or -1 to count"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size >= 1"),
        ({"steps_per_generation": 3, "gradient_accumulation_steps": 2}, "a multiple of"),
        ({"temperature": 0}, "temperature > 0"),
        ({"num_generations": 1}, "num_generations >= 2, got 1: an answer is compared"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        VideoGRPOConfig(output_dir=str(tmp_path), use_cpu=True, **options)


def test_steps_that_fp16_skips_are_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # accelerate trains in fp16 on GPUs only; its optimizer and torch's scaler run anywhere.
    config = VideoGRPOConfig(str(tmp_path), use_cpu=True)  # it resets accelerate's state
    Accelerator(cpu=True)
    weight = torch.nn.Parameter(torch.ones(1))
    scaler = torch.amp.GradScaler("cpu")
    optimizer = AcceleratedOptimizer(torch.optim.SGD([weight], lr=0.1), scaler=scaler)
    told: list[float] = []
    callback = SkippedSteps(told.append)
    state = (config, TrainerState(), TrainerControl())
    for loss in (weight.sum() * torch.inf, weight.sum(), weight.sum()):
        scaler.scale(loss).backward()
        optimizer.step()
        callback.on_optimizer_step(*state, optimizer=optimizer)
        optimizer.zero_grad()
    assert told == [1.0, 0.0, 0.0]
    callback.on_train_end(*state)
    assert "fp16: 1 of 3 steps changed nothing" in caplog.text


def test_skipped_steps_are_in_the_log(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, REWARDS, **SMALL | {"max_steps": 2})
    trainer.add_callback(SkippedSteps(trainer._watch_skipped))
    trainer.train()
    assert [r["skipped_steps"] for r in trainer.state.log_history if "loss" in r] == [0.0, 0.0]


def test_all_equal_rewards_leave_the_model_as_it_is(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, lambda completions, **_: [0.5] * len(completions), **SMALL)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_truncated_answers_can_be_left_out(tmp_path: Path) -> None:
    options = SMALL | {"max_completion_length": 3, "mask_truncated_completions": True}
    trainer = trainer_of(tmp_path, REWARDS, **options)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert trainer.state.log_history[0]["completions/clipped_ratio"] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_one_list_of_rewards_serves_mixed_rows(tmp_path: Path) -> None:
    def only_first(completions: list[str], id: list[str], **_: Any) -> list[float | None]:
        return [1.0 if name == TRAIN[0]["id"] else None for name in id]

    panel = RewardPanel([format_reward, only_first], [1.0, 2.0])
    rows = [TRAIN[0] | {"extra": 3}, TRAIN[1]]
    graded = panel(["<answer>1 to 2</answer>"] * 4, rows)
    assert graded.rewards[:2, 1].tolist() == [1, 1]
    assert graded.rewards[2:, 1].isnan().all()
    assert graded.extra["format_reward_reason"] == ["missing_tag"] * 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_word_saves_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    callback, state, control = StopOnInterrupt(), TrainerState(), TrainerControl()
    args = VideoGRPOConfig(output_dir=str(tmp_path), use_cpu=True)
    callback.on_train_begin(args, state, control)
    callback.on_step_end(args, state, control)
    assert not control.should_save
    assert not control.should_training_stop
    signal.raise_signal(number)
    signal.raise_signal(number)  # the launcher passes it on
    callback.on_step_end(args, state, control)
    assert control.should_save
    assert control.should_training_stop
    callback.on_train_end(args, state, control)
    assert signal.getsignal(number) == before


def test_an_engine_that_is_not_in_use_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a CPU accelerate takes another one in silence."""
    trainer_of(tmp_path, format_reward)
    assert not caplog.records
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    trainer_of(tmp_path, format_reward)
    assert "FSDP was asked for and is not in use: accelerate runs NO" in caplog.text


def test_vllm_and_pieces_are_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    VideoGRPOConfig(output_dir=str(tmp_path), use_cpu=True, use_vllm=True)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    VideoGRPOConfig(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match="use_vllm needs the whole model in every process"):
        VideoGRPOConfig(output_dir=str(tmp_path), use_cpu=True, use_vllm=True)
