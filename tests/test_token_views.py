"""Figures of notebook 01 hold the numbers they are given."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest

from vcr1_lib.plots.token_views import (
    describe_budget,
    moments_picture,
    positions_figure,
    positions_picture,
    token_picture,
)
from vcr1_lib.video.tokens import Grid

LINES = {"true": ([0.0, 1.0, 2.0], [0.0, 2.0, 4.0]), "wrong": ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])}


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def test_pictures_are_drawn() -> None:
    frame = np.full((64, 64, 3), 90, dtype=np.uint8)
    frame[20:40, 20:40] = (230, 60, 55)
    box = (20 / 64, 20 / 64, 40 / 64, 40 / 64)
    drawn = token_picture(frame, Grid(2, 16, 16), box, titles=["a", "b", "c"])
    for png in (drawn, moments_picture({"a": [0, 1], "b": [0.5]}), positions_picture(LINES, y="p")):
        picture = pixels(png)
        assert picture.shape[2] == 4
        assert picture[..., :3].std() > 0.02, "nothing is drawn"


def test_the_interactive_figure_holds_the_lines() -> None:
    figure = positions_figure(LINES, y="position")
    assert {trace.name: list(trace.y) for trace in figure.data} == {
        label: values for label, (_, values) in LINES.items()
    }
    assert figure.layout.xaxis.title.text == "true seconds"


@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("percent", [10, 25, 50, 100])
def test_every_place_of_the_sliders_says_something(fps: float, percent: int) -> None:
    told = describe_budget(fps, percent)
    assert f"{round(30 * fps)} frames" in told
    assert "teraflop" in told


def test_a_sliders_rounding_buys_no_frame() -> None:
    assert describe_budget(7.500000000000001, 100) == describe_budget(7.5, 100)
