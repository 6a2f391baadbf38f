"""Figures of several looks: every frame a tick, every span a bar, the truth a band."""

from __future__ import annotations

from vcr1_lib.plots.looks import looks_figure, looks_picture

ROWS = {
    "one look": ([0.0, 5.0, 10.0, 15.0], []),
    "second of two": ([4.0, 4.5], [(3.0, 6.0), (9.0, 10.0)]),
}


def test_the_figure_shows_frames_spans_and_truth() -> None:
    figure = looks_figure(ROWS, (4.0, 5.0))
    ticks = [list(trace.x) for trace in figure.data if trace.mode == "markers"]
    bars = [tuple(trace.x) for trace in figure.data if trace.mode == "lines"]
    assert ticks == [times for times, _ in ROWS.values()]
    assert bars == ROWS["second of two"][1]
    assert [trace.hovertemplate for trace in figure.data] == [
        "%{x:.2f} s",
        "%{x:.2f} s",
        "points at 3 to 6 s<extra>second of two</extra>",
        "points at 9 to 10 s<extra>second of two</extra>",
    ]
    (band,) = figure.layout.shapes
    assert (band.x0, band.x1) == (4.0, 5.0)


def test_the_picture_is_a_png() -> None:
    assert looks_picture(ROWS, (4.0, 5.0)).startswith(b"\x89PNG")
