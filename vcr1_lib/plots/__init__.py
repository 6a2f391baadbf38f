"""Figures of a training run: an interactive page that opens offline, and a picture."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from vcr1_lib.plots.answers import kept_answers, with_answers
from vcr1_lib.video import Clip

# Okabe and Ito's palette, told apart by colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_COLOURS = (*PALETTE, "#000000")
# Width that the label of a span's bar needs.
LABEL_SHARE = 0.2
SMOOTHING_STEPS = 5
SMOOTHED = f"thick lines: mean of {SMOOTHING_STEPS} steps"
TITLE_CHARS = 110


class Panel(NamedTuple):
    """One graph: its title, its unit, its lines (label -> steps, values), what steps are.

    ``is_share`` says that values lie between 0 and 1, all of which a run's figures then show.
    """

    title: str
    unit: str
    lines: dict[str, tuple[list[int], list[float]]]
    xlabel: str = "step"
    is_share: bool = False


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """Read a run's ``metrics.jsonl``.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a metrics file, found none at {path}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_panels(log: Sequence[dict[str, Any]]) -> list[Panel]:
    """Sort a log into reward per function, held-out mIoU, answer length, silent groups."""
    rewards = sorted({key for row in log for key in row if key.startswith("rewards/")})
    names = {key: key.split("/")[1].replace("_reward", "").replace("_", " ") for key in rewards}
    return [
        Panel("Reward per function", "mean of a step", {names[k]: _line(log, k) for k in rewards}),
        Panel(
            "Held-out mIoU, greedy answers",
            "mIoU",
            {"mIoU": _line(log, "eval_mIoU")},
            is_share=True,
        ),
        Panel(
            "Completion length",
            "tokens",
            {"mean length": _line(log, "completions/mean_length")},
        ),
        Panel(
            "Groups with equal rewards",
            "share of a step",
            {"zero variance": _line(log, "frac_reward_zero_std")},
            is_share=True,
        ),
    ]


def _line(log: Sequence[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    rows = [row for row in log if key in row]
    return [int(row["step"]) for row in rows], [float(row[key]) for row in rows]


def smooth(values: Sequence[float], *, window: int = SMOOTHING_STEPS) -> list[float]:
    """Return the running mean over the last ``window`` values.

    >>> smooth([0.0, 1.0, 2.0], window=2)
    [0.0, 0.5, 1.5]
    """
    means = []
    for end in range(1, len(values) + 1):
        recent = values[max(0, end - window) : end]
        means.append(sum(recent) / len(recent))
    return means


def run_figure(log: Sequence[dict[str, Any]], *, title: str = "") -> go.Figure:
    """Draw a run as an interactive figure.

    Args:
        log: Rows of ``metrics.jsonl``.
        title: Shown above.
    """
    panels = run_panels(log)
    figure = make_subplots(rows=2, cols=2, subplot_titles=[panel.title for panel in panels])
    told = "<br>".join([*wrap(title, TITLE_CHARS), f"<sup>{SMOOTHED}</sup>"])
    figure.update_layout(
        title=told, template="plotly_white", height=660, margin_t=140, hovermode="x unified"
    )
    for index, panel in enumerate(panels):
        row, col = divmod(index, 2)
        for colour, (label, (steps, values)) in zip(cycle(PALETTE), panel.lines.items()):
            whole = len(steps) <= SMOOTHING_STEPS * 4
            shown = values if whole else smooth(values)
            if not whole:
                figure.add_scatter(
                    x=steps, y=values, mode="lines", line={"color": colour, "width": 1},
                    opacity=0.25, showlegend=False, hoverinfo="skip", row=row + 1, col=col + 1,
                )  # fmt: skip
            figure.add_scatter(
                x=steps, y=shown, mode="lines+markers" if whole else "lines", name=label,
                line={"color": colour, "width": 2.5}, showlegend=len(panel.lines) > 1,
                row=row + 1, col=col + 1,
            )  # fmt: skip
        figure.update_xaxes(title_text=panel.xlabel, row=row + 1, col=col + 1)
        figure.update_yaxes(title_text=panel.unit, rangemode="tozero", row=row + 1, col=col + 1)
        if panel.is_share:
            figure.update_yaxes(range=[0, 1.03], row=row + 1, col=col + 1)
    return figure


def run_picture(log: Sequence[dict[str, Any]], *, title: str = "") -> bytes:
    """Draw the same as a PNG, for places that run no script."""
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 6), layout="constrained")
        for axes, panel in zip(figure.subplots(2, 2).flat, run_panels(log), strict=True):
            for colour, (label, (steps, values)) in zip(cycle(PALETTE), panel.lines.items()):
                whole = len(steps) <= SMOOTHING_STEPS * 4
                if not whole:
                    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
                axes.plot(
                    steps, values if whole else smooth(values), color=colour, label=label,
                    linewidth=2, marker="o" if whole else None,
                )  # fmt: skip
            axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.unit)
            if all(value >= 0 for _, values in panel.lines.values() for value in values):
                axes.set_ylim(0, 1.03 if panel.is_share else None)
            axes.grid(alpha=0.25)
            if len(panel.lines) > 1:
                axes.legend(frameon=False)
        figure.suptitle("\n".join([*wrap(title, TITLE_CHARS), SMOOTHED]), fontsize=10)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def panel_figure(panel: Panel) -> go.Figure:
    """Draw one panel alone as an interactive figure, such as one score of several runs."""
    figure = go.Figure()
    for colour, (label, (steps, values)) in zip(cycle(LINE_COLOURS), panel.lines.items()):
        figure.add_scatter(
            x=steps, y=values, name=label, mode="lines+markers", line={"color": colour}
        )
    figure.update_layout(title=panel.title, template="plotly_white", height=420)
    return figure.update_xaxes(title_text=panel.xlabel).update_yaxes(title_text=panel.unit)


