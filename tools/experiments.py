"""Run the experiments of notebook 07: the paper's comparisons in miniature, one after the other.

    python -m tools.experiments                 # what is missing, in this order; stop and go on
    python -m tools.experiments joint-seed0     # these runs only
    python -m tools.experiments --list

Each run leaves a folder in ``data_samples/runs/many_tasks``: ``config.json``, ``metrics.jsonl``
and, last, ``scores.json`` with the score of every held-out question, from which
``python -m tools.experiment_tables`` computes the tables. A run without ``scores.json`` is done
again from its start.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from transformers import set_seed
from transformers.utils import logging

from tools.record_sick_runs import rounded
from vcr1_lib.datasets import read_jsonl, take
from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.evaluation.report import machine
from vcr1_lib.metrics.by_task import scores_by_task, tasks_of
from vcr1_lib.metrics.scoring import score_beside_baselines
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import load_model
from vcr1_lib.prompts import TEMPLATES, render_question, without_thought
from vcr1_lib.rewards import PRESETS, format_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import VideoGRPOConfig, VideoSFTConfig
from vcr1_lib.training.sft import VideoSFTTrainer
from vcr1_lib.training.video_trainer import VideoTrainer
from vcr1_lib.video import blanked

MODEL = Path("data_samples/many_tasks_model")
DATA = Path("data_samples/many_tasks")
RUNS = Path("data_samples/runs/many_tasks")
KEPT = Path("runs/many_tasks")  # trained weights, for a look; too many to ship
REWARDS = list({r.__name__: r for preset in PRESETS.values() for r, _ in preset}.values())
FRAMES = {"fps": 1.0, "max_frames": 24}
LONGEST_ANSWER = 72
GROUNDING, GROUNDED_QA, TRACKING = "temporal_grounding", "grounded_qa", "tracking"
ALL = tuple(TEMPLATES)
KEPT_STEPS = 20
# The questions of one pass over the grounding clips, twelve a step.
QUESTIONS_A_STEP, EPOCH_STEPS = 12, 11
LEARNING_RATE = 3e-4
OPTIONS: dict[str, Any] = {
    **FRAMES,
    "max_completion_length": LONGEST_ANSWER,
    "task_sampling": "balanced",
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 5,
    "eval_strategy": "no",
    "use_cpu": True,
    "save_strategy": "no",
    "disable_tqdm": True,
    "report_to": "none",
}
THOUGHT = "I look."  # what the base says there


class Run(NamedTuple):
    """One run: what is trained on, how, how long."""

    name: str
    tasks: tuple[str, ...] = (GROUNDING,)
    method: str = "grpo"
    steps: int = 8 * EPOCH_STEPS
    learning_rate: float = LEARNING_RATE
    questions: int | None = None
    think: bool = True
    seed: int = 0

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.name}-seed{self.seed}"


def queue() -> list[Run]:
    """List the runs, the most telling first."""
    joint = Run("joint", ALL, steps=200, learning_rate=4e-4)
    single = [Run("grounding"), Run("grounding-no-thought", think=False)]
    others = [
        Run("grounded-qa", (GROUNDED_QA,)),
        Run("tracking", (TRACKING,)),
        Run("grounding+grounded-qa", (GROUNDING, GROUNDED_QA), steps=16 * EPOCH_STEPS),
    ]
    taught = [
        Run("sft-3-epochs", method="sft", steps=3 * EPOCH_STEPS),
        Run("sft-3-epochs-slow", method="sft", steps=3 * EPOCH_STEPS, learning_rate=1e-4),
        Run("sft-3-epochs-fast", method="sft", steps=3 * EPOCH_STEPS, learning_rate=1e-3),
        Run("sft-1-epochs", method="sft", steps=EPOCH_STEPS),
        Run("sft-8-epochs", method="sft"),
    ]
    few = [Run(f"grounding-{n}-questions", questions=n) for n in (8, 32)]
    seeded = [*single, *(run for run in taught if run.learning_rate == LEARNING_RATE)]
    again = [run._replace(seed=seed) for seed in (1, 2) for run in seeded]
    return [joint, *single, *taught, *others, *few, *again]


def read_split(split: str, tasks: tuple[str, ...] = ALL) -> list[dict[str, Any]]:
    return only(read_jsonl(DATA / f"{split}.jsonl"), *tasks)


def read_chat(split: str) -> list[dict[str, Any]]:
    """Return general questions; of a dialogue, its second question after the true first answer."""
    asked = []
    for line in (DATA / f"chat_{split}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        turns = [text for turn in row["turns"] for text in turn]
        video = str(DATA / row["video"])
        asked.append({"id": row["id"], "video": video, "prompt": turns[:-1], "answer": turns[-1]})
    return asked


def answer(model, processor, records: list[dict[str, Any]], **options: Any) -> list[str]:
    loader = PromptLoader(processor, **FRAMES, **options)
    return answer_greedily(
        model, loader, records, max_completion_length=LONGEST_ANSWER, batch_size=32
    )


def asked_plainly(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask for the answers alone."""
    return [r | {"prompt": without_thought(render_question(r))} for r in records]


def says(text: str, truth: str) -> bool:
    """Tell whether a general question is answered right, within tags or without."""
    return re.sub(r"<think>.*?</think>|</?\w+>", "", text).strip(" .\n").lower() == truth


