"""The supervised baseline learns the answer's tokens alone, of every task, and from a script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_formats import READERS
from tiny import FAMILIES, noise_clip
from torch.nn.functional import cross_entropy

from vcr1_lib.datasets import read_and_split, read_charades_sta
from vcr1_lib.evaluation import answer_greedily, read_predictions
from vcr1_lib.evaluation.report import compare_tasks, render_tasks
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import load_model
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.prompts import render_gold
from vcr1_lib.rewards import PRESETS
from vcr1_lib.training.callbacks import METRICS_FILE
from vcr1_lib.training.config import VideoSFTConfig
from vcr1_lib.training.sft import VideoSFTTrainer

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data_samples"
QUICK = {"eval_strategy": "no", "eval_on_start": False, "save_strategy": "no", "disable_tqdm": True}
KNOWN = VideoSFTConfig.__dataclass_fields__.keys() & PROFILES["cpu"].keys()
CPU = {key: PROFILES["cpu"][key] for key in KNOWN}


def split(name: str) -> list[dict[str, Any]]:
    folder = SAMPLES / "charades_sta"
    return read_charades_sta(
        folder / f"toyworld_sta_{name}.txt", folder / f"toyworld_v1_{name}.csv", folder / "videos"
    )


TRAIN = split("train")


def trainer_of(folder: Path, records: Any = TRAIN, *, pair: Any = None, **options: Any) -> Any:
    model, processor = pair or load_model(SAMPLES / "tiny_model")
    config = VideoSFTConfig(output_dir=str(folder), **(CPU | QUICK | options))
    return VideoSFTTrainer(model, config, records, None, processor)


def loaded(processor: Any, frame_counts: list[int]) -> dict[str, Any]:
    """What the loader returns for noise, with spans as truth."""
    rows = [
        {"id": f"r{n}", "task": "temporal_grounding", "video": "-", "query": "x", "span": (1, n)}
        for n in frame_counts
    ]
    prompts = [prompt_inputs(processor, noise_clip(n, seed=n), "When?") for n in frame_counts]
    return {"records": rows, "prompts": prompts, "unreadable": [""] * len(rows)}


def plain_loss(trainer: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Cross-entropy of the answers, each row by itself through the model's own forward."""
    total, count = torch.zeros(()), 0
    for record, inputs in zip(batch["records"], batch["prompts"], strict=True):
        answer = torch.tensor([trainer.gold_tokens(record)])
        row = dict(inputs) | {"input_ids": torch.cat([inputs["input_ids"], answer], 1)}
        row["attention_mask"] = torch.ones_like(row["input_ids"])
        if "mm_token_type_ids" in row:
            row["mm_token_type_ids"] = torch.nn.functional.pad(
                row["mm_token_type_ids"], (0, answer.shape[1])
            )
        labels = row["input_ids"].clone()
        labels[:, : inputs["input_ids"].shape[1]] = -100
        logits = trainer.model(**row).logits
        total = total + cross_entropy(
            logits[0, :-1].float(), labels[0, 1:], ignore_index=-100, reduction="sum"
        )
        count += answer.shape[1]
    return total / count


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shared_prefix", [True, False])
def test_the_loss_is_cross_entropy_on_the_answers_alone(
    tmp_path: Path, name: str, shared_prefix: bool
) -> None:
    pair = FAMILIES[name]()
    trainer = trainer_of(
        tmp_path, TRAIN[:16], pair=pair, shared_prefix=shared_prefix, max_completion_length=128
    )
    batch = loaded(pair[1], [4, 7])
    rollout = trainer._rollout(batch, torch.device("cpu"))
    assert trainer.policy.shares_prefix is shared_prefix
    tokens = rollout.mask.sum()
    assert tokens == sum(len(trainer.gold_tokens(record)) for record in batch["records"])
    gradients = []
    for loss in (
        trainer.compute_loss(trainer.model, rollout, num_items_in_batch=tokens),
        plain_loss(trainer, batch),
    ):
        trainer.model.zero_grad()
        loss.backward()
        found = {
            n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None
        }
        gradients.append((loss.detach(), found))
    (ours, mine), (plain, theirs) = gradients
    assert float(ours) == pytest.approx(float(plain), rel=1e-6)
    gap = sum(float((mine[n] - theirs[n]).square().sum()) for n in mine) ** 0.5
    assert gap < 1e-4 * sum(float(g.square().sum()) for g in theirs.values()) ** 0.5


def test_the_prompt_gives_no_signal(tmp_path: Path) -> None:
    """Its tokens are predicted by rows of the head that the loss never asks for."""
    pair = FAMILIES["smolvlm"]()
    trainer = trainer_of(tmp_path, TRAIN[:16], pair=pair, max_completion_length=128)
    batch, asked = loaded(pair[1], [5]), []
    head = trainer.model.get_output_embeddings()
    rollout = trainer._rollout(batch, torch.device("cpu"))

    def note(module: Any, arguments: Any) -> None:
        arguments[0].register_hook(lambda grad: asked.append(grad.abs().sum(-1) > 0))

    handle = head.register_forward_pre_hook(note)
    head.weight.requires_grad_(False)
    trainer.compute_loss(trainer.model, rollout, num_items_in_batch=1).backward()
    handle.remove()
    # One row a token of the answer: the prompt's last one, and all of the answer but its end.
    assert int(torch.cat([rows.flatten() for rows in asked]).sum()) == int(rollout.mask.sum())


