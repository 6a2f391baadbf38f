"""Figures about frames, tokens and positions, and what a reader drags in notebook 01."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from vcr1_lib.plots import PALETTE
from vcr1_lib.video.tokens import MAX_PIXELS, MERGE, Grid, tokens_of_box, video_cost

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def moments_picture(rows: Mapping[str, Sequence[float]]) -> bytes:
    """Draw, one row a way of choosing, the seconds of the frames it takes, as a PNG."""
    figure = Figure(figsize=(10, 0.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for row, (colour, seconds) in enumerate(zip(cycle(PALETTE), rows.values())):
        axes.scatter(seconds, [row] * len(seconds), color=colour, s=26, marker="|", linewidths=2)
        axes.annotate(
            f"{len(seconds)}", (1.01, row), xycoords=("axes fraction", "data"), va="center"
        )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel="seconds from the first frame (right: frames taken)")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return _png(figure)


def token_picture(
    frame: NDArray[np.uint8], grid: Grid, box: Sequence[float], *, titles: Sequence[str]
) -> bytes:
    """Draw a frame, its tokens with those that a box touches, and what one token covers.

    Args:
        frame: ``(H, W, 3)``.
        grid: Of the video.
        box: ``(x0, y0, x1, y1)``, shares of the picture.
        titles: Of the three parts.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    rows, columns = grid.rows // MERGE, grid.columns // MERGE
    touched = tokens_of_box(box, grid)
    cells = np.zeros((rows, columns))
    for row, column in touched:
        cells[row, column] = 1
    for axes, title in zip(figure.subplots(1, 3), titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.imshow(frame, extent=(0, columns, rows, 0))
    whole, marked, close = figure.axes
    whole.add_patch(
        Rectangle(
            (box[0] * columns, box[1] * rows),
            (box[2] - box[0]) * columns,
            (box[3] - box[1]) * rows,
            fill=False,
            edgecolor="white",
            linewidth=2,
        )
    )
    for line in range(columns + 1):
        marked.axvline(line, color="white", linewidth=0.6, alpha=0.6)
    for line in range(rows + 1):
        marked.axhline(line, color="white", linewidth=0.6, alpha=0.6)
    shade = np.zeros((rows, columns, 4))
    shade[cells == 0] = (0, 0, 0, 0.65)
    marked.imshow(shade, extent=(0, columns, rows, 0))
    row, column = touched[len(touched) // 2]
    close.set(xlim=(column, column + 1), ylim=(row + 1, row))
    close.axvline(column + 0.5, color="white", linewidth=1.5)
    close.axhline(row + 0.5, color="white", linewidth=1.5)
    return _png(figure)


def positions_figure(lines: Lines, *, y: str) -> go.Figure:
    """Draw lines over the clip's seconds as an interactive figure.

    Args:
        lines: Label -> (seconds, positions).
        y: What the vertical axis shows.
    """
    figure = go.Figure()
    for colour, (label, (seconds, values)) in zip(cycle(PALETTE), lines.items()):
        figure.add_scatter(
            x=list(seconds), y=list(values), name=label, mode="lines+markers",
            line={"color": colour}, marker={"size": 5},
        )  # fmt: skip
    figure.update_layout(template="plotly_white", height=380, hovermode="x unified")
    figure.update_xaxes(title_text="true seconds")
    figure.update_yaxes(title_text=y)
    return figure


def positions_picture(lines: Lines, *, y: str) -> bytes:
    """Draw the same as a PNG, for places that run no script."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for colour, (label, (seconds, values)) in zip(cycle(PALETTE), lines.items()):
        axes.plot(seconds, values, color=colour, label=label, marker="o", markersize=3)
    axes.set(xlabel="true seconds", ylabel=y)
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def describe_budget(fps: float, pixels_percent: int, *, duration_seconds: float = 30.0) -> str:
    """Say what a 720p clip costs Qwen2.5-VL-7B at this sampling.

    Args:
        fps: Frames a second.
        pixels_percent: Limit on a picture's area, per cent of the processor's own limit.
        duration_seconds: Of the clip.

    >>> print(describe_budget(2.0, 100))
    30 s of 720p at 2 fps: 60 frames, 21,600 tokens
    prefill 328 teraflop, keys and values 1,181 MiB
    """
    fps = round(fps, 6)  # a slider moved by keys stands at 7.500000000000001
    limit = MAX_PIXELS * pixels_percent // 100
    cost = video_cost(duration_seconds, fps, 720, 1280, max_pixels=limit)
    return (
        f"{duration_seconds:g} s of 720p at {fps:g} fps: "
        f"{cost.num_frames} frames, {cost.num_tokens:,} tokens\n"
        f"prefill {cost.prefill_teraflop:,.0f} teraflop, "
        f"keys and values {cost.cache_mebibytes:,.0f} MiB"
    )
