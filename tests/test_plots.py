"""Figures open offline, hold what the log holds, and have a picture beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from tiny import noise_clip

from vcr1_lib.plots import (
    SMOOTHING_STEPS,
    Panel,
    _beside,
    filmstrip_picture,
    panel_figure,
    panel_picture,
    read_log,
    run_figure,
    run_panels,
    run_picture,
    show,
    smooth,
    write_run_plots,
)
from vcr1_lib.plots.answers import SHOWN_CHARS, kept_answers, with_answers

PNG = b"\x89PNG\r\n\x1a\n"


def log_of(
    steps: int, *, functions: tuple[str, ...] = ("format", "temporal_iou")
) -> list[dict[str, Any]]:
    """What a run writes: a row a step, held-out rows between them."""
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        rewards = {f"rewards/{name}_reward/mean": step / steps for name in functions}
        row = {"completions/mean_length": 9.0, "frac_reward_zero_std": 0.25, "step": step}
        rows.append(rewards | row)
        if step % 5 == 0:
            rows.append({"eval_mIoU": step / 100, "step": step})
    return rows


def test_panels_sort_the_log() -> None:
    panels = run_panels(log_of(5))
    assert [panel.title for panel in panels] == [
        "Reward per function",
        "Held-out mIoU, greedy answers",
        "Completion length",
        "Groups with equal rewards",
    ]
    rising = ([1, 2, 3, 4, 5], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert panels[0].lines == {"format": rising, "temporal iou": rising}
    assert panels[1].lines == {"mIoU": ([5], [0.05])}
    assert panels[2].lines["mean length"] == ([1, 2, 3, 4, 5], [9.0] * 5)
    assert panels[3].lines["zero variance"] == ([1, 2, 3, 4, 5], [0.25] * 5)


def test_a_bars_label_stays_on_the_figure() -> None:
    assert _beside(2, 6, 20) == {"x": 6.2, "ha": "left"}
    assert _beside(14, 19, 20) == {"x": 13.8, "ha": "right"}
    assert _beside(0, 20, 20) == {"x": 10, "ha": "center", "color": "white"}


@pytest.mark.parametrize("num_functions", [1, 2, 8])
def test_figure_draws_every_line(num_functions: int) -> None:
    functions = tuple(f"part_{i}" for i in range(num_functions))
    figure = run_figure(log_of(6, functions=functions), title="A run")
    assert figure.layout.title.text.split("<br>")[0] == "A run"
    told = {trace.name for trace in figure.data if trace.showlegend is not False}
    assert told == ({f"part {i}" for i in range(num_functions)} if num_functions > 1 else set())
    assert {trace.name for trace in figure.data} == {
        *(f"part {i}" for i in range(num_functions)),
        "mIoU",
        "mean length",
        "zero variance",
    }


def test_long_runs_are_smoothed_over_the_raw_line() -> None:
    steps = SMOOTHING_STEPS * 4 + 1
    figure = run_figure(log_of(steps, functions=("only",)))
    raw, shown = figure.data[:2]
    values = [step / steps for step in range(1, steps + 1)]
    assert list(raw.y) == values
    assert list(shown.y) == smooth(values)
    assert (raw.showlegend, shown.name) == (False, "only")


def test_smooth_is_a_mean_of_the_latest() -> None:
    # Windows of up to three: 3, (3 + 6) / 2, (3 + 6 + 0) / 3, (6 + 0 + 3) / 3.
    assert smooth([3.0, 6.0, 0.0, 3.0], window=3) == [3.0, 4.5, 3.0, 3.0]
    assert smooth([]) == []


@pytest.mark.parametrize("log", [log_of(6), log_of(40), []], ids=["short", "long", "no step yet"])
def test_picture_is_a_png(log: list[dict[str, Any]]) -> None:
    assert run_picture(log, title="A run").startswith(PNG)


def test_run_plots_open_offline(tmp_path: Path) -> None:
    rows = log_of(10)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_log(tmp_path / "metrics.jsonl") == rows
    page = write_run_plots(tmp_path, title="A run")
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "reward_curve.html"
    assert re.search(r"plotly\.js v\d", html), "the library is inside the page"
    assert not re.search(r"<script[^>]+src=|<link[^>]+href=", html)
    assert "Reward per function" in html
    assert (tmp_path / "reward_curve.png").read_bytes().startswith(PNG)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        write_run_plots(tmp_path)


@pytest.mark.parametrize(
    ("num_frames", "answer"),
    [(1, (0.2, 0.8)), (5, (0.0, 5.0)), (24, (3.5, 5.0)), (24, (20.0, 60.0))],
)
def test_filmstrip_is_a_png(num_frames: int, answer: tuple[float, float]) -> None:
    spans = {"truth": (0.5, 1.0), "answer": answer}
    assert filmstrip_picture(noise_clip(num_frames), spans).startswith(PNG)


def test_filmstrip_shows_the_frames() -> None:
    clip = noise_clip(12)
    dark = clip._replace(frames=np.zeros_like(clip.frames))
    spans = {"truth": (2.0, 9.0)}
    assert filmstrip_picture(clip, spans) == filmstrip_picture(clip, spans)
    assert filmstrip_picture(clip, spans) != filmstrip_picture(dark, spans)
    assert filmstrip_picture(clip, spans) != filmstrip_picture(clip, spans, colours=["black"])


def test_one_panel_alone_draws_every_line() -> None:
    lines = {"healthy": ([0, 10], [0.5, 0.7]), "sick": ([0, 10], [0.5, 0.1])}
    panel = Panel("Held-out mIoU", "mIoU", lines)
    figure = panel_figure(panel)
    assert [trace.name for trace in figure.data] == ["healthy", "sick"]
    assert list(figure.data[1].y) == [0.5, 0.1]
    assert panel_picture(panel).startswith(PNG)


def test_kept_answers_name_the_best_and_the_worst_of_a_step() -> None:
    said = [(2, "a\nb", 0.25, None), (2, "x" * 200, 1.0, 0.5), (7, "alone", 0.0, 0.0)]
    rows = [
        {"step": step, "completion": text, "rewards": {"form": form, "iou": iou}}
        for step, text, form, iou in said
    ]
    assert kept_answers(rows) == {
        3: [f"best, paid 1.50: {'x' * SHOWN_CHARS}…", "worst, paid 0.25: a b"],
        8: ["best, paid 0.00: alone", "worst, paid 0.00: alone"],
    }
    assert kept_answers([]) == {}


def test_the_pointer_finds_answers_below_the_rewards() -> None:
    figure = with_answers(run_figure(log_of(6)), {2: ["best: <think>", "worst: &"]})
    marks = figure.data[-1]
    assert (marks.xaxis, marks.x, marks.y) == ("x", (2,), (0,))
    assert marks.customdata[0] == "best: &lt;think&gt;<br>worst: &amp;"
    assert "<extra></extra>" in marks.hovertemplate


def test_a_shown_figure_writes_names_out_under_the_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go.Figure, "show", lambda self, renderer: None)
    figure = panel_figure(Panel("IoU", "mean", {"sampled at 1 fps, shuffled": ([1], [0.5])}))
    show(figure)
    assert figure.layout.hoverlabel.namelength == -1
