"""Answers to notebook 01's exercises, right and wrong; ``test_checks`` tries them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from vcr1_lib.video.tokens import time_positions


def moments(duration: float, fps: float, max_frames: int) -> list[float]:
    count = min(math.ceil(duration * fps), max_frames)
    step = 1 / fps if count == math.ceil(duration * fps) else duration / count
    return [i * step for i in range(count)]


def moments_by_numpy(duration: float, fps: float, max_frames: int) -> Any:
    times = np.arange(0, duration, 1 / fps)
    if len(times) > max_frames:
        times = np.linspace(0, duration, max_frames, endpoint=False)
    return times


def cut_off(duration: float, fps: float, max_frames: int) -> list[float]:
    return [i / fps for i in range(math.ceil(duration * fps))][:max_frames]


def with_the_end(duration: float, fps: float, max_frames: int) -> list[float]:
    return [i / fps for i in range(int(duration * fps) + 1)]


def fps_as_step(duration: float, fps: float, max_frames: int) -> list[float]:
    return [float(t) for t in np.arange(0, duration, fps)]


def to_the_end(duration: float, fps: float, max_frames: int) -> Any:
    times = np.arange(0, duration, 1 / fps)
    return times if len(times) <= max_frames else np.linspace(0, duration, max_frames)


RIGHT: dict[str, list[Callable[..., Any]]] = {
    "sample_moments": [moments, moments_by_numpy],
    "visual_tokens": [
        lambda n, h, w: math.ceil(n / 2) * (h // 28) * (w // 28),
        lambda n, h, w: (n + 1) // 2 * (h // 14) * (w // 14) // 4,
    ],
    "step_positions": [
        lambda steps, fps: time_positions(steps, seconds_per_step=2 / fps),
        lambda steps, fps: [int(i * 4 / fps) for i in range(steps)],
    ],
}


def added_up(duration: float, fps: float, max_frames: int) -> list[float]:
    moments, now = [], 0.0
    while now < duration:
        moments.append(now)
        now += 1 / fps
    count = len(moments)
    return (
        moments if count <= max_frames else [duration * i / max_frames for i in range(max_frames)]
    )


def whole_seconds(duration: float, fps: float, max_frames: int) -> list[float]:
    count = int(duration * fps)
    if count <= max_frames:
        return [i / fps for i in range(count)]
    return [duration * i / max_frames for i in range(max_frames)]


WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "sample_moments": [
        (with_the_end, "stop before the end"),
        (fps_as_step, "the step is 1 / fps"),
        (cut_off, "spread them evenly"),
        (to_the_end, "spread them evenly"),
        (added_up, "stay below 1"),
        (whole_seconds, "not a whole one"),
    ],
    "visual_tokens": [
        (lambda n, h, w: math.ceil(n / 2) * (h // 14) * (w // 14), "one token"),
        (lambda n, h, w: n * (h // 28) * (w // 28), "one token"),
        (lambda n, h, w: max(1, n // 2) * (h // 28) * (w // 28), "round up"),
        (lambda n, h, w: math.ceil(n / 2) * (h // 28), "rows of cells x columns"),
    ],
    "step_positions": [
        (lambda steps, fps: [2 * i for i in range(steps)], "dropping it is the bug"),
        (lambda steps, fps: [int(i * 2 / fps) for i in range(steps)], "two positions"),
        (lambda steps, fps: [round(i * 4 / fps) for i in range(steps)], "rounded down"),
        (lambda steps, fps: [i * 4 // int(fps + 0.5) / 1 + 0.5 for i in range(steps)], "positions"),
    ],
}
