"""One system of ``group_step.py``, measured in a process of its own.

``python benchmarks/group_systems.py '["shared", 9, 8, 32]'``: the system, temporal patches, answers
a group, tokens an answer.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from transformers import TrainerCallback, set_seed
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from vcr1_lib.models import PromptLoader
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.video import Clip

ROOT = Path(__file__).resolve().parents[1]
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
}
SIDE = 64  # pixels; 64 visual tokens a temporal patch
STEPS, WARMUP = 3, 1


def status_mib(name: str) -> float:
    text = Path("/proc/self/status").read_text()
    return float(text.split(f"{name}:")[1].split()[0]) / 1024


def reward(completions: list[Any], **columns: Any) -> list[float]:
    """Score anything, differently."""
    return [float(i % 8) for i in range(len(completions))]


class Meter:
    """Seconds of a step's update, and its highest memory above what was held before it."""

    def __init__(self, trainer: Any) -> None:
        self.seconds = 0.0
        self.peaks: list[float] = []
        self.held = self.began = 0.0
        self.loss, self.step = trainer.compute_loss, trainer.training_step
        trainer.compute_loss, trainer.training_step = self.compute_loss, self.training_step

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        self.held = status_mib("VmRSS")
        self.began = time.perf_counter()
        return self.loss(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        result = self.step(*args, **kwargs)
        self.seconds += time.perf_counter() - self.began
        self.peaks.append(status_mib("VmHWM") - self.held)
        return result


def run(system: str, temporal: int, group: int, length: int) -> dict[str, float]:
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
    meter = Meter(trainer)
    stamps: list[float] = []
    updates: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            stamps.append(time.perf_counter())
            updates.append(meter.seconds)
            meter.seconds = 0.0

    trainer.add_callback(Clock)
    trainer.train()
    seconds = [b - a for a, b in pairwise(stamps)][WARMUP - 1 :]
    return {
        "step_seconds": statistics.median(seconds),
        "update_seconds": statistics.median(updates[WARMUP:]),
        "update_peak_mib": max(meter.peaks),
        "prompt_tokens": trainer.prompt_tokens,
        "threads": torch.get_num_threads(),
    }


def build_ours(
    model: Any, processor: Any, system: str, temporal: int, group: int, length: int, options: Any
) -> Any:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2 * temporal, SIDE, SIDE, 3), dtype=np.uint8)
    clip = Clip(frames, np.arange(2 * temporal) / 2, float(temporal), "noise")
    prompt = prompt_inputs(processor, clip, "When?")

    class Loader(PromptLoader):
        def _prompt(self, record: dict[str, Any]) -> Any:
            return prompt

    config = VideoGRPOConfig(
        **options,
        per_device_train_batch_size=1,
        shared_prefix=system == "shared",
        preflight=False,  # a check, not a step
    )
    records = [{"id": str(i), "task": "temporal_grounding"} for i in range(16)]
    trainer = VideoGRPOTrainer(model, reward, config, records, None, processor)
    trainer.data_collator = Loader(processor)
    trainer.policy.banned[processor.tokenizer.eos_token_id] = True
    trainer.prompt_tokens = prompt["input_ids"].shape[1]
    return trainer


def build_trl(
    model: Any, processor: Any, system: str, temporal: int, group: int, length: int, options: Any
) -> Any:
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


if __name__ == "__main__":
    print(json.dumps(run(*json.loads(sys.argv[1]))))
