"""Tune the many-tasks base by GRPO on all tasks in one run, and record what became of each.

    python -m tools.record_many_tasks                    # the joint run, seed 0
    python -m tools.record_many_tasks --seed 1 --tasks temporal_grounding tracking

Each folder under ``data_samples/runs/many_tasks`` keeps ``metrics.jsonl``, ``config.json`` and
``result.json``: every task's held-out score before and after with its 95 % interval, beside what
needs no video, and after with every frame painted grey.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import set_seed
from transformers.utils import logging

from tools.record_sick_runs import rounded
from vcr1_lib.datasets import read_jsonl
from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.metrics import paired_interval
from vcr1_lib.metrics.by_task import scores_by_task, tasks_of
from vcr1_lib.metrics.scoring import score_beside_baselines
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import load_model
from vcr1_lib.prompts import TEMPLATES
from vcr1_lib.rewards import PRESETS
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.video import blanked

MODEL = Path("data_samples/many_tasks_model")
DATA = Path("data_samples/many_tasks")
RUNS = Path("data_samples/runs/many_tasks")
REWARDS = list({r.__name__: r for preset in PRESETS.values() for r, _ in preset}.values())
OPTIONS: dict[str, Any] = {
    "per_device_train_batch_size": 12,
    "num_generations": 8,
    "max_completion_length": 72,
    "fps": 1.0,
    "max_frames": 24,
    "task_sampling": "balanced",
    "learning_rate": 3e-4,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 5,
    "use_cpu": True,
    "save_strategy": "no",
    "disable_tqdm": True,
    "report_to": "none",
}


def read_split(split: str, tasks: list[str]) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(DATA / f"{split}.jsonl") if row["task"] in tasks]


def answer(model, processor, records: list[dict[str, Any]], **options: Any) -> list[str]:
    loader = PromptLoader(
        processor, fps=OPTIONS["fps"], max_frames=OPTIONS["max_frames"], **options
    )
    limit = OPTIONS["max_completion_length"]
    return answer_greedily(model, loader, records, max_completion_length=limit, batch_size=32)


def tables(
    texts: dict[str, list[str]], records: list[dict[str, Any]], train: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return task -> row -> scores; the rows are the baselines and each list of answers."""
    found: dict[str, Any] = {}
    for task in tasks_of(records):
        rows = [i for i, record in enumerate(records) if record["task"] == task]
        own, known = [records[i] for i in rows], [r for r in train if r["task"] == task]
        found[task] = {}
        for name, all_texts in texts.items():
            chosen = [all_texts[i] for i in rows]
            every = score_beside_baselines(chosen, own, train_records=known, name=name)
            found[task] |= {label: scores.table for label, scores in every.items()}
        if "base" in texts and "tuned" in texts:
            pair = [
                scores_by_task([texts[n][i] for i in rows], own)[task] for n in ("base", "tuned")
            ]
            clips = [record["video"] for record in own]
            gain = paired_interval(pair[0].values, pair[1].values, clusters=clips)
            found[task]["gain"] = list(gain)
    return found


def told(tables: dict[str, Any], *names: str) -> str:
    lines = []
    for task, rows in tables.items():
        cells = []
        for name in names:
            low, high = rows[name]["interval"]
            score = rows[name]["scores"][rows[name]["main"]]
            cells.append(f"{name} {score:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"{task:<20}{rows[names[0]]['main']:<14}" + "  ".join(cells))
    return "\n".join(lines)


def record_run(args: argparse.Namespace) -> None:
    began = time.monotonic()
    set_seed(args.seed)
    model, processor = load_model(args.model)
    train, heldout = read_split("train", args.tasks), read_split("heldout", args.tasks)
    far = read_split("far", args.tasks)
    texts = {"base": answer(model, processor, heldout)}
    far_texts = {"base": answer(model, processor, far)}
    options = OPTIONS | {"max_steps": args.steps, "seed": args.seed, "log_completions": True}
    options |= {"learning_rate": args.lr, "eval_strategy": "steps", "eval_steps": args.eval_steps}
    config = VideoGRPOConfig(output_dir=str(args.output), **options)
    trainer = VideoGRPOTrainer(model, REWARDS, config, train, heldout, processor)
    started = time.monotonic()
    trainer.train()
    seconds = {"training": round(time.monotonic() - started)}
    tuned = trainer.model
    texts["tuned"] = answer(tuned, processor, heldout)
    texts["tuned, grey frames"] = answer(tuned, processor, heldout, change_clip=blanked)
    far_texts["tuned"] = answer(tuned, processor, far)
    seconds["all"] = round(time.monotonic() - began)
    result = {
        "heldout": tables(texts, heldout, train),
        "far": tables(far_texts, far, train),
        "seconds": seconds,
    }
    settings = {
        "model": str(args.model),
        "tasks": args.tasks,
        **{k: v for k, v in options.items() if k != "report_to"},
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
        },
    }
    for name, content in (("result", result), ("config", settings)):
        text = json.dumps(rounded_all(content), indent=1)
        (args.output / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    if args.keep_model:
        trainer.save_model(str(args.output / "model"))
    print(told(result["heldout"], "base", "tuned", "tuned, grey frames"))
    print("far\n" + told(result["far"], "base", "tuned"))


def rounded_all(value: Any) -> Any:
    return [rounded_all(item) for item in value] if isinstance(value, list) else rounded(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--output", type=Path, default=RUNS / "joint-seed0")
    parser.add_argument("--tasks", nargs="+", default=list(TEMPLATES), choices=TEMPLATES)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--eval-steps", type=int, default=50)
    parser.add_argument("--lr", type=float, default=OPTIONS["learning_rate"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-model", action="store_true")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    record_run(parser.parse_args())


if __name__ == "__main__":
    main()
