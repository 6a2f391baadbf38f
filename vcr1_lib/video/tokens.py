"""Frames into visual tokens and their time positions, counted as Qwen2.5-VL does it.

Notation: ``F`` frames; a grid of ``T`` steps in time by ``H`` by ``W`` patches. Two frames make
one step in time, two by two patches one token.

Reference: Bai et al., "Qwen2.5-VL Technical Report" (2025); the numbers are the defaults of the
published configuration and of Transformers' video processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

PATCH: Final = 14
MERGE: Final = 2
TEMPORAL: Final = 2
TOKENS_PER_SECOND: Final = 2
SIDE: Final = PATCH * MERGE
MIN_PIXELS: Final = 128 * SIDE**2
MAX_PIXELS: Final = 768 * SIDE**2

# Qwen2.5-VL-7B's language model: parameters, layers, key-value heads, size of a head.
PARAMETERS: Final = 7.6e9
KEY_VALUE_BYTES: Final = 2 * 28 * 4 * 128 * 2  # keys and values, bfloat16


class Grid(NamedTuple):
    """A video cut up.

    Attributes:
        steps: T, steps in time.
        rows: H, patches from top to bottom.
        columns: W, patches from left to right.
    """

    steps: int
    rows: int
    columns: int

    @property
    def num_tokens(self) -> int:
        """Visual tokens the language model sees."""
        return self.steps * self.rows * self.columns // MERGE**2


def video_grid(
    num_frames: int,
    height: int,
    width: int,
    *,
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
) -> Grid:
    """Return the grid that a video of this size is cut into.

    The picture is scaled to sides that are multiples of 28 with an area within the limits; an
    odd last frame counts twice.

    Args:
        num_frames: F.
        height: In pixels.
        width: In pixels.
        min_pixels: Smaller pictures are enlarged.
        max_pixels: Larger pictures are shrunk.

    Raises:
        ValueError: If a number is below 1.

    >>> video_grid(16, 720, 1280).num_tokens
    5760
    """
    if min(num_frames, height, width) < 1:
        raise ValueError(f"expected at least 1 of each, got {num_frames}, {height}, {width}")
    sides = [max(SIDE, round(side / SIDE) * SIDE) for side in (height, width)]
    area = math.prod(sides)
    scale = math.sqrt(height * width / (max_pixels if area > max_pixels else min_pixels))
    if area > max_pixels:
        sides = [max(SIDE, math.floor(n / scale / SIDE) * SIDE) for n in (height, width)]
    elif area < min_pixels:
        sides = [math.ceil(n / scale / SIDE) * SIDE for n in (height, width)]
    return Grid(math.ceil(num_frames / TEMPORAL), sides[0] // PATCH, sides[1] // PATCH)


def time_positions(num_steps: int, *, seconds_per_step: float) -> NDArray[np.int64]:
    """Return the time position of each step, ``floor(step x seconds x 2)``.

    Above 4 frames a second steps are closer than half a second, so neighbours share one.

    Args:
        num_steps: T.
        seconds_per_step: Of the clip as sampled: 2 / fps. The bug of this subject is to leave it
            out, which means 1.

    Raises:
        ValueError: If ``seconds_per_step`` is not positive.

    >>> time_positions(4, seconds_per_step=0.5).tolist()
    [0, 1, 2, 3]
    """
    if seconds_per_step <= 0:
        raise ValueError(f"expected seconds_per_step > 0, got {seconds_per_step}")
    return np.floor(np.arange(num_steps) * seconds_per_step * TOKENS_PER_SECOND).astype(np.int64)


def tokens_of_box(box: Sequence[float], grid: Grid) -> list[tuple[int, int]]:
    """Return row and column of the tokens that a box touches.

    Args:
        box: ``(x0, y0, x1, y1)``, shares of the picture.
        grid: Of the video.

    >>> tokens_of_box((0.0, 0.0, 0.5, 0.2), Grid(1, 8, 8))
    [(0, 0), (0, 1)]
    """
    rows, columns = grid.rows // MERGE, grid.columns // MERGE
    first_column, last_column = math.floor(box[0] * columns), math.ceil(box[2] * columns)
    first_row, last_row = math.floor(box[1] * rows), math.ceil(box[3] * rows)
    return [
        (row, column)
        for row in range(max(0, first_row), min(rows, last_row))
        for column in range(max(0, first_column), min(columns, last_column))
    ]


class Cost(NamedTuple):
    """What a video costs Qwen2.5-VL-7B before the first word of an answer.

    Attributes:
        num_frames: F.
        num_tokens: Visual tokens.
        prefill_teraflop: Of the language model's matrix products, ``2 x parameters x tokens``.
        cache_mebibytes: Keys and values of the visual tokens, bfloat16.
    """

    num_frames: int
    num_tokens: int
    prefill_teraflop: float
    cache_mebibytes: float


def video_cost(
    duration_seconds: float, fps: float, height: int, width: int, *, max_pixels: int = MAX_PIXELS
) -> Cost:
    """Count what sampling at ``fps`` within ``max_pixels`` a picture costs.

    >>> video_cost(30, 2, 720, 1280).num_tokens
    21600
    """
    num_frames = max(1, math.ceil(duration_seconds * fps))
    low = min(MIN_PIXELS, max_pixels)
    grid = video_grid(num_frames, height, width, min_pixels=low, max_pixels=max_pixels)
    tokens = grid.num_tokens
    return Cost(
        num_frames, tokens, 2 * PARAMETERS * tokens / 1e12, tokens * KEY_VALUE_BYTES / 2**20
    )
