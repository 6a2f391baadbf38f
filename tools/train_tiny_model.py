"""Train the embedded base model from nothing, on toyworld.

The base must be what the paper's base was: it follows the format, it can see, and it
localises poorly. Three kinds of question share each clip: "what is on screen at second
t" and "list the visits" carry the knowledge and are answered truthfully; "when does this
happen" is answered with a sloppy span that holds some moment of the visit and never tells
its ends. Reinforcement then has something to find that was never shown to it.

    python -m tools.train_tiny_model --output data_samples/tiny_model
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import SmolVLMForConditionalGeneration, SmolVLMProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tools.tiny_model import (
    EOS,
    IMAGE_SIZE,
    NUM_FRAMES,
    build_model,
    build_processor,
    questions,
    video_prefix,
)
from vcr1_lib.groups import Prompts, score_groups
from vcr1_lib.toyworld import COLOURS, SHAPES, Scene, render, sample_scene


class ClipBatches:
    """Scenes rendered on the fly; every batch is a function of (seed, step) alone."""

    def __init__(self, processor: SmolVLMProcessor, *, clips: int, seed: int):
        self.tokenizer = processor.tokenizer
        self.prefix, self.after = video_prefix(processor)
        self.clips, self.seed = clips, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, step, 2))
        scenes = [sample_scene(int(seed)) for seed in rng.integers(10**6, 10**9, self.clips)]
        rows = [[self._encode(*pair) for pair in questions(scene, rng)] for scene in scenes]
        video = film(scenes, rng)
        longest = max(len(ids) for row in rows for ids, _ in row)
        tokens = torch.zeros(self.clips, len(rows[0]), longest, dtype=torch.long)
        mask, target = (
            torch.zeros_like(tokens, dtype=torch.bool),
            torch.zeros_like(tokens, dtype=torch.bool),
        )
        for i, row in enumerate(rows):
            for j, (ids, start) in enumerate(row):
                tokens[i, j, : len(ids)] = torch.tensor(ids)
                mask[i, j, : len(ids)] = True
                target[i, j, start : len(ids)] = True
        return video, tokens, mask, target

    def _encode(self, question: str, answer: str) -> tuple[list[int], int]:
        asked = self.tokenizer(question + self.after)["input_ids"]
        return asked + self.tokenizer(f"{answer}{EOS}")["input_ids"], len(asked)


def objects_on_screen(scene: Scene, second: int) -> Tensor:
    """Return which colours, shapes and pairs are visible, ``(39,)`` of 0 and 1."""
    colours, shapes = list(COLOURS), list(SHAPES)
    label = torch.zeros(len(colours) + len(shapes) + len(colours) * len(shapes))
    for event in scene.visible_at(second):
        colour, shape = colours.index(event.colour), shapes.index(event.shape)
        label[colour] = label[len(colours) + shape] = 1
        label[len(colours) + len(shapes) + colour * len(shapes) + shape] = 1
    return label


def pretrain_vision(model: SmolVLMForConditionalGeneration, args: argparse.Namespace) -> None:
    """Teach the vision tower to see before it meets words, as real towers were.

    A linear probe reads colours, shapes and pairs off each frame's visual token; it is
    thrown away afterwards.
    """
    width = model.config.text_config.hidden_size
    probe = torch.nn.Linear(width, len(objects_on_screen(sample_scene(0), 0)))
    tower = [*model.model.vision_model.parameters(), *model.model.connector.parameters()]
    optimizer = torch.optim.AdamW([*tower, *probe.parameters()], lr=2e-3, weight_decay=0.01)
    for step in range(args.vision_steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * lr_scale(step, args.vision_steps)
        rng = np.random.default_rng((args.seed, step, 1))
        scenes = [sample_scene(int(seed)) for seed in rng.integers(10**6, 10**9, args.clips)]
        labels = torch.stack([objects_on_screen(s, t) for s in scenes for t in range(NUM_FRAMES)])
        features = model.get_image_features(film(scenes, rng), return_dict=True).pooler_output
        logits = probe(torch.cat(list(features)))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            right = ((logits > 0) == labels.bool()).all(-1).float().mean()
            print(
                f"vision step {step + 1} loss {loss.item():.4f}, frames read right {right:.3f}",
                flush=True,
            )


def film(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    """Render scenes as the processor would hand them over, ``(B, F, 3, H, W)``, with noise."""
    pixels = np.stack([render(scene, range(NUM_FRAMES), IMAGE_SIZE) for scene in scenes])
    video = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return video + torch.from_numpy(rng.normal(0, 0.03, video.shape).astype(np.float32))


def lr_scale(step: int, steps: int, warmup: int = 40) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def train_language(
    model: SmolVLMForConditionalGeneration,
    batches: ClipBatches,
    *,
    steps: int,
    lr: float,
    save_to: Path | None = None,
) -> None:
    """Teach questions and answers, all of a clip's behind one shared prefix."""
    prefix = torch.tensor(batches.prefix).expand(batches.clips, -1)
    ones = torch.ones_like(prefix)
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * lr_scale(step, steps)
        video, tokens, mask, target = batches(step)
        features = model.get_image_features(video, return_dict=True).pooler_output
        vision = {
            "mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}
        }
        prompts = Prompts(prefix, ones, ones.cumsum(-1) - 1, vision)
        logps = score_groups(model, prompts, tokens, mask)
        loss = -logps[target].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if save_to is not None and step % 60 == 59:
            model.save_pretrained(save_to)
        if step % 20 == 19 or step == 0:
            kinds = [-logps[:, j][target[:, j]].mean().item() for j in range(target.shape[1])]
            print(
                f"step {step + 1} loss {loss.item():.3f}, by question {np.round(kinds, 2)}",
                flush=True,
            )


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    began = time.monotonic()
    processor = build_processor()
    model = build_model(processor)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, vocabulary {len(processor.tokenizer)}")
    pretrain_vision(model, args)
    batches = ClipBatches(processor, clips=args.clips, seed=args.seed)
    train_language(model, batches, steps=args.steps, lr=args.lr, save_to=args.output)
    save(model, processor, args, time.monotonic() - began)


def save(model, processor, args: argparse.Namespace, seconds: float) -> None:
    model.save_pretrained(args.output)
    processor.save_pretrained(args.output)
    record = {
        "command": "python -m tools.train_tiny_model",
        "arguments": {k: v for k, v in vars(args).items() if k != "output"},
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--vision-steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
