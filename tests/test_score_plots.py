"""Figures of scores hold the numbers that they are given."""

from __future__ import annotations

import numpy as np
from tiny import noise_clip

from vcr1_lib.plots.scores import (
    boxes_picture,
    comparison_figure,
    comparison_picture,
    distribution_picture,
    group_picture,
)

PNG = b"\x89PNG\r\n\x1a\n"
PANELS = {
    "mIoU": {"half": (30.2, "ours"), "base": (29.0, "paper")},
    "AO": {"copy": (42.4, "ours"), "base": (12.6, "paper")},
}


def test_a_comparison_holds_each_value_once_in_its_sources_colour() -> None:
    figure = comparison_figure(PANELS)
    drawn = [
        (bar.name, name, value)
        for bar in figure.data
        for name, value in zip(bar.y, bar.x, strict=True)
        if value is not None
    ]
    told = [(s, name, v) for rows in PANELS.values() for name, (v, s) in rows.items()]
    assert sorted(drawn) == sorted(told)
    assert len({bar.marker.color for bar in figure.data}) == 2
    assert [bar.showlegend for bar in figure.data] == [True, True, False, False]
    assert comparison_picture(PANELS).startswith(PNG)


def test_a_missing_group_score_draws_nothing() -> None:
    groups = {"CW": {"accuracy": 0.5, "num_queries": 4}, "TN": {"accuracy": 1.0, "num_queries": 1}}
    half = group_picture({"model": groups}, unit="accuracy")
    unknown = {name: {"accuracy": float("nan"), "num_queries": 1} for name in groups}
    both = group_picture({"model": groups, "none": unknown}, unit="accuracy")
    assert half.startswith(PNG)
    assert both.startswith(PNG)
    assert half != both


def test_boxes_and_spreads_are_pictures() -> None:
    clip = noise_clip(num_frames=2)
    tracks = {"truth": [[0, 0, 0.5, 1]] * 2, "answer": [[0.2, 0, 2, 1]] * 2}
    boxes = boxes_picture(clip, tracks)
    assert boxes.startswith(PNG)
    assert boxes != boxes_picture(clip, tracks | {"answer": None})
    assert distribution_picture({"a": np.array([0.0, 1.0])}).startswith(PNG)