def panel_picture(panel: Panel) -> bytes:
    """Draw the same as a PNG; each line has a marker of its own."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    looks = zip(cycle(LINE_COLOURS), cycle("osv^Dx*"), panel.lines.items())
    for colour, marker, (label, (steps, values)) in looks:
        every = max(1, len(steps) // 15)  # markers tell lines apart; more would hide them
        axes.plot(steps, values, color=colour, marker=marker, markevery=every, label=label)
    axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, bbox_to_anchor=(1, 1))
    return _png(figure)


def filmstrip_picture(
    clip: Clip,
    spans: dict[str, tuple[float, float]],
    *,
    num_frames: int = 12,
    colours: Sequence[str] = PALETTE,
) -> bytes:
    """Draw a clip's frames over its time line, and spans as bars below, as a PNG.

    Args:
        clip: Frames with their seconds.
        spans: Label -> (start, end) in seconds, such as the truth and answers.
        num_frames: Frames to show, evenly picked.
        colours: Of the bars, in turn.
    """
    strip = _side_by_side(clip, num_frames)
    figure = Figure(figsize=(11, 1.6 + 0.3 * len(spans)), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 0.8 * len(spans)], sharex=True)
    top.imshow(strip, extent=(0, clip.duration_seconds, 0, 1), aspect="auto")
    shown = min(num_frames, len(clip.frames))
    for edge in np.linspace(0, clip.duration_seconds, shown, endpoint=False)[1:]:
        top.axvline(edge, color="white", linewidth=2)
    top.set_yticks([])
    for row, (colour, (label, (start, end))) in enumerate(zip(cycle(colours), spans.items())):
        bottom.barh(row, end - start, left=start, color=colour, height=0.6)
        bottom.text(
            **_beside(start, end, clip.duration_seconds), y=row, va="center",
            s=f"{label}: {start:g} to {end:g} s",
        )  # fmt: skip
    bottom.set(xlim=(0, clip.duration_seconds), ylim=(len(spans) - 0.4, -0.6), xlabel="seconds")
    bottom.set_yticks([])
    return _png(figure)


def _beside(start: float, end: float, duration: float) -> dict[str, Any]:
    """Return where a bar's label has room: right of it, left of it, or on it."""
    room = duration * LABEL_SHARE
    if duration - end >= room:
        return {"x": end + 0.2, "ha": "left"}
    if start >= room:
        return {"x": start - 0.2, "ha": "right"}
    return {"x": (start + end) / 2, "ha": "center", "color": "white"}


def frame_strip(clip: Clip, *, num_frames: int = 12) -> bytes:
    """Return frames of a clip side by side as a PNG, evenly picked."""
    buffer = io.BytesIO()
    imsave(buffer, _side_by_side(clip, num_frames), format="png")
    return buffer.getvalue()


def _side_by_side(clip: Clip, num_frames: int) -> NDArray[np.uint8]:
    shown = min(num_frames, len(clip.frames))
    picked = np.linspace(0, len(clip.frames), shown, endpoint=False).astype(int)
    return np.concatenate(list(clip.frames[picked]), axis=1)


def write_run_plots(run: str | Path, *, title: str = "") -> Path:
    """Write ``reward_curve.html`` (opens offline) and ``reward_curve.png`` into a run's folder.

    Args:
        run: Folder with ``metrics.jsonl``; what ``completions.jsonl`` kept is shown under the
            pointer.
        title: Shown above the graphs.

    Returns:
        The page's path.
    """
    folder = Path(run)
    log = read_log(folder / "metrics.jsonl")
    page = folder / "reward_curve.html"
    figure = run_figure(log, title=title)
    if (kept := folder / "completions.jsonl").is_file():
        with kept.open(encoding="utf-8") as lines:  # a long run's are many
            with_answers(figure, kept_answers(map(json.loads, lines)))
    figure.write_html(page, include_plotlyjs=True)
    (folder / "reward_curve.png").write_bytes(run_picture(log, title=title))
    return page


class Picture:
    """A PNG and its description, as a notebook displays it.

    IPython's own ``Image`` does not know ``alt`` at the version that Colab has, 7.34.
    """

    def __init__(self, data: bytes, alt: str) -> None:
        self.data, self.alt = data, alt

    def __repr__(self) -> str:
        return f"<Picture: {self.alt}>"

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return self.data, {"alt": self.alt}


def show(figure: go.Figure) -> None:
    """Display an interactive figure where a notebook runs.

    JupyterLab draws the figure's data itself, so the notebook stays small; Colab needs its
    own renderer. Under the pointer names are written out: Plotly would cut them.
    """
    figure.update_layout(hoverlabel_namelength=-1)
    figure.show(renderer="colab" if "google.colab" in sys.modules else "plotly_mimetype")
