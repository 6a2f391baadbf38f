"""One GRPO step on Qwen2.5-VL at its true shape, random weights, nothing downloaded.

``python benchmarks/true_shape.py --size 3b`` on one CUDA GPU writes
``benchmarks/results/true_shape_3b.json``: seconds of rollout and update, tokens a second and
peak memory, in bf16 with LoRA and in NF4 with LoRA, with the shared prefix and with separate
rows. ``--size tiny --device cpu`` exercises the same code anywhere and writes nothing.
``--attention shared dense flex`` also times packed rows under one dense mask and under
FlexAttention (no backward on a CPU). Nothing here has run on CUDA yet.
Shapes are those of the published configurations of Qwen2.5-VL-3B and 7B.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import attentions
import torch
from peft import get_peft_model
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from vcr1_lib.groups import encode_prompts, score_groups, take
from vcr1_lib.groups.rollout import answer_noise, sample_groups
from vcr1_lib.groups.separate_rows import sample_rows, score_rows
from vcr1_lib.grpo import group_advantages, grpo_loss
from vcr1_lib.models.loading import ModelOptions, four_bit_config, keep_gradient, lora_config

RESULTS = Path(__file__).parent / "results"
VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2,
}  # fmt: skip
ROPE = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
TEXT: dict[str, dict[str, Any]] = {
    "3b": {
        "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
    "tiny": {
        "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
TINY_VISION = VISION | {
    "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
    "fullatt_block_indexes": [1],
}  # fmt: skip
# Temporal, height and width patches: 16 x 30 x 30 / 4 = 3,600 visual tokens.
GRID = {"3b": (16, 30, 30), "7b": (16, 30, 30), "tiny": (2, 4, 4)}
LENGTH = {"3b": 200, "7b": 200, "tiny": 5}
GROUP, STEPS, WARMUP = 8, 4, 1


def build(size: str, device: str, weights: str) -> nn.Module:
    """Return the random model with LoRA on its language layers."""
    text = TEXT[size] | {"rope_parameters": ROPE, "max_position_embeddings": 32768}
    vision = (TINY_VISION if size == "tiny" else VISION) | {"out_hidden_size": text["hidden_size"]}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=text["tie_word_embeddings"]
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    if weights == "nf4":
        model = quantise(model, device)
    model = get_peft_model(model, lora_config(ModelOptions()))
    model.enable_input_require_grads()
    return model.to(device)


def quantise(model: Any, device: str) -> Any:
    """Return the model with the four-bit weights that ``load_model`` would give it."""
    four_bits = four_bit_config(ModelOptions(), torch.bfloat16)
    small = type(model).from_pretrained(
        None, config=model.config, state_dict=model.state_dict(), dtype=torch.bfloat16,
        quantization_config=four_bits, device_map={"": device},
    )  # fmt: skip
    keep_gradient(small)
    return small


def prompt_of(config: Any, size: str, device: str) -> dict[str, Tensor]:
    """Return what the processor would: one random video and a short question."""
    frames, height, width = GRID[size]
    vision = config.vision_config
    video = frames * height * width // vision.spatial_merge_size**2
    text = torch.arange(1000, 1050)
    ids = [text, torch.tensor([config.vision_start_token_id])]
    ids += [torch.full((video,), config.video_token_id), text]
    input_ids = torch.cat(ids)[None]
    patch = 3 * vision.temporal_patch_size * vision.patch_size**2
    batch = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "mm_token_type_ids": 2 * (input_ids == config.video_token_id).long(),
        "pixel_values_videos": torch.randn(frames * height * width, patch, dtype=torch.bfloat16),
        "video_grid_thw": torch.tensor([[frames, height, width]]),
        "second_per_grid_ts": torch.tensor([1.0]),
    }
    return {key: value.to(device) for key, value in batch.items()}


def synchronise(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(size: str, device: str, weights: str, way: str, attention: str) -> dict[str, Any]:
    """Run some steps and return the median of each figure."""
    attentions.use(attention)
    model = build(size, device, weights)
    inner = model.get_base_model()
    config = inner.config
    batch = prompt_of(config, size, device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    banned = torch.zeros(config.text_config.vocab_size, dtype=torch.bool, device=device)
    banned[config.vision_start_token_id - 10 :] = True  # vision tokens and padding rows
    rollouts, updates = [], []
    for step in range(STEPS):
        inner.activation_checkpointing_disable()  # such layers keep no cache
        began = synchronise(device)
        noise = answer_noise(0, step, [0], group=GROUP, length=LENGTH[size])
        options: dict[str, Any] = {"noise": noise, "eos_token_id": -1, "banned": banned}
        model.eval()
        with torch.no_grad():
            prompts = encode_prompts(model, batch)
            if way == "shared":
                answers = sample_groups(model, prompts, **options)
            else:
                answers = sample_rows(model, [take(model, prompts, [0])], **options)
        model.train()
        inner.activation_checkpointing_enable({"use_reentrant": False})
        sampled = synchronise(device)
        if way == "shared":
            logps = score_groups(model, prompts, answers.tokens, answers.mask, banned=banned)
        else:
            logps = score_rows(model, batch, answers.tokens, answers.mask, banned=banned)
        advantages = group_advantages(torch.arange(GROUP, device=device)[None].float())
        grpo_loss(logps, advantages, answers.mask).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        rollouts.append(sampled - began)
        updates.append(synchronise(device) - sampled)
    rollout, update = (statistics.median(seconds[WARMUP:]) for seconds in (rollouts, updates))
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    return {
        "weights": weights, "way": way, "attention": attention,
        "prompt_tokens": batch["input_ids"].shape[1], "answers": GROUP,
        "answer_tokens": LENGTH[size], "rollout_seconds": rollout,
        "update_seconds": update, "step_seconds": rollout + update,
        "sampled_tokens_per_second": GROUP * LENGTH[size] / rollout, "peak_gib": peak,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=TEXT, default="3b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--weights", nargs="+", choices=("bf16", "nf4"), default=["bf16", "nf4"])
    parser.add_argument("--ways", nargs="+", default=["shared", "separate rows"])
    parser.add_argument("--attention", nargs="+", choices=attentions.WAYS, default=["shared"])
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA GPU here; --size tiny --device cpu exercises the same code")
    rows = []
    for weights in args.weights:
        for way, attention in product(args.ways, args.attention):
            if way != "shared" and attention != args.attention[0]:
                continue  # rows of their own are not packed
            rows.append(measure(args.size, args.device, weights, way, attention))
            print(json.dumps(rows[-1]), flush=True)
            if args.device == "cuda":
                torch.cuda.empty_cache()
    if args.device == "cuda":
        result = {
            "command": f"python benchmarks/true_shape.py --size {args.size}",
            "machine": f"{platform.machine()}, {torch.cuda.get_device_name()}",
            "versions": {n: metadata.version(n) for n in ("torch", "transformers", "peft")},
            "rows": rows,
        }
        path = RESULTS / f"true_shape_{args.size}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
