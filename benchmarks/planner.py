"""Measured peak memory of real GRPO steps on a CPU, beside what the planner predicts.

``python benchmarks/planner.py`` writes ``benchmarks/results/planner.json``. Random models of
Qwen2.5-VL's and SmolVLM's class, fp32; each case in a process of its own, two steps, so that the
optimizer's states are there. The peak is that of the process above what it held before the model
was built. Linux only: peaks are read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "planner.json"
STEPS, WORDS = 2, 20
# What is run, family, LoRA or full parameters, gradient checkpointing, G, R, frames.
Case = tuple[str, str, bool, bool, int, int, int]
CASES: dict[str, Case] = {
    "qwen2_5_vl, LoRA": ("step", "qwen2_5_vl", True, False, 8, 64, 8),
    "qwen2_5_vl, LoRA, checkpointing": ("step", "qwen2_5_vl", True, True, 8, 64, 8),
    "qwen2_5_vl, full": ("step", "qwen2_5_vl", False, False, 8, 64, 8),
    "qwen2_5_vl, full, checkpointing": ("step", "qwen2_5_vl", False, True, 8, 64, 8),
    "qwen2_5_vl, LoRA, G=4": ("step", "qwen2_5_vl", True, False, 4, 64, 8),
    "qwen2_5_vl, LoRA, 16 frames": ("step", "qwen2_5_vl", True, False, 8, 64, 16),
    "smolvlm, LoRA": ("step", "smolvlm", True, False, 8, 64, 8),
    "smolvlm, LoRA, checkpointing": ("step", "smolvlm", True, True, 8, 64, 8),
    "smolvlm, full": ("step", "smolvlm", False, False, 8, 64, 8),
    "smolvlm, full, checkpointing": ("step", "smolvlm", False, True, 8, 64, 8),
    "qwen2_5_vl, sampling only": ("sampling", "qwen2_5_vl", True, False, 8, 64, 64),
    "smolvlm, sampling only": ("sampling", "smolvlm", True, False, 8, 64, 32),
    "qwen2_5_vl, check at first use": ("check", "qwen2_5_vl", True, False, 8, 64, 8),
    "qwen2_5_vl, separate rows": ("separate", "qwen2_5_vl", True, False, 8, 64, 8),
}
TEXT = {
    "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
    "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 8192,
    "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
ADAPTED = r".*(language_model|text_model).*\.(q|k|v|o|gate|up|down)_proj"
SIDE = 128  # pixels


def config_of(family: str) -> Any:
    """Return a configuration of some 15 to 20 million parameters."""
    from transformers import Qwen2_5_VLConfig, SmolVLMConfig

    width = TEXT["hidden_size"]
    if family == "smolvlm":
        tower = {
            "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4,
            "num_attention_heads": 3, "image_size": SIDE, "patch_size": 8,
        }  # fmt: skip
        config = SmolVLMConfig(
            text_config=TEXT | {"model_type": "llama"}, vision_config=tower, scale_factor=2,
            image_token_id=10,
        )  # fmt: skip
    else:
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]}
        tower = {
            "depth": 4, "hidden_size": 160, "intermediate_size": 428, "num_heads": 4,
            "patch_size": 8, "out_hidden_size": width, "fullatt_block_indexes": [3],
            "window_size": 64,
        }  # fmt: skip
        config = Qwen2_5_VLConfig(
            text_config=TEXT | {"rope_parameters": rope}, vision_config=tower,
            tie_word_embeddings=True, video_token_id=10, image_token_id=11,
            vision_start_token_id=12, vision_end_token_id=13,
        )  # fmt: skip
    config._attn_implementation = "sdpa"
    return config


def batch_of(config: Any, frames: int) -> tuple[dict[str, Any], Any]:
    """Return what the processor would for random pictures, and the counts of it."""
    import torch

    from vcr1_lib.planning.shapes import Video

    tower = config.vision_config
    side = SIDE // tower.patch_size
    smolvlm = config.model_type == "smolvlm"
    steps = frames if smolvlm else frames // tower.temporal_patch_size
    patches = steps * side**2
    visual = patches // (config.scale_factor if smolvlm else tower.spatial_merge_size) ** 2
    ids = torch.cat([torch.full((visual,), 10), torch.arange(100, 100 + WORDS)])[None]
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if smolvlm:
        batch["pixel_values"] = torch.randn(1, frames, 3, SIDE, SIDE)
        batch["pixel_attention_mask"] = torch.ones(1, frames, SIDE, SIDE, dtype=torch.bool)
    else:
        row = 3 * tower.temporal_patch_size * tower.patch_size**2
        batch |= {
            "mm_token_type_ids": 2 * (ids == 10).long(),
            "pixel_values_videos": torch.randn(patches, row),
            "video_grid_thw": torch.tensor([[steps, side, side]]),
            "second_per_grid_ts": torch.tensor([1.0]),
        }
    return batch, Video(patches, ids.shape[1])


def grpo_steps(config: Any, case: Case, steps: int) -> None:
    """Build a model and run some steps: sample, score, update."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from vcr1_lib.groups import encode_prompts, score_groups
    from vcr1_lib.groups.rollout import answer_noise, sample_groups
    from vcr1_lib.groups.separate_rows import score_rows, shares_prefix_exactly
    from vcr1_lib.grpo import group_advantages, grpo_loss
    from vcr1_lib.models import family_of

    what, _, lora, checkpointing, group, length, frames = case
    torch.manual_seed(0)
    model: Any = AutoModelForImageTextToText.from_config(config)
    for module in family_of(model).tower(model):
        module.requires_grad_(False)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if lora:
        model = get_peft_model(model, LoraConfig(r=16, target_modules=ADAPTED))
        model.enable_input_require_grads()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    batch, _ = batch_of(config, frames)
    banned = torch.zeros(TEXT["vocab_size"], dtype=torch.bool)
    banned[:20] = True
    for step in range(steps):
        noise = answer_noise(0, step, [0], group=group, length=length)
        model.eval()
        with torch.no_grad():
            prompts = encode_prompts(model, batch)
            answers = sample_groups(model, prompts, noise=noise, eos_token_id=-1, banned=banned)
        if what == "sampling":
            continue
        if what == "check":
            shares_prefix_exactly(model, batch, *answers[:3], banned=banned)
            continue
        model.train()
        if what == "separate":
            logps = score_rows(model, batch, answers.tokens, answers.mask, banned=banned)
        else:
            logps = score_groups(model, prompts, answers.tokens, answers.mask, banned=banned)
        advantages = group_advantages(torch.arange(group)[None].float())
        grpo_loss(logps, advantages, answers.mask).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def status(name: str) -> int:
    """Return a figure of this process in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(f"{name}:")[1].split()[0])


def run_child(case: Case) -> dict[str, int]:
    """Return the measured peak and the predicted one."""
    from vcr1_lib.planning.footprint import footprint
    from vcr1_lib.planning.setup import read_setup
    from vcr1_lib.planning.shapes import shape_of

    what, family, lora, checkpointing, group, length, frames = case
    config = config_of(family)
    _, video = batch_of(config, frames)
    options = {
        "dtype": "float32", "use_peft": lora, "gradient_checkpointing": checkpointing,
        "num_generations": group, "max_completion_length": length,
        "shared_prefix": what != "separate",
    }  # fmt: skip
    shape = shape_of(config)
    plan = footprint(shape, read_setup(options), video, margin=0)
    held = plan.weights + plan.adapters
    predicted = {
        "step": plan.held + max(plan.rollout, plan.update),
        "separate": plan.held + max(plan.rollout, plan.update),
        "sampling": held + plan.rollout,
        "check": held + plan.features + plan.check,
    }[what]
    grpo_steps(
        config_of(family), (what, family, lora, checkpointing, 2, 2, 2), 1
    )  # loads what runs
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    grpo_steps(config, case, STEPS)
    return {
        "parameters": shape.total, "prompt_tokens": video.prompt_tokens,
        "predicted_bytes": predicted, "measured_bytes": status("VmHWM") - before,
        "held_bytes": plan.held, "rollout_bytes": plan.rollout, "update_bytes": plan.update,
    }  # fmt: skip


def measure(name: str) -> dict[str, Any]:
    """Run one case in a process of its own."""
    # Freed tensors go back to the system at once, so that the peak is of tensors in use.
    fresh = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", name],
        capture_output=True, text=True, check=False, env=os.environ | fresh, cwd=ROOT,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    row = json.loads(done.stdout.splitlines()[-1])
    return row | {"ratio": round(row["predicted_bytes"] / row["measured_bytes"], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(run_child(CASES[args.child])))
        return
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in CASES:
        rows[name] = [measure(name) for _ in range(args.rounds)]
        print(name, rows[name], flush=True)
    result = {
        "command": f"python benchmarks/planner.py --rounds {args.rounds}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, one thread used",
        "versions": {n: metadata.version(n) for n in ("torch", "transformers", "peft")},
        "text": TEXT,
        "cases": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
