"""Figures of scores: how they are spread, by group, and boxes on a clip's frames."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from vcr1_lib.metrics.tasks import success_curve
from vcr1_lib.plots import PALETTE
from vcr1_lib.video import Clip

BINS = 20


def distribution_picture(rows: Mapping[str, ArrayLike], *, unit: str = "IoU") -> bytes:
    """Draw how often each score occurs, and the share of answers above each, as a PNG.

    Args:
        rows: Label -> ``(N,)`` scores in [0, 1]; the first is drawn as a histogram.
        unit: Name of the score.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    label, values = next(iter(rows.items()))
    left.hist(np.asarray(values), bins=BINS, range=(0, 1), color=PALETTE[0])
    left.set(title=f"{unit} of each answer ({label})", xlabel=unit, ylabel="answers")
    styles = ("-", "--", ":", "-.")
    for i, (name, numbers) in enumerate(rows.items()):
        right.plot(
            *success_curve(numbers),
            color=PALETTE[i % len(PALETTE)],
            linestyle=styles[i % len(styles)],
            label=name,
        )
    right.set(title="Success curve", xlabel=f"{unit} threshold", ylabel="share of answers above")
    right.set(xlim=(0, 1), ylim=(0, 1.02))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return _png(figure)


def group_picture(rows: Mapping[str, Mapping[str, Any]], *, unit: str) -> bytes:
    """Draw a score by group, such as a question's type, as a PNG.

    Args:
        rows: Label -> groups of :attr:`vcr1_lib.metrics.scoring.Scores.table`.
        unit: Which of a group's scores; NaN draws nothing.
    """
    groups = next(iter(rows.values()))
    figure = Figure(figsize=(10, 0.9 + 0.22 * len(rows) * len(groups)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(rows)
    for i, (label, values) in enumerate(rows.items()):
        places = np.arange(len(groups)) + i * height
        shares = [100 * values[name][unit] for name in groups]
        bars = axes.barh(places, shares, height, color=PALETTE[i % len(PALETTE)], label=label)
        told = ["" if np.isnan(share) else f"{share:.0f}" for share in shares]
        axes.bar_label(bars, told, padding=3, fontsize="small")
    names = [f"{name} ({row['num_queries']})" for name, row in groups.items()]
    axes.set_yticks(np.arange(len(groups)) + height * (len(rows) - 1) / 2, names)
    axes.set(xlim=(0, 105), xlabel=f"{unit}, per cent")
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def boxes_picture(clip: Clip, tracks: Mapping[str, Sequence[Sequence[float]] | None]) -> bytes:
    """Draw a clip's frames side by side with a box of each track on them, as a PNG.

    Args:
        clip: As many frames as a track has boxes.
        tracks: Label -> boxes as shares of the picture, or ``None``.
    """
    count = len(clip.frames)
    tall = clip.frames.shape[1] / clip.frames.shape[2]
    figure = Figure(figsize=(11, 11 / count * tall + 0.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, count))
    for i, (axes, picture) in enumerate(zip(panels, clip.frames, strict=True)):
        high, wide = picture.shape[:2]
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[], xlabel=f"{clip.times_seconds[i]:.1f} s")
        for (label, track), colour in zip(tracks.items(), PALETTE, strict=False):
            if track is not None:
                x0, y0, x1, y1 = np.clip(track[i], 0, 1) * [wide, high, wide, high]
                corner, size = (x0, y0), (x1 - x0, y1 - y0)
                box = Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=2)
                axes.add_patch(box).set_label(label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def comparison_figure(panels: Mapping[str, Mapping[str, tuple[float, str]]]) -> go.Figure:
    """Draw scores from several sources side by side, a metric a panel, as an interactive figure.

    Args:
        panels: Metric -> label -> (per cent, source).
    """
    figure = make_subplots(1, len(panels), subplot_titles=list(panels), horizontal_spacing=0.18)
    colours = _source_colours(panels)
    for column, rows in enumerate(panels.values(), start=1):
        names = list(rows)
        for source, colour in colours.items():
            values = [rows[name][0] if rows[name][1] == source else None for name in names]
            figure.add_bar(
                x=values, y=names, orientation="h", name=source, legendgroup=source,
                showlegend=column == 1, marker_color=colour,
                hovertemplate="%{y}: %{x:.1f}<extra>" + source + "</extra>", row=1, col=column,
            )  # fmt: skip
    figure.update_layout(template="plotly_white", height=360, barmode="stack")
    figure.update_layout(legend={"orientation": "h", "y": -0.35}, margin={"t": 50})
    return figure.update_xaxes(range=[0, 80], title_text="per cent").update_yaxes(
        autorange="reversed", automargin=True
    )


def comparison_picture(panels: Mapping[str, Mapping[str, tuple[float, str]]]) -> bytes:
    """Draw the same as a PNG."""
    colours = _source_colours(panels)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (metric, rows) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
    ):
        shown = [colours[source] for _, source in rows.values()]
        bars = axes.barh(list(rows), [value for value, _ in rows.values()], color=shown)
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.set(title=metric, xlim=(0, 80), xlabel="per cent")
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    patches = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    figure.legend(patches, list(colours), loc="outside lower center", ncols=3, frameon=False)
    return _png(figure)


def _source_colours(panels: Mapping[str, Mapping[str, tuple[float, str]]]) -> dict[str, str]:
    sources = dict.fromkeys(source for rows in panels.values() for _, source in rows.values())
    return dict(zip(sources, PALETTE, strict=False))
