"""Let ms-swift's GRPO train a tiny model with our rewards, in an environment of its own.

    python benchmarks/engines/ms_swift/run.py

The model is a Qwen2.5-VL of two layers, first taught answers in our format without a video, so
that rewards differ. What ms-swift logged, and every call of our rewards, go to ``result.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from vcr1_lib.prompts import render_question, render_span

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CLIPS = "data_samples/charades_sta"
PACKAGES = ("ms-swift", "transformers", "trl", "torch", "peft", "datasets", "qwen-vl-utils")
FRAMES = {"FPS": "1", "FPS_MAX_FRAMES": "4", "VIDEO_MIN_PIXELS": "784", "VIDEO_MAX_PIXELS": "3136"}
OPTIONS = shlex.split(
    """
    --rlhf_type grpo --model_type qwen2_5_vl --template qwen2_5_vl --tuner_type full
    --torch_dtype float32 --attn_impl eager
    --external_plugins benchmarks/engines/ms_swift/plugin.py
        benchmarks/engines/ms_swift/tiny_tokens.py
    --reward_funcs format_reward temporal_iou_reward --num_generations 4
    --per_device_train_batch_size 4 --max_steps 3 --max_completion_length 64
    --learning_rate 1e-4 --beta 0 --use_vllm false --log_completions true --logging_steps 1
    --save_strategy no --eval_strategy no --split_dataset_ratio 0 --report_to none --seed 0
    --gradient_checkpointing false --dataset_num_proc 1 --dataloader_num_workers 0
    --load_from_cache_file false --use_hf true
    """
)


CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
COLORS, SHAPES = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle")


def tiny_model() -> tuple[Any, Any]:
    """Return the tests' Qwen2.5-VL with the patches that ms-swift's pictures are cut for."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tiny

    model, processor = tiny.qwen()
    vision = model.config.vision_config
    vision.patch_size, vision.window_size = 14, 56
    for part in (processor.image_processor, processor.video_processor):
        part.patch_size = 14
    torch.manual_seed(0)
    return Qwen2_5_VLForConditionalGeneration(model.config), processor


def teach_format(model: Any, tokenizer: Any, *, steps: int = 400) -> float:
    """Teach answers of any span, in our format, to ms-swift's chat; return the last loss."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        query = f"a {rng.choice(COLORS)} {rng.choice(SHAPES)} is on screen."
        question = render_question({"task": "temporal_grounding", "query": query})
        asked = CHAT.format(question)
        spans = [(start, start + rng.integers(4, 10)) for start in rng.integers(0, 14, 6)]
        texts = [f"{asked}{render_span(*span, thought='Seen.')}<|im_end|>" for span in spans]
        rows = tokenizer(texts, padding=True, return_tensors="pt")
        labels = rows["input_ids"].masked_fill(rows["attention_mask"] == 0, -100)
        labels[:, : len(tokenizer(asked)["input_ids"])] = -100
        loss = model(**rows, labels=labels).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return loss.item()


def train(folder: Path) -> tuple[list[str], Path]:
    """Run ms-swift's command; return it and the folder of what it wrote."""
    model, processor = tiny_model()
    print("taught the format to a loss of", round(teach_format(model, processor.tokenizer), 3))
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    output = ["--model", str(folder / "model"), "--dataset", str(folder / "train.jsonl")]
    output += ["--output_dir", str(folder / "output"), "--add_version", "false"]
    export = [sys.executable, str(HERE / "dataset.py"), f"{CLIPS}/toyworld_sta_train.txt"]
    export += [f"{CLIPS}/videos", str(folder / "train.jsonl")]
    export += ["--lengths", f"{CLIPS}/toyworld_v1_train.csv"]
    environment = os.environ | FRAMES | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run(export, cwd=ROOT, env=environment, check=True)
    command = [sys.executable, "-m", "swift.cli.rlhf", *OPTIONS]
    subprocess.run([*command, *output], cwd=ROOT, env=environment, check=True)
    return ["swift", "rlhf", *OPTIONS], folder / "output"


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Read the one file of that name."""
    (path,) = folder.rglob(name)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    told = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command, output = train(Path(folder))
        completions = read_rows(output, "completions.jsonl")
        logged = [row for row in read_rows(output, "logging.jsonl") if "reward" in row]
    result = {
        "command": shlex.join(command),
        "frames": FRAMES,
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "seconds": round(time.perf_counter() - start, 1),
        "logged": logged,
        "completions": completions,
    }
    told.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"steps": len(logged), "seconds": result["seconds"]}))


if __name__ == "__main__":
    main()
