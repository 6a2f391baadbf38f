"""One GRPO step on a group of answers to a long visual prompt, beside TRL's trainer.

``python benchmarks/group_step.py`` writes ``benchmarks/results/group_step.json``. The same
random Qwen2.5-VL-class model, G answers of exactly R tokens, temperature 1, no KL, AdamW; TRL
gets the frames as images, ours as the video they are (two frames make one temporal patch, so
the prompts hold equally many visual tokens). Each figure is of a process of its own, systems
take turns, and ratios divide figures of the same round. Linux only: peaks are read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "group_step.json"
PICTURE = ROOT / "docs" / "group_step.png"
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00")
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
}
SIDE = 64  # pixels; 64 visual tokens a temporal patch
STEPS, WARMUP = 5, 2
SYSTEMS = ("shared", "separate rows", "trl", "trl, micro-batch 1")
# Visual tokens of the prompt, G, R.
SHAPES = {
    "P=600": (9, 8, 32),
    "P=2000": (31, 8, 32),
    "P=600, G=16": (9, 16, 32),
    "P=600, R=64": (9, 8, 64),
}


def status_mib(name: str) -> float:
    text = Path("/proc/self/status").read_text()
    return float(text.split(f"{name}:")[1].split()[0]) / 1024


def reward(completions: list[Any], **columns: Any) -> list[float]:
    """Score anything, differently."""
    return [float(i % 8) for i in range(len(completions))]


class Meter:
    """Seconds a step, and the highest memory of an update above what was held before it."""

    def __init__(self, trainer: Any) -> None:
        self.times: list[float] = []
        self.peaks: list[float] = []
        self.held = 0.0
        self.loss, self.step = trainer.compute_loss, trainer.training_step
        trainer.compute_loss, trainer.training_step = self.compute_loss, self.training_step

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        self.held = status_mib("VmRSS")
        return self.loss(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        result = self.step(*args, **kwargs)
        self.peaks.append(status_mib("VmHWM") - self.held)
        return result


def run_child(system: str, temporal: int, group: int, length: int) -> dict[str, float]:
    import torch
    from transformers import TrainerCallback, set_seed
    from transformers.utils import logging

    sys.path.insert(0, str(ROOT / "tests"))
    import tiny

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_seed(0)
    model, processor = tiny.qwen(**TEXT)
    options = {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": STEPS + WARMUP,
        "num_generations": group,
        "max_completion_length": length,
        "learning_rate": 1e-6,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "beta": 0.0,
        "loss_type": "grpo",
    }
    build = build_trl if system.startswith("trl") else build_ours
    trainer = build(model, processor, system, temporal, group, length, options)
    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            stamps.append(time.perf_counter())

    trainer.add_callback(Clock)
    meter = Meter(trainer)
    trainer.train()
    seconds = [b - a for a, b in pairwise(stamps)][WARMUP - 1 :]
    return {
        "step_seconds": statistics.median(seconds),
        "update_peak_mib": max(meter.peaks),
        "prompt_tokens": trainer.prompt_tokens,
        "threads": torch.get_num_threads(),
    }


def build_ours(
    model: Any, processor: Any, system: str, temporal: int, group: int, length: int, options: Any
) -> Any:
    import numpy as np

    from vcr1_lib.config import VideoGRPOConfig
    from vcr1_lib.models import PromptLoader, prompt_inputs
    from vcr1_lib.training import VideoGRPOTrainer
    from vcr1_lib.video import Clip

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2 * temporal, SIDE, SIDE, 3), dtype=np.uint8)
    clip = Clip(frames, np.arange(2 * temporal) / 2, float(temporal), "noise")
    prompt = prompt_inputs(processor, clip, "When?")

    class Loader(PromptLoader):
        def _prompt(self, record: dict[str, Any]) -> Any:
            return prompt

    config = VideoGRPOConfig(
        **options, per_device_train_batch_size=1, shared_prefix=system == "shared"
    )
    trainer = VideoGRPOTrainer(
        model, reward, config, [{"id": str(i)} for i in range(16)], None, processor
    )
    trainer.data_collator = Loader(processor)
    trainer.policy.banned[processor.tokenizer.eos_token_id] = True
    trainer.prompt_tokens = prompt["input_ids"].shape[1]
    return trainer


def build_trl(
    model: Any, processor: Any, system: str, temporal: int, group: int, length: int, options: Any
) -> Any:
    import numpy as np
    from datasets import Dataset
    from PIL import Image
    from trl import GRPOConfig, GRPOTrainer

    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        for _ in range(temporal)
    ]
    micro = 1 if "micro-batch" in system else group
    config = GRPOConfig(
        **options,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=group // micro,
        generation_kwargs={"min_new_tokens": length},
        temperature=1.0,
        top_p=1.0,
        top_k=0,
    )
    rows = [{"prompt": [{"role": "user", "content": "When?"}], "images": pictures}] * 16
    trainer = GRPOTrainer(
        model, reward, config, train_dataset=Dataset.from_list(rows), processing_class=processor
    )
    content = [{"type": "image"}] * temporal + [{"type": "text", "text": "When?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = processor(text=[text], images=[pictures], return_tensors="pt")
    trainer.prompt_tokens = inputs["input_ids"].shape[1]
    return trainer


def measure(shape: str, rounds: int, systems: list[str]) -> dict[str, Any]:
    temporal, group, length = SHAPES[shape]
    found: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
    for number in range(rounds):
        order = systems if number % 2 == 0 else systems[::-1]
        for system in order:
            child = [system, temporal, group, length]
            command = [sys.executable, __file__, "--child", json.dumps(child)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{child}: {done.stderr[-2000:]}")
            figures = json.loads(done.stdout.splitlines()[-1])
            found[system].append(figures)
            print(shape, system, figures, flush=True)
    ours = found["shared"]
    ratios = {
        system: {
            key: [
                round(theirs[key] / mine[key], 2) for theirs, mine in zip(rows, ours, strict=True)
            ]
            for key in ("step_seconds", "update_peak_mib")
        }
        for system, rows in found.items()
        if system != "shared"
    }
    return {"measured": found, "times_ours": ratios}


def draw(result: dict[str, Any]) -> None:
    """Write the picture for the documentation: medians over rounds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    keys = {"step_seconds": "seconds a step", "update_peak_mib": "MiB at the update's peak"}
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
    for axis, (key, label) in zip(axes, keys.items(), strict=True):
        for n, system in enumerate(SYSTEMS):
            shapes = [s for s in SHAPES if s in result["shapes"]]
            rows = [result["shapes"][s]["measured"].get(system, []) for s in shapes]
            heights = [statistics.median(r[key] for r in row) if row else 0 for row in rows]
            places = [i + 0.2 * (n - 1.5) for i in range(len(shapes))]
            axis.bar(places, heights, 0.2, label=system, color=COLOURS[n])
        axis.set_xticks(range(len(shapes)), shapes, fontsize=8)
        axis.set_yscale("log")
        axis.set_ylabel(label)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    args = parser.parse_args()
    if args.child:
        print(json.dumps(run_child(*json.loads(args.child))))
        return
    result: dict[str, Any] = {
        "commands": [f"python benchmarks/group_step.py {shlex.join(sys.argv[1:])}"],
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {n: metadata.version(n) for n in ("torch", "transformers", "trl")},
        "python": platform.python_version(),
        "model": TEXT,
        "shapes": {shape: measure(shape, args.rounds, args.systems) for shape in args.shapes},
    }
    if RESULT.exists():  # other shapes of the same versions stay
        before = json.loads(RESULT.read_text())
        if before["versions"] == result["versions"]:
            result["shapes"] = before["shapes"] | result["shapes"]
            result["commands"] = before["commands"] + result["commands"]
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    draw(result)


if __name__ == "__main__":
    main()
