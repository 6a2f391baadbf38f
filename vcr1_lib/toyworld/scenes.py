"""Toyworld clips with several visits, with a track, or damaged.

At most one coloured object is on screen at a time, so "which", "how many" and "in what order"
have one answer; a grey object may pass behind it. Four splits, disjoint by seed:

- ``base``: what a base model is pretrained on, as real ones know the world: every colour and
  shape, clips of 8 to 40 s
- ``train``: what fine-tuning sees: the training pairs of four shapes, clips of 20 s
- ``heldout``: six colour-shape pairs that fine-tuning never sees, and a background (checker)
  that nothing before has shown
- ``far``: out of domain: clips of 32 s, shapes that fine-tuning never sees (ring, diamond) and
  a background (dots) that nothing before has shown
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vcr1_lib.toyworld import (
    COLOURS,
    HELDOUT_PAIRS,
    SHAPES,
    TRAIN_PAIRS,
    Event,
    Scene,
    sample_event,
    set_scene,
)

TaskSplit = Literal["base", "train", "heldout", "far"]
Damage = Literal["mosaic", "noise", "haze"]

FAR_SHAPES: Final = ("ring", "diamond")
FAR_PAIRS: Final = tuple(product(COLOURS, FAR_SHAPES))
ALL_SHAPES: Final = (*SHAPES, *FAR_SHAPES)
DAMAGES: Final[tuple[Damage, ...]] = ("mosaic", "noise", "haze")

VISIT_SECONDS: Final = (3.0, 6.0)
GAP_SECONDS: Final = 0.6
SECONDS_PER_VISIT: Final = 6.5
MAX_VISITS: Final = 4
NUM_BOXES: Final = 8
PASSER_SHARE: Final = 0.5
GRID: Final = 16  # cells a side of what damages a picture
GRAIN, HAZE, HAZE_CONTRAST = 32, 150, 0.35


class World(NamedTuple):
    """What the scenes of a split are made of.

    Attributes:
        seeds: Which seeds belong to it.
        pairs: Colours and shapes of the objects that are asked about.
        patterns: Backgrounds.
        seconds: Shortest and longest clip of visits; a clip with a track has half of it.
    """

    seeds: range
    pairs: tuple[tuple[str, str], ...]
    patterns: tuple[str, ...]
    seconds: tuple[float, float]


WORLDS: Final[dict[TaskSplit, World]] = {
    "base": World(
        range(10**6, 10**9),
        tuple(product(COLOURS, ALL_SHAPES)),
        ("plain", "gradient", "stripes"),
        (8.0, 40.0),
    ),
    "train": World(range(10**6), TRAIN_PAIRS, ("plain", "gradient", "stripes"), (20.0, 20.0)),
    "heldout": World(range(10**9, 2 * 10**9), HELDOUT_PAIRS, ("checker",), (20.0, 20.0)),
    "far": World(range(2 * 10**9, 3 * 10**9), FAR_PAIRS, ("dots",), (32.0, 32.0)),
}


def _start(seed: int, split: TaskSplit, stream: int) -> tuple[World, np.random.Generator, float]:
    world = WORLDS[split]
    if seed not in world.seeds:
        raise ValueError(f"expected a {split} seed in {world.seeds}, got {seed}")
    rng = np.random.default_rng((seed, stream))
    return world, rng, round(float(rng.uniform(*world.seconds)))


def sample_visits(seed: int, split: TaskSplit, *, seconds: float | None = None) -> Scene:
    """Draw a clip with visits by coloured objects, one after the other.

    Args:
        seed: Any integer of ``WORLDS[split].seeds``; the same seed gives the same scene.
        split: Which pairs, backgrounds and lengths may appear.
        seconds: Length of the clip; by default drawn from the split's.

    Raises:
        ValueError: If the seed belongs to another split.

    >>> [(e.name, e.start_seconds, e.end_seconds) for e in sample_visits(3, "train").events][:2]
    [('cyan triangle', 0.7, 5.3), ('blue triangle', 7.4, 13.1)]
    """
    world, rng, drawn = _start(seed, split, 1)
    duration = drawn if seconds is None else seconds
    most = int(min(MAX_VISITS, max(1, duration // SECONDS_PER_VISIT)))
    num_visits = int(rng.integers(min(2, most), most + 1))
    chosen = rng.choice(len(world.pairs), num_visits, replace=False)
    spans = _spans_in_turn(rng, num_visits, duration)
    events = tuple(
        sample_event(rng, world.pairs[i], span) for i, span in zip(chosen, spans, strict=True)
    )
    return set_scene(rng, duration, world.patterns, events, _passers(rng, duration))


def _passers(rng: np.random.Generator, duration: float) -> tuple[Event, ...]:
    if rng.random() >= PASSER_SHARE:
        return ()
    length = float(rng.uniform(*VISIT_SECONDS))
    start = float(rng.uniform(0, max(duration - length, 0.1)))
    return (sample_event(rng, ("grey", str(rng.choice(SHAPES))), (start, start + length)),)


def _spans_in_turn(
    rng: np.random.Generator, num_visits: int, duration: float
) -> list[tuple[float, float]]:
    """Draw spans in tenths of a second that do not touch."""
    lengths = rng.uniform(*VISIT_SECONDS, num_visits)
    spare = duration - lengths.sum() - GAP_SECONDS * (num_visits - 1)
    waits = rng.dirichlet(np.ones(num_visits + 1))[:-1] * max(spare, 0.0)
    starts = np.cumsum(waits + np.concatenate([[0.0], lengths[:-1] + GAP_SECONDS]))
    ends = np.minimum(starts + lengths, duration)
    return [(round(float(s), 1), round(float(e), 1)) for s, e in zip(starts, ends, strict=True)]


def sample_track(seed: int, split: TaskSplit, *, seconds: float | None = None) -> Scene:
    """Draw a clip with one coloured object that is there all the time and turns once or twice.

    Its ``events`` are the straight pieces of its way. Arguments as of :func:`sample_visits`.
    """
    world, rng, drawn = _start(seed, split, 2)
    duration = drawn / 2 if seconds is None else seconds
    pair = world.pairs[int(rng.integers(len(world.pairs)))]
    num_pieces = int(rng.integers(2, 4))
    turns = np.arange(num_pieces + 1) / num_pieces * duration
    first = sample_event(rng, pair, (0.0, duration))
    points = [first.start_xy, first.end_xy]
    points += [sample_event(rng, pair, (0.0, 1.0)).end_xy for _ in range(num_pieces - 1)]
    events = tuple(
        first._replace(start_seconds=float(a), end_seconds=float(b), start_xy=p, end_xy=q)
        for (a, b), (p, q) in zip(pairwise(turns), pairwise(points), strict=True)
    )
    return set_scene(rng, duration, world.patterns, events, _passers(rng, duration))


def box_times(duration_seconds: float) -> list[float]:
    """Return when a track's boxes are asked for: the starts of equal parts, in seconds."""
    return [float(t) for t in np.arange(NUM_BOXES) * duration_seconds / NUM_BOXES]