def scores_of(texts: list[str], records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return task -> question -> its share of the task's main score."""
    return {
        task: {
            record["id"]: round(float(value), 4)
            for record, value in zip(
                [r for r in records if r["task"] == task], scores.values, strict=True
            )
        }
        for task, scores in scores_by_task(texts, records).items()
    }


def evaluate(model, processor, run: Run | None = None) -> dict[str, Any]:
    """Score a model on every held-out question, the far ones, the same in grey, and in chat."""
    heldout, far = read_split("heldout"), read_split("far")
    if run is not None and not run.think:
        heldout, far = asked_plainly(heldout), asked_plainly(far)
    found: dict[str, Any] = {}
    for name, rows, options in (
        ("heldout", heldout, {}),
        ("far", far if run is None or run.tasks == ALL else only(far, GROUNDING), {}),
        ("grey", heldout if run is None else only(heldout, *run.tasks), {"change_clip": blanked}),
    ):
        found[name] = scores_of(answer(model, processor, rows, **options), rows)
    chat = read_chat("heldout")
    texts = answer(model, processor, chat)
    found["chat"] = {
        row["id"]: float(says(text, row["answer"])) for row, text in zip(chat, texts, strict=True)
    }
    return found


def only(records: list[dict[str, Any]], *tasks: str) -> list[dict[str, Any]]:
    return [record for record in records if record["task"] in tasks]


def without_looking(split: str) -> dict[str, dict[str, float]]:
    """Return task -> baseline -> its main score."""
    known, rows, found = read_split("train"), read_split(split), {}
    for task in tasks_of(rows):
        own = only(rows, task)
        every = score_beside_baselines(
            [""] * len(own), own, train_records=only(known, task), name="nothing"
        )
        del every["nothing"]
        tables = {name: scores.table for name, scores in every.items()}
        found[task] = {name: round(t["scores"][t["main"]], 4) for name, t in tables.items()}
    return found


def train(run: Run, model, processor) -> float:
    """Train the model in place; return the seconds that took."""
    records = read_split("train", run.tasks)
    if run.questions is not None:
        records = take(records, run.questions, seed=run.seed)
    if not run.think:
        records = asked_plainly(records)
    steps = {"max_steps": run.steps, "learning_rate": run.learning_rate, "seed": run.seed}
    steps["per_device_train_batch_size"] = min(QUESTIONS_A_STEP, len(records))
    options = OPTIONS | steps | {"output_dir": str(run.folder)}
    trainer: VideoTrainer
    if run.method == "sft":
        trainer = VideoSFTTrainer(
            model, VideoSFTConfig(**options, thought=THOUGHT), records, None, processor
        )
    else:
        config = VideoGRPOConfig(**options, num_generations=8, log_completions=run.tasks == ALL)
        rewards = [r for r in REWARDS if run.think or r is not format_reward]
        trainer = VideoGRPOTrainer(model, rewards, config, records, None, processor)
    began = time.monotonic()
    trainer.train()
    return time.monotonic() - began


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def thin(folder: Path) -> None:
    """Keep the answers of every twentieth step, and five digits of each figure."""
    for name in ("metrics.jsonl", "completions.jsonl"):
        path = folder / name
        if not path.exists():
            continue
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if name == "completions.jsonl":
            rows = [row for row in rows if row["step"] % KEPT_STEPS == 0]
        lines = (json.dumps({k: rounded(v) for k, v in row.items()}) + "\n" for row in rows)
        path.write_text("".join(lines), encoding="utf-8")


def do(run: Run) -> None:
    """Train, evaluate, write; what is written last says that all of it is there."""
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    set_seed(run.seed)
    model, processor = load_model(MODEL)
    began = time.monotonic()
    seconds = train(run, model, processor)
    scores = evaluate(model, processor, run)
    timing = {"training": round(seconds), "all": round(time.monotonic() - began)}
    shared = {k: v for k, v in OPTIONS.items() if k != "report_to"}
    settings = run._asdict() | {"options": shared, "seconds": timing, "machine": machine()}
    thin(run.folder)
    model.save_pretrained(KEPT / run.folder.name)
    processor.save_pretrained(KEPT / run.folder.name)
    write(run.folder / "config.json", settings)
    write(run.folder / "scores.json", scores)


def do_base() -> None:
    """Evaluate the base, and what needs no video."""
    folder = RUNS / "base"
    folder.mkdir(parents=True, exist_ok=True)
    model, processor = load_model(MODEL)
    scores = evaluate(model, processor)
    scores["without_looking"] = {split: without_looking(split) for split in ("heldout", "far")}
    write(folder / "config.json", {"model": str(MODEL), "machine": machine()})
    write(folder / "scores.json", scores)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", help="folders' names; all that are missing if left out")
    parser.add_argument("--list", action="store_true", help="say what is done")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    runs = [run for run in queue() if not args.runs or run.folder.name in args.runs]
    if args.list:
        for run in runs:
            done = (run.folder / "scores.json").exists()
            print(f"{'done' if done else 'missing':<9}{run.folder.name:<30}{run.steps} steps")
        return
    if not (RUNS / "base" / "scores.json").exists():
        do_base()
        print("base", flush=True)
    for run in runs:
        if args.runs or not (run.folder / "scores.json").exists():
            do(run)
            print(run.folder.name, flush=True)


if __name__ == "__main__":
    main()
