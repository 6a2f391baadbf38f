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
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import SmolVLMProcessor

from tools.pretraining import Batch, as_video, lay_out, save, train_language, train_vision
from tools.tiny_model import (
    EOS,
    IMAGE_SIZE,
    KINDS,
    NUM_FRAMES,
    build_model,
    build_processor,
    questions,
    video_prefix,
)
from vcr1_lib.toyworld import COLOURS, SHAPES, Scene, render, sample_scene


class ClipBatches:
    """Scenes rendered on the fly; every batch is a function of (seed, step) alone."""

    def __init__(self, processor: SmolVLMProcessor, *, clips: int, seed: int):
        self.tokenizer = processor.tokenizer
        self.prefix, self.after = video_prefix(processor)
        self.clips, self.seed = clips, seed

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step, 2))
        scenes = [sample_scene(int(seed)) for seed in rng.integers(10**6, 10**9, self.clips)]
        rows = [[self._encode(*pair) for pair in questions(scene, rng)] for scene in scenes]
        video = film(scenes, rng)
        prefix = torch.tensor(self.prefix).expand(self.clips, -1)
        return Batch(prefix, torch.ones_like(prefix), video, *lay_out(rows), KINDS)

    def _encode(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        asked = self.tokenizer(question + self.after)["input_ids"]
        return asked, self.tokenizer(f"{answer}{EOS}")["input_ids"]


def objects_on_screen(scene: Scene, second: int) -> Tensor:
    """Return which colours, shapes and pairs are visible, ``(39,)`` of 0 and 1."""
    colours, shapes = list(COLOURS), list(SHAPES)
    label = torch.zeros(len(colours) + len(shapes) + len(colours) * len(shapes))
    for event in scene.visible_at(second):
        colour, shape = colours.index(event.colour), shapes.index(event.shape)
        label[colour] = label[len(colours) + shape] = 1
        label[len(colours) + len(shapes) + colour * len(shapes) + shape] = 1
    return label


def draw_frames(args: argparse.Namespace, step: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng((args.seed, step, 1))
    scenes = [sample_scene(int(seed)) for seed in rng.integers(10**6, 10**9, args.clips)]
    labels = torch.stack([objects_on_screen(s, t) for s in scenes for t in range(NUM_FRAMES)])
    return film(scenes, rng), labels


def probe_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compare the probe's colours, shapes and pairs with the truth."""
    loss = functional.binary_cross_entropy_with_logits(logits, labels)
    return loss, ((logits > 0) == labels.bool()).all(-1).float().mean()


def film(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    """Render scenes as the processor would hand them over, ``(B, F, 3, H, W)``, with noise."""
    return as_video([render(scene, range(NUM_FRAMES), IMAGE_SIZE) for scene in scenes], rng)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    began = time.monotonic()
    processor = build_processor()
    model = build_model(processor)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, vocabulary {len(processor.tokenizer)}")
    num_names = len(objects_on_screen(sample_scene(0), 0))
    draw = partial(draw_frames, args)
    train_vision(model, draw, probe_loss, outputs=num_names, steps=args.vision_steps)
    batches = ClipBatches(processor, clips=args.clips, seed=args.seed)
    train_language(model, batches, steps=args.steps, lr=args.lr, save_to=args.output)
    seconds = time.monotonic() - began
    save(model, processor, "python -m tools.train_tiny_model", args, seconds)


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