def test_right_answers_lift_held_out_miou(tmp_path: Path) -> None:
    trainer, heldout = trainer_of(tmp_path, max_steps=60), split("heldout")
    loader = PromptLoader(trainer.processing_class, fps=1, max_frames=24)

    def miou() -> float:
        texts = answer_greedily(trainer.model, loader, heldout, max_completion_length=48)
        return float(read_predictions(texts, heldout).ious.mean())

    before = miou()
    trainer.train()
    assert miou() > before + 0.03
    log = [row for row in trainer.state.log_history if "loss" in row]
    assert sum(row["loss"] for row in log[-5:]) < sum(row["loss"] for row in log[:5])


def test_every_task_is_taught_its_truth(tmp_path: Path) -> None:
    records = [read()[0] for read, _, _ in READERS.values()]
    records = list({record["task"]: record for record in records}.values())
    assert {record["task"] for record in records} == set(PRESETS)
    options = {"per_device_train_batch_size": 3, "max_steps": 2, "max_completion_length": 999}
    trainer = trainer_of(tmp_path, records, task_sampling="balanced", **options)
    tokenizer = trainer.processing_class.tokenizer
    for record in records:
        tokens = trainer.gold_tokens(record)
        assert tokens[-1] == tokenizer.eos_token_id
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        columns = {key: [value] for key, value in record.items()}
        for reward, _ in PRESETS[record["task"]]:
            assert reward([text], strict=True, **columns) == [1.0], (reward.__name__, text)
    trainer.train()
    assert trainer.state.global_step == 2


def test_an_answer_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'charades_sta:T\d+:0' has \d+ tokens.*raise it"):
        trainer_of(tmp_path, max_completion_length=8)


def test_accumulation_equals_one_batch(tmp_path: Path) -> None:
    options = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "warmup_steps": 0}
    options |= {"max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    weights = []
    for batch, steps in ((4, 1), (2, 2)):
        share = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps}
        trainer = trainer_of(tmp_path, TRAIN[:4], **options, **share)
        trainer.train()
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*weights, strict=True))


def test_one_file_of_every_task_is_split_and_compared() -> None:
    train, heldout = read_and_split(SAMPLES / "many_tasks" / "heldout.jsonl", heldout=0.3)
    assert {record["task"] for record in heldout} == set(PRESETS)
    assert not {r["video"] for r in train} & {r["video"] for r in heldout}
    right = [render_gold(record["task"], record, thought="Seen.") for record in heldout]
    wrong = ["no idea"] * len(heldout)
    result = compare_tasks(wrong, right, heldout, train_records=train)
    assert set(result) == set(PRESETS)
    for task, found in result.items():
        assert found["learned"], task
        assert found["gain"] == pytest.approx([1, 1, 1]), task
    back = compare_tasks(right, wrong, heldout, train_records=train)
    assert not any(found["learned"] for found in back.values())
    assert render_tasks(result).count("learned: yes") == len(PRESETS)


def script(*options: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), "scripts/train_sft.py"]
    return subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=500
    )


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A file of options for a run on a handful of questions."""
    options: dict[str, Any] = {"per_device_train_batch_size": 2, "eval_strategy": "no"}
    options |= {"eval_on_start": False, "learning_rate": 1e-4, "disable_tqdm": True}
    options |= {"output_dir": str(tmp_path / "run"), "save_steps": 1, "save_total_limit": 9}
    for flag, name in (("train", "train"), ("eval", "heldout")):
        text = (SAMPLES / "charades_sta" / f"toyworld_sta_{name}.txt").read_text().splitlines()[:6]
        path = tmp_path / f"{name}.txt"
        path.write_text("\n".join(text) + "\n")
        options[f"{flag}_annotations"] = str(path)
    config = tmp_path / "options.yaml"
    config.write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in options.items()))
    return config


def test_a_run_by_a_yaml_file_and_its_resumption(few: Path, tmp_path: Path) -> None:
    done = script("--config", str(few), "--max_steps", "2")
    assert done.returncode == 0, done.stderr
    assert "temporal_grounding" in done.stdout
    assert "gain in mIoU" in done.stdout
    told = json.loads((tmp_path / "run" / "config.json").read_text())
    assert told["learning_rate"] == 1e-4
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"base", "tuned", "whole clip"} <= set(result["temporal_grounding"]["rows"])
    again = script("--config", str(few), "--max_steps", "3", "--resume_from_checkpoint", "last")
    assert again.returncode == 0, again.stderr
    rows = (tmp_path / "run" / METRICS_FILE).read_text().splitlines()
    assert [row["step"] for row in map(json.loads, rows) if "loss" in row] == [1, 2, 3]


def test_a_missing_file_of_options_is_one_sentence(tmp_path: Path) -> None:
    done = script("--config", str(tmp_path / "absent.yaml"))
    assert done.returncode == 2
    assert "--config: expected a file of YAML or JSON" in done.stderr
    assert "Traceback" not in done.stderr
