"""Counting tokens and positions by hand gives what the real processor and model give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import FAMILIES
from transformers import Qwen2VLVideoProcessor

from vcr1_lib.video.tokens import (
    MAX_PIXELS,
    MIN_PIXELS,
    Grid,
    time_positions,
    tokens_of_box,
    video_cost,
    video_grid,
)

SIZES = [(128, 128), (720, 1280), (1280, 720), (20, 2000), (333, 777), (28, 28), (2160, 3840)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("num_frames", [1, 4, 5])
def test_the_grid_is_the_processors(num_frames: int, height: int, width: int) -> None:
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    processor = Qwen2VLVideoProcessor(size=size)
    frames = torch.zeros(num_frames, 3, height, width, dtype=torch.uint8)
    out = processor([frames], do_sample_frames=False, return_tensors="pt")
    grid = video_grid(num_frames, height, width)
    assert out["video_grid_thw"].tolist() == [list(grid)]
    assert grid.num_tokens * 4 == len(out["pixel_values_videos"])


@pytest.mark.parametrize("seconds", [0.1, 0.5, 2 / 3, 1.0, 2.0, 3.7])
def test_positions_are_the_models(seconds: float) -> None:
    model, _ = FAMILIES["qwen2_5_vl"]()
    steps, video = 60, model.config.video_token_id
    ids = torch.full((1, steps), video)
    positions, _ = model.model.get_rope_index(
        ids,
        torch.full((1, steps), 2),
        video_grid_thw=torch.tensor([[steps, 2, 2]]),
        second_per_grid_ts=[seconds],
        attention_mask=torch.ones_like(ids),
    )
    ours = time_positions(steps, seconds_per_step=seconds)
    # The model multiplies in another precision: a product at an integer may floor to either.
    assert np.abs(positions[0, 0].numpy() - ours).max() <= (0 if seconds * 2 % 1 == 0 else 1)
    assert (positions[0, 0].numpy() == ours).mean() > 0.9


@given(
    st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 1), st.integers(1, 9), st.integers(1, 9)
)
def test_a_boxs_tokens_cover_it(x: float, y: float, side: float, rows: int, cols: int) -> None:
    box = (x, y, min(1.0, x + side), min(1.0, y + side))
    touched = tokens_of_box(box, Grid(1, rows * 2, cols * 2))
    assert len(set(touched)) == len(touched) > 0
    assert min(c for _, c in touched) / cols <= box[0] + 1e-9
    assert (max(c for _, c in touched) + 1) / cols >= box[2] - 1e-9
    assert min(r for r, _ in touched) / rows <= box[1] + 1e-9
    assert (max(r for r, _ in touched) + 1) / rows >= box[3] - 1e-9


def test_cost_grows_with_frames_and_pixels() -> None:
    base = video_cost(30, 2, 720, 1280)
    # 60 frames make 30 steps; 26 x 46 cells of 28 pixels would be too many, 20 x 36 are not.
    assert base.num_frames == 60
    assert video_cost(30, 4, 720, 1280).num_tokens == 2 * base.num_tokens
    assert video_cost(30, 2, 720, 1280, max_pixels=MAX_PIXELS // 4).num_tokens < base.num_tokens / 3
    # Keys and values: 28 layers x 4 heads x 128 numbers x 2 bytes, twice.
    assert base.cache_mebibytes == pytest.approx(base.num_tokens * 57344 / 2**20)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        video_grid(0, 10, 10)
    with pytest.raises(ValueError, match="seconds_per_step > 0"):
        time_positions(3, seconds_per_step=0.0)
