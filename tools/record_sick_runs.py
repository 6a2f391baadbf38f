"""Record short runs of the embedded model with one fault each, and a healthy one beside them.

    python -m tools.record_sick_runs                     # all, about a minute each
    python -m tools.record_sick_runs --only no_variance  # one of them

Each folder under ``data_samples/runs/sick`` keeps what a reader would see: ``metrics.jsonl``,
some sampled ``completions.jsonl``, and ``config.json``, which tells the fault.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils import logging

from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.evaluation.report import machine
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models.loading import load_model
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.callbacks import COMPLETIONS_FILE
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.video import Clip

SAMPLES = Path("data_samples/charades_sta")
STEPS = 40
# Of these steps the first groups are kept, all their answers.
KEPT_STEPS, KEPT_GROUPS = (0, 10, 20, 39), 3


def plain_string(messages: list[dict[str, Any]], **options: Any) -> str:
    """Join a message's parts as they are: no turns, no word for the model to speak next."""
    (message,) = messages
    return "".join(part.get("text", "<video>") for part in message["content"])


def misaligned_iou_reward(completions: list[str], span: list[Any], **columns: Any) -> list[float]:
    """Compare every group with the truth of the group before it: an off-by-one in a loader."""
    group = columns["num_generations"]
    spans = [*span[-group:], *span[:-group]]
    return temporal_iou_reward(completions, spans, duration=columns["duration"])


def half_the_time(clip: Clip) -> Clip:
    """Stamp frames taken every 2 seconds as if they were taken every second: a lost ``fps``."""
    return clip._replace(times_seconds=clip.times_seconds / 2)


@dataclass
class Fault:
    """One thing done wrong."""

    told: str
    options: dict[str, Any] = field(default_factory=dict)
    misaligned: bool = False
    plain_prompt: bool = False
    change_clip: Callable[[Clip], Clip] | None = None


FAULTS = {
    "healthy": Fault("nothing: the profile 'cpu' as it is"),
    "no_variance": Fault("temperature 0.05 instead of 1", {"temperature": 0.05}),
    "learning_rate": Fault("learning_rate 5e-3 instead of 2e-4", {"learning_rate": 5e-3}),
    "misaligned_truth": Fault("the IoU reward reads the truth of another clip", misaligned=True),
    "truncated": Fault("max_completion_length 11 instead of 48", {"max_completion_length": 11}),
    "plain_prompt": Fault("the prompt skips the chat template", plain_prompt=True),
    "fps_dropped": Fault(
        "frames taken every 2 seconds carry the times of 1 a second",
        {"fps": 0.5},
        change_clip=half_the_time,
    ),
}


def read_split(name: str) -> list[dict[str, Any]]:
    lengths = SAMPLES / f"toyworld_v1_{name}.csv"
    return read_charades_sta(SAMPLES / f"toyworld_sta_{name}.txt", lengths, SAMPLES / "videos")


def train(fault: Fault, folder: Path) -> VideoGRPOTrainer:
    """Run it with its fault, into a folder."""
    model, processor = load_model("data_samples/tiny_model")
    if fault.plain_prompt:
        processor.apply_chat_template = plain_string
    options = PROFILES["cpu"] | {"max_steps": STEPS, "eval_steps": 10, "save_strategy": "no"}
    config = VideoGRPOConfig(output_dir=str(folder), disable_tqdm=True, **(options | fault.options))

    def iou(completions: list[str], span: list[Any], **columns: Any) -> list[float]:
        return misaligned_iou_reward(
            completions, span, num_generations=config.num_generations, **columns
        )

    iou.__name__ = temporal_iou_reward.__name__  # the log looks like any other
    trainer = VideoGRPOTrainer(
        model=model,
        reward_funcs=[format_reward, iou if fault.misaligned else temporal_iou_reward],
        args=config,
        train_dataset=read_split("train"),
        eval_dataset=read_split("heldout"),
        processing_class=processor,
    )
    trainer.loader.change_clip = fault.change_clip
    trainer.train()
    return trainer


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def write(name: str, fault: Fault, trainer: VideoGRPOTrainer, target: Path) -> None:
    """Keep the log, some answers, and what was set."""
    target.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(rounded(row)) + "\n" for row in trainer.state.log_history]
    (target / "metrics.jsonl").write_text("".join(rows), encoding="utf-8")
    source = Path(str(trainer.args.output_dir)) / COMPLETIONS_FILE
    kept, per_step = [], dict[int, list[str]]()
    for line in source.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        groups = per_step.setdefault(row["step"], [])
        if row["id"] not in groups:
            groups.append(row["id"])
        if row["step"] in KEPT_STEPS and row["id"] in groups[:KEPT_GROUPS]:
            kept.append(json.dumps(rounded(row)) + "\n")
    (target / COMPLETIONS_FILE).write_text("".join(kept), encoding="utf-8")
    config = {
        "name": name,
        "fault": fault.told,
        **PROFILES["cpu"],
        **{"max_steps": STEPS, "eval_steps": 10, "save_strategy": "no"},
        **fault.options,
        "temperature": trainer.args.temperature,
        "seed": trainer.args.seed,
        "machine": machine(),
    }
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=FAULTS, action="append")
    parser.add_argument("--output", type=Path, default=Path("data_samples/runs/sick"))
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in arguments.only or FAULTS:
        folder = Path(tempfile.mkdtemp())
        trainer = train(FAULTS[name], folder)
        write(name, FAULTS[name], trainer, arguments.output / name)
        shutil.rmtree(folder)
        scores = [f"{r['eval_mIoU']:.3f}" for r in trainer.state.log_history if "eval_mIoU" in r]
        print(f"{name}: held-out mIoU {' '.join(scores)}", flush=True)


if __name__ == "__main__":
    main()
