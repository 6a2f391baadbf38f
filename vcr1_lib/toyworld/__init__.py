"""A small world of coloured shapes whose truth is known exactly.

A :class:`Scene` is a plain description: who is on screen, from when to when, where.
It is rendered at any time and size, so the same scene serves as pixels for training,
as an MP4 for everything that decodes, and as the answer key.

The world is split so that a held-out score cannot be memorised: held-out scenes use
colour-shape pairs, a background pattern and seeds that no training scene uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "heldout"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (230, 60, 55),
    "green": (60, 200, 90),
    "blue": (65, 105, 240),
    "yellow": (240, 215, 60),
    "purple": (175, 80, 225),
    "cyan": (70, 215, 230),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")
HELDOUT_PAIRS = (
    ("red", "triangle"),
    ("green", "circle"),
    ("blue", "square"),
    ("yellow", "cross"),
    ("purple", "triangle"),
    ("cyan", "square"),
)
TRAIN_PAIRS = tuple(pair for pair in product(COLOURS, SHAPES) if pair not in HELDOUT_PAIRS)
PATTERNS: dict[Split, tuple[str, ...]] = {
    "train": ("plain", "gradient", "stripes"),
    "heldout": ("checker",),
}
SEED_RANGES: dict[Split, range] = {"train": range(0, 10**9), "heldout": range(10**9, 2 * 10**9)}

DURATION_SECONDS = 24.0
EVENT_SECONDS = (3.0, 8.0)
MAX_AT_ONCE = 2
# How far shapes reach from their centre, left, up, right and down, in radii; others reach 1.
REACH = {"square": (0.88, 0.88, 0.88, 0.88), "triangle": (0.984, 1.119, 0.984, 0.85)}
GREY = (110, 110, 110)


class Event(NamedTuple):
    """One object's visit: visible for ``start_seconds <= t < end_seconds``."""

    colour: str
    shape: str
    start_seconds: float
    end_seconds: float
    start_xy: tuple[float, float]
    end_xy: tuple[float, float]
    radius: float

    @property
    def name(self) -> str:
        """The object's name, as questions and answers use it: ``"red circle"``."""
        return f"{self.colour} {self.shape}"

    def box_at(
        self, time_seconds: float, *, tight: bool = False
    ) -> tuple[float, float, float, float]:
        """Return the box around the object, ``(x0, y0, x1, y1)`` as shares of the picture.

        Args:
            time_seconds: When.
            tight: To the edges of the shape, instead of a radius about its centre (the tracks').
        """
        share = (time_seconds - self.start_seconds) / (self.end_seconds - self.start_seconds)
        x, y = (a + share * (b - a) for a, b in zip(self.start_xy, self.end_xy, strict=True))
        reach = REACH.get(self.shape, (1.0,) * 4) if tight else (1.0,) * 4
        left, up, right, down = (self.radius * side for side in reach)
        sides = (x - left, y - up, x + right, y + down)
        x0, y0, x1, y1 = (min(1.0, max(0.0, side)) for side in sides)
        return x0, y0, x1, y1


class Clutter(NamedTuple):
    """A grey shape that never moves and is never asked about."""

    shape: str
    xy: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Scene:
    """A clip before it is drawn. Lengths are fractions of the picture's side."""

    duration_seconds: float
    pattern: str
    tint: tuple[int, int, int]
    events: tuple[Event, ...]
    passers: tuple[Event, ...] = ()
    clutter: tuple[Clutter, ...] = ()

    def visible_at(self, time_seconds: float) -> list[Event]:
        """Return the events on screen at a time, in order of their start."""
        return [e for e in self.events if e.start_seconds <= time_seconds < e.end_seconds]


def query_of(event: Event) -> str:
    """Return the sentence that asks for an event, in Charades-STA's manner.

    >>> query_of(sample_scene(7).events[0])
    'a white triangle is on screen.'
    """
    return f"a {event.name} is on screen."


def sample_scene(seed: int, split: Split = "train", *, num_events: int = 1) -> Scene:
    """Draw the scene that belongs to a seed.

    Args:
        seed: Any integer of ``SEED_RANGES[split]``; the same seed gives the same scene.
        split: Which pairs and backgrounds may appear.
        num_events: Visits by coloured objects, which can be asked about; one or two grey
            objects come and go besides.

    Raises:
        ValueError: If the seed belongs to the other split.

    >>> scene = sample_scene(7)
    >>> [(e.name, e.start_seconds, e.end_seconds) for e in scene.events][0]
    ('white triangle', 0.1, 4.2)
    """
    if seed not in SEED_RANGES[split]:
        raise ValueError(f"expected a {split} seed in {SEED_RANGES[split]}, got {seed}")
    rng = np.random.default_rng(seed)
    pairs = TRAIN_PAIRS if split == "train" else HELDOUT_PAIRS
    chosen = rng.choice(len(pairs), num_events, replace=False)
    num_passers = int(rng.integers(1, 3))
    spans = _sample_spans(rng, num_events + num_passers)
    order = rng.permutation(len(spans))
    asked, passing = sorted(order[:num_events]), order[num_events:]
    events = tuple(
        sample_event(rng, pairs[i], spans[n]) for i, n in zip(chosen, asked, strict=True)
    )
    passers = tuple(sample_event(rng, ("grey", str(rng.choice(SHAPES))), spans[n]) for n in passing)
    return set_scene(rng, DURATION_SECONDS, PATTERNS[split], events, passers)