def box_in(scene: Scene, time_seconds: float) -> list[float] | None:
    """Return the box of the coloured object on screen at a time, to the hundredth, if any."""
    shown = scene.visible_at(time_seconds)
    return [round(side, 2) for side in shown[0].box_at(time_seconds)] if shown else None


def damage(frames: NDArray[np.uint8], kind: Damage, *, seed: int) -> NDArray[np.uint8]:
    """Spoil pictures in a way that survives compression and any resizing.

    Args:
        frames: ``(F, H, W, 3)``; the sides are multiples of 16.
        kind: ``"mosaic"`` shows coarse cells, ``"noise"`` strews grains that stay, ``"haze"``
            takes most of the contrast.
        seed: Of the grains.
    """
    picture: NDArray[Any] = frames.astype(np.float32)
    cell = frames.shape[1] // GRID
    if kind == "haze":
        picture = HAZE + HAZE_CONTRAST * (picture - HAZE)
    elif kind == "mosaic":
        coarse = 2 * cell
        means = picture[:, coarse // 2 :: coarse, coarse // 2 :: coarse]
        picture = means.repeat(coarse, 1).repeat(coarse, 2)
    else:
        size = (2 * GRID, 2 * GRID, 1)
        grains = np.random.default_rng(seed).normal(0, GRAIN, size)
        picture = picture + grains.repeat(cell // 2, 0).repeat(cell // 2, 1)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)
