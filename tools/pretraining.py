"""What the pretraining of both embedded models shares: the loops, the schedule, the record."""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import SmolVLMForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vcr1_lib.groups import Prompts, score_groups

PIXEL_NOISE = 0.03
VISION_LR = 2e-3


class Batch(NamedTuple):
    """Clips with questions, all of a clip's behind one shared prefix.

    Attributes:
        prefix: ``(B, P)`` tokens of the clips, padded on the left.
        prefix_mask: ``(B, P)``, 1 where there is a token.
        video: ``(B, F, 3, H, W)``.
        tokens: ``(B, Q, R)`` questions with their answers.
        mask: ``(B, Q, R)``, true where there is a token.
        target: ``(B, Q, R)``, true on the answers.
        kinds: ``Q`` names of what is asked.
    """

    prefix: Tensor
    prefix_mask: Tensor
    video: Tensor
    tokens: Tensor
    mask: Tensor
    target: Tensor
    kinds: Sequence[str]


def lay_out(rows: list[list[tuple[list[int], list[int]]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad questions and answers to ``tokens``, ``mask`` and ``target`` of a batch."""
    longest = max(len(asked) + len(told) for row in rows for asked, told in row)
    tokens = torch.zeros(len(rows), len(rows[0]), longest, dtype=torch.long)
    mask, target = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens).bool()
    for i, row in enumerate(rows):
        for j, (asked, told) in enumerate(row):
            end = len(asked) + len(told)
            tokens[i, j, :end] = torch.tensor(asked + told)
            mask[i, j, :end] = True
            target[i, j, len(asked) : end] = True
    return tokens, mask, target


def as_video(clips: Sequence[np.ndarray], rng: np.random.Generator) -> Tensor:
    """Hand over frames as the processor would, ``(B, F, 3, H, W)``, with noise."""
    video = torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return video + torch.from_numpy(rng.normal(0, PIXEL_NOISE, video.shape).astype(np.float32))


def lr_scale(step: int, steps: int, warmup: int = 40) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def stable_then_decay(step: int, steps: int, warmup: int = 40, decay: float = 0.25) -> float:
    """Hold the rate, then lower it linearly over the last part; half-way is then a checkpoint."""
    if step < warmup:
        return (step + 1) / warmup
    return min(1.0, max(0.02, (steps - step) / (decay * steps)))


def train_vision(
    model: SmolVLMForConditionalGeneration,
    draw: Callable[[int], tuple[Tensor, Tensor]],
    loss_of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    *,
    outputs: int,
    steps: int,
) -> None:
    """Teach the vision tower to see before it meets words, as real towers were.

    A linear probe reads off each frame's visual token what is in it; it is thrown away
    afterwards.

    Args:
        model: The model; its vision tower and connector are trained.
        draw: ``step -> (video, labels)``.
        loss_of: ``(logits, labels) -> (loss, share of frames read right)``.
        outputs: Width of the probe.
        steps: How many batches.
    """
    probe = torch.nn.Linear(model.config.text_config.hidden_size, outputs)
    tower = [*model.model.vision_model.parameters(), *model.model.connector.parameters()]
    optimizer = torch.optim.AdamW([*tower, *probe.parameters()], lr=VISION_LR, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = VISION_LR * lr_scale(step, steps)
        video, labels = draw(step)
        features = model.get_image_features(video, return_dict=True).pooler_output
        loss, right = loss_of(probe(torch.cat(list(features))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            print(
                f"vision step {step + 1} loss {loss.item():.4f}, frames read right {right:.3f}",
                flush=True,
            )


def train_language(
    model: SmolVLMForConditionalGeneration,
    batches: Callable[[int], Batch],
    *,
    steps: int,
    lr: float,
    save_to: Path | None = None,
    bf16: bool = False,
    schedule: Callable[[int, int], float] = lr_scale,
) -> None:
    """Teach questions and answers, all of a clip's behind one shared prefix.

    Args:
        model: All of it is trained.
        batches: ``step -> batch``.
        steps: How many batches.
        lr: Highest learning rate.
        save_to: Where the weights are kept meanwhile.
        bf16: Multiply matrices in bfloat16, a third faster on a CPU that has it.
        schedule: ``(step, steps) -> share of lr``.
    """
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    losses: dict[str, list[float]] = defaultdict(list)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, steps)
        batch = batches(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logps = answer_logps(model, batch).float()
        loss = -logps[batch.target].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for j, kind in enumerate(batch.kinds):
            losses[kind].append(-logps[:, j][batch.target[:, j]].mean().item())
        if save_to is not None and step % 60 == 59:
            model.save_pretrained(save_to)
        if step % 20 == 19 or step == 0:
            told = ", ".join(f"{kind} {np.mean(seen):.2f}" for kind, seen in losses.items())
            print(f"step {step + 1} loss {loss.item():.3f}, by question: {told}", flush=True)
            losses.clear()


def answer_logps(model: SmolVLMForConditionalGeneration, batch: Batch) -> Tensor:
    """Return the log-probability of every token of a batch's questions and answers."""
    features = model.get_image_features(batch.video, return_dict=True).pooler_output
    vision = {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}
    positions = (batch.prefix_mask.cumsum(-1) - 1).clamp(min=0)
    prompts = Prompts(batch.prefix, batch.prefix_mask, positions, vision)
    return score_groups(model, prompts, batch.tokens, batch.mask)


def save(model, processor, command: str, args: argparse.Namespace, seconds: float) -> None:
    """Write the model, its processor and how it was made."""
    model.save_pretrained(args.output)
    processor.save_pretrained(args.output)
    started = getattr(args, "start_from", None)
    record = {
        "command": command,
        "arguments": {k: v for k, v in vars(args).items() if k not in ("output", "start_from")},
        "start_from": started and str(started),
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    (args.output / "training.json").write_text(json.dumps(record, indent=1) + "\n")