def set_scene(
    rng: np.random.Generator,
    duration_seconds: float,
    patterns: Sequence[str],
    events: tuple[Event, ...],
    passers: tuple[Event, ...],
) -> Scene:
    """Put events before a background drawn at random, with up to two pieces of clutter."""
    clutter = tuple(
        Clutter(str(rng.choice(SHAPES)), _point(rng), float(rng.uniform(0.04, 0.07)))
        for _ in range(rng.integers(0, 3))
    )
    red, green, blue = rng.integers(10, 70, 3)
    pattern = str(rng.choice(patterns))
    tint = (int(red), int(green), int(blue))
    return Scene(duration_seconds, pattern, tint, events, passers, clutter)


def _sample_spans(rng: np.random.Generator, num: int) -> list[tuple[float, float]]:
    """Draw spans in tenths of a second, at most ``MAX_AT_ONCE`` of them overlapping."""
    while True:
        lengths = rng.uniform(*EVENT_SECONDS, num)
        starts = rng.uniform(0, DURATION_SECONDS - lengths)
        spans = sorted((round(s, 1), round(s + n, 1)) for s, n in zip(starts, lengths, strict=True))
        if all(sum(a <= s < b for a, b in spans) <= MAX_AT_ONCE for s, _ in spans):
            return [(float(s), float(e)) for s, e in spans]


def _point(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(0.18, 0.82, 2)
    return float(x), float(y)


def sample_event(
    rng: np.random.Generator, pair: tuple[str, str], span: tuple[float, float]
) -> Event:
    """Draw where a visit of a colour and shape, from start to end in seconds, takes place."""
    return Event(*pair, *span, _point(rng), _point(rng), float(rng.uniform(0.15, 0.19)))


def render(scene: Scene, times_seconds: Sequence[float], size: int) -> NDArray[np.uint8]:
    """Draw a scene.

    Args:
        scene: What to draw.
        times_seconds: Moments to draw, seconds from the start of the clip.
        size: Side of the square picture, in pixels.

    Returns:
        Frames ``(F, size, size, 3)``, RGB.
    """
    times = np.asarray(times_seconds, dtype=np.float64)
    frames = np.repeat(_background(scene, size)[None], len(times), axis=0)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    for item in scene.clutter:
        centre = np.repeat(np.array([item.xy], dtype=np.float32), len(times), axis=0)
        _paint(frames, axis, centre, item.shape, item.radius, GREY)
    for event in scene.passers + scene.events:
        on = np.flatnonzero((times >= event.start_seconds) & (times < event.end_seconds))
        if not len(on):
            continue
        share = (times[on] - event.start_seconds) / (event.end_seconds - event.start_seconds)
        a, b = np.array(event.start_xy), np.array(event.end_xy)
        centre = (a + share[:, None] * (b - a)).astype(np.float32)
        visible = frames[on]
        _paint(visible, axis, centre, event.shape, event.radius, COLOURS.get(event.colour, GREY))
        frames[on] = visible
    return np.clip(frames + 0.5, 0, 255).astype(np.uint8)


def _background(scene: Scene, size: int) -> NDArray[Any]:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    relief = {
        "plain": np.zeros_like(x),
        "gradient": x + y - 1,
        "stripes": np.sign(np.sin(x * 8 * np.pi)),
        "checker": np.sign(np.sin(x * 6 * np.pi) * np.sin(y * 6 * np.pi)),
        "dots": np.sign(np.sin(x * 10 * np.pi) + np.sin(y * 10 * np.pi) - 1),
    }[scene.pattern]
    tint = np.array(scene.tint, dtype=np.float32)
    return tint + 9 * relief[..., None]


def _paint(
    frames: NDArray[Any],
    axis: NDArray[Any],
    centre: NDArray[Any],
    shape: str,
    radius: float,
    colour: tuple[int, int, int],
) -> None:
    """Blend one object into ``frames`` (F, S, S, 3) at ``centre`` (F, 2), in place."""
    dx = axis[None, None, :] - centre[:, 0, None, None]
    dy = axis[None, :, None] - centre[:, 1, None, None]
    distance = _distance(shape, dx / radius, dy / radius) * radius
    cover = np.clip(0.5 - distance * len(axis), 0, 1)[..., None]
    frames *= 1 - cover
    frames += cover * np.array(colour, dtype=np.float32)


def _distance(shape: str, x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Return roughly how far a point lies outside the shape, in radii (negative inside)."""
    ax, ay = np.abs(x), np.abs(y)
    if shape == "circle":
        return np.hypot(x, y) - 1
    if shape == "square":
        return np.maximum(ax, ay) - 0.88
    if shape == "triangle":
        return np.maximum(0.894 * ax - 0.447 * y - 0.5, y - 0.85) + 0 * ax
    if shape == "ring":
        return np.abs(np.hypot(x, y) - 0.72) - 0.28
    if shape == "diamond":
        return 0.707 * (ax + ay - 1)
    arm = 0.34
    return np.minimum(np.maximum(ax - 1, ay - arm), np.maximum(ax - arm, ay - 1))


def write_mp4(
    scene: Scene,
    path: str | Path,
    *,
    fps: int = 8,
    size: int = 128,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> None:
    """Encode a scene as a real H.264 MP4.

    Args:
        scene: What to film.
        path: File to write.
        fps: Frames per second; the frame shown at time t is drawn for time t.
        size: Side of the picture, in pixels; even.
        change: Applied to all frames ``(F, size, size, 3)`` before they are encoded.
    """
    import av

    times = np.arange(round(scene.duration_seconds * fps)) / fps
    frames = render(scene, times.tolist(), size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23", "preset": "slow"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for picture in frames if change is None else change(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
