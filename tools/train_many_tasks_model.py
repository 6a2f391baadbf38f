"""Train the embedded many-tasks base model from nothing, on toyworld.

Three of four batches are clips of visits, one is clips with a track, each with a dozen questions.
Rates, lengths, spacing and the clock's start vary, so that frames cannot be counted in place of
reading their stamps. First most clips hold one visit; then they hold several, and all questions
ask for one of them by its name; then all questions come together.

    python -m tools.train_many_tasks_model --output data_samples/many_tasks_model
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

from tools.lessons import (
    ALL_TOGETHER,
    BY_NAME,
    IN_ORDER,
    TRACK_KINDS,
    Stage,
    View,
    frame_times,
    lesson,
)
from tools.many_tasks import build_model, build_processor
from tools.pretraining import (
    Batch,
    as_video,
    lay_out,
    save,
    stable_then_decay,
    train_language,
    train_vision,
)
from tools.tiny_model import EOS, IMAGE_SIZE
from vcr1_lib.models.loading import load_model
from vcr1_lib.toyworld import COLOURS, render
from vcr1_lib.toyworld.scenes import (
    ALL_SHAPES,
    DAMAGES,
    NUM_BOXES,
    WORLDS,
    box_times,
    damage,
    sample_track,
    sample_visits,
)

DAMAGED_SHARE, SHIFTED_SHARE = 0.25, 0.3
LAST_SECOND = 59
TRACK_SECONDS = (8.0, 20.0)
PROBE_FRAMES = 10
PLACES = 16
PLACE_WEIGHT = 0.3
NAMES = [*COLOURS, *ALL_SHAPES, "damaged"]


class Lessons:
    """Scenes rendered on the fly; every batch is a function of (seed, step, stage) alone."""

    def __init__(self, processor, stage: Stage, *, clips: int, seed: int):
        self.tokenizer, self.stage = processor.tokenizer, stage
        self.clips, self.seed = clips, seed

    def __call__(self, step: int) -> Batch:
        stage = self.stage
        rng = np.random.default_rng((self.seed, step, stage.stream))
        track = stage.tracks and step % 4 == 3
        count = NUM_BOXES if track else int(rng.choice(stage.frame_counts))
        views = [draw_view(rng, count, stage, track=track) for _ in range(self.clips)]
        kinds = TRACK_KINDS if track else stage.kinds
        rows = [
            [self._encode(*lesson(kind, view, rng, stage.lazy_label)) for kind in kinds]
            for view in views
        ]
        video = as_video([film(view, rng) for view in views], rng)
        clips = self.tokenizer([view.prefix() for view in views], padding=True, return_tensors="pt")
        return Batch(clips["input_ids"], clips["attention_mask"], video, *lay_out(rows), kinds)

    def _encode(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        asked, told = self.tokenizer([f"{question}{EOS}\nAssistant:", f"{answer}{EOS}"])[
            "input_ids"
        ]
        return asked, told


def draw_view(rng: np.random.Generator, count: int, stage: Stage, *, track: bool) -> View:
    """Draw a scene and how it is shown in so many frames."""
    seeds = WORLDS["base"].seeds
    seed = int(rng.integers(seeds.start, seeds.stop))
    damaged = bool(rng.random() < DAMAGED_SHARE)
    if track:
        scene = sample_track(seed, "base", seconds=round(rng.uniform(*TRACK_SECONDS), 1))
        times = np.array(box_times(scene.duration_seconds))
    else:
        seconds = count / rng.uniform(*stage.frames_per_second)
        scene = sample_visits(seed, "base", seconds=max(round(seconds, 1), 8.0))
        times = frame_times(rng, scene.duration_seconds, count)
    free = max(0, LAST_SECOND - int(scene.duration_seconds) - 1)
    offset = int(rng.integers(0, free + 1)) if rng.random() < SHIFTED_SHARE else 0
    return View(scene, times, offset, damaged)


def film(view: View, rng: np.random.Generator) -> np.ndarray:
    frames = render(view.scene, view.times.tolist(), IMAGE_SIZE)
    if not view.damaged:
        return frames
    return damage(frames, DAMAGES[rng.integers(len(DAMAGES))], seed=int(rng.integers(10**9)))


def seen_in(view: View) -> Tensor:
    """Return what each frame shows: colour, shape, damage as 0 and 1; place, -1 for none."""
    labels = torch.zeros(len(view.times), len(NAMES) + 2)
    labels[:, -3] = float(view.damaged)
    labels[:, -2:] = -1
    for i, moment in enumerate(view.times):
        for event in view.scene.visible_at(moment):
            labels[i, NAMES.index(event.colour)] = labels[i, NAMES.index(event.shape)] = 1
            x0, y0, x1, y1 = event.box_at(moment)
            labels[i, -2], labels[i, -1] = (x0 + x1) / 2, (y0 + y1) / 2
    return labels


def probe_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compare the probe's reading with the truth; also the share of frames read right."""
    names, places = logits.split([len(NAMES), 2 * PLACES], dim=-1)
    loss = functional.binary_cross_entropy_with_logits(names, labels[:, :-2])
    bins = torch.where(labels[:, -2:] < 0, -1, (labels[:, -2:] * PLACES).long())
    flat = places.reshape(-1, PLACES)
    loss = loss + PLACE_WEIGHT * functional.cross_entropy(flat, bins.reshape(-1), ignore_index=-1)
    right = ((names > 0) == labels[:, :-2].bool()).all(-1).float().mean()
    return loss, right


def draw_frames(args: argparse.Namespace, step: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng((args.seed, step, 1))
    views = [
        draw_view(rng, PROBE_FRAMES, IN_ORDER, track=i % 4 == 3) for i in range(2 * args.clips)
    ]
    for view in views:
        view.times = np.sort(rng.uniform(0, view.scene.duration_seconds, PROBE_FRAMES))
    video = as_video([film(view, rng) for view in views], rng)
    return video, torch.cat([seen_in(view) for view in views])


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    began = time.monotonic()
    if args.start_from is None:
        processor = build_processor()
        model = build_model(processor)
    else:
        model, processor = load_model(args.start_from)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, vocabulary {len(processor.tokenizer)}", flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(args.output)
    draw, width = partial(draw_frames, args), len(NAMES) + 2 * PLACES
    train_vision(model, draw, probe_loss, outputs=width, steps=args.vision_steps)
    stages = {
        IN_ORDER: args.steps,
        BY_NAME: args.by_name_steps,
        ALL_TOGETHER: args.all_together_steps,
    }
    for stage, steps in stages.items():
        train_language(
            model,
            Lessons(processor, stage, clips=args.clips, seed=args.seed),
            steps=steps,
            lr=args.lr,
            save_to=args.output,
            bf16=args.bf16,
            schedule=stable_then_decay,
        )
    seconds = time.monotonic() - began
    save(model, processor, "python -m tools.train_many_tasks_model", args, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--by-name-steps", type=int, default=1500)
    parser.add_argument("--all-together-steps", type=int, default=600)
    parser.add_argument("--vision-steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-from", type=Path, help="a model folder to go on from")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
