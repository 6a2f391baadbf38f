"""Figures of several looks at one video: which moments each saw, and where it pointed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle

import plotly.graph_objects as go
from matplotlib.figure import Figure

from vcr1_lib.overlap import Interval
from vcr1_lib.plots import PALETTE

# Label -> the seconds of its frames, and the spans its answer points at.
Rows = Mapping[str, tuple[Sequence[float], Sequence[Interval]]]
TRUTH_COLOUR = "#bbbbbb"


def looks_figure(rows: Rows, truth: Interval) -> go.Figure:
    """Draw looks over a time line as an interactive figure, the truth as a grey band.

    Args:
        rows: One a look.
        truth: ``(start, end)`` in seconds.
    """
    figure = go.Figure()
    figure.add_vrect(x0=truth[0], x1=truth[1], fillcolor=TRUTH_COLOUR, opacity=0.5, line_width=0)
    for colour, (label, (times, spans)) in zip(cycle(PALETTE), rows.items()):
        figure.add_scatter(
            x=list(times), y=[label] * len(times), name=label, mode="markers",
            marker={"color": colour, "symbol": "line-ns-open", "size": 14, "line_width": 2},
            hovertemplate="%{x:.2f} s",
        )  # fmt: skip
        for start, end in spans:
            figure.add_scatter(
                x=[start, end], y=[label] * 2, mode="lines", showlegend=False, opacity=0.45,
                line={"color": colour, "width": 9},
                hovertemplate=f"points at {start:g} to {end:g} s<extra>{label}</extra>",
            )  # fmt: skip
    figure.update_layout(template="plotly_white", height=150 + 50 * len(rows), showlegend=False)
    figure.update_xaxes(title_text="seconds (ticks: frames; bars: where the answer points)")
    return figure.update_yaxes(autorange="reversed")


def looks_picture(rows: Rows, truth: Interval) -> bytes:
    """Draw the same as a PNG, for places that run no script."""
    figure = Figure(figsize=(10, 0.8 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(*truth, color=TRUTH_COLOUR, alpha=0.5)
    for row, (colour, (times, spans)) in enumerate(zip(cycle(PALETTE), rows.values())):
        axes.scatter(times, [row] * len(times), color=colour, s=160, marker="|", linewidths=2)
        for start, end in spans:
            axes.barh(row, end - start, left=start, color=colour, alpha=0.35, height=0.5)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel="seconds (ticks: frames; bars: where the answer points; grey: the truth)")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
