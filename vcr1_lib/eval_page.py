"""One page about an evaluation: opens offline, everything inside it."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from vcr1_lib.plots import PALETTE, filmstrip_picture
from vcr1_lib.scoring import Reading, Scores
from vcr1_lib.task_metrics import success_curve
from vcr1_lib.video import VideoError, read_clip

BINS = 20
WORST_FPS, WORST_FRAMES = 1.0, 12
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "img{max-width:100%}code{background:#f3f3f3;padding:.1rem .3rem}tr.model{font-weight:bold}"
)


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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def write_page(
    path: str | Path,
    rows: Mapping[str, Scores],
    texts: Sequence[str | None],
    records: Sequence[dict[str, Any]],
    *,
    title: str,
    model_row: str = "model",
    num_worst: int = 4,
) -> Path:
    """Write the report of one task.

    Args:
        path: Of the HTML file.
        rows: From :func:`vcr1_lib.scoring.score_beside_baselines`.
        texts: The model's completions.
        records: What was asked.
        title: Heading.
        model_row: Which row is the model's.
        num_worst: How many of the worst answers to show with their frames.

    Returns:
        The page's path.
    """
    model = rows[model_row]
    table = model.table
    drawn = {model_row: model.values} | {
        name: row.values for name, row in rows.items() if not name.startswith(model_row)
    }
    main, low, high = table["main"], *(100 * bound for bound in table["interval"])
    unit = "IoU" if main == "mIoU" else main
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(main)} <b>{100 * table['scores'][main]:.1f} %</b> (95 % interval {low:.1f} to "
        f"{high:.1f}), {table['num_queries']} questions on {table['num_videos']} videos. "
        f"{100 * table['unparsed']:.1f} % of the answers could not be read and "
        f"{100 * table['failed']:.1f} % of the videos failed; both count 0.</p>",
        _score_table(rows, model_row),
        _image(distribution_picture(drawn, unit=unit), f"Distribution of {unit}"),
        _group_table(table),
        _reason_list(table),
        f"<h2>The {min(num_worst, len(records))} worst answers</h2>",
    ]
    for index in np.argsort(model.values, kind="stable")[:num_worst]:
        value, reading = float(model.values[index]), model.readings[index]
        parts.append(_case(records[index], texts[index], reading, value))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>{''.join(parts)}</html>"
    )
    Path(path).write_text(page + "\n", encoding="utf-8")
    return Path(path)


def _table(head: Sequence[str], body: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = ["<table><tr>", *(f"<th>{escape(name)}</th>" for name in head), "</tr>"]
    for kind, cells in body:
        lines += [f'<tr class="{kind}">', *(f"<td>{escape(cell)}</td>" for cell in cells), "</tr>"]
    return "".join([*lines, "</table>"])


def _score_table(rows: Mapping[str, Scores], model_row: str) -> str:
    names = list(rows[model_row].table["scores"])
    body = []
    for label, row in rows.items():
        low, high = row.table["interval"]
        cells = [f"{100 * row.table['scores'][name]:.1f}" for name in names]
        cells += [f"{100 * low:.1f} to {100 * high:.1f}", f"{100 * row.table['unparsed']:.1f}"]
        body.append(("model" if label == model_row else "", [label, *cells]))
    main = rows[model_row].table["main"]
    return _table(["per cent", *names, f"{main}, 95 % interval", "unparsed"], body)


def _group_table(table: Mapping[str, Any]) -> str:
    groups = table["groups"]
    if not groups:
        return ""
    names = [name for name in next(iter(groups.values())) if name != "num_queries"]
    body = [
        ("", [label, str(row["num_queries"]), *(f"{100 * row[name]:.1f}" for name in names)])
        for label, row in groups.items()
    ]
    by = "length of the true moment" if table["task"] == "temporal_grounding" else "type"
    return f"<h2>By {by}</h2>" + _table(["group", "questions", *names], body)


def _reason_list(table: Mapping[str, Any]) -> str:
    if not table["reasons"]:
        return ""
    body = [("", [name, str(count)]) for name, count in table["reasons"].items()]
    return "<h2>Why answers could not be read</h2>" + _table(["reason", "answers"], body)


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{b64encode(png).decode()}">'


def _case(record: Mapping[str, Any], text: str | None, reading: Reading, value: float) -> str:
    """Show one answer beside the truth, over the clip's frames."""
    asked = record.get("query") or record.get("question") or record["task"]
    said = "the video failed" if text is None else text
    spans = {"truth": tuple(record["span"])} if "span" in record else {}
    if spans and reading.value is not None:
        spans["answer"] = reading.value
    try:
        clip = read_clip(record["video"], fps=WORST_FPS, max_frames=WORST_FRAMES)
        shown = spans or {"clip": (0.0, clip.duration_seconds)}
        picture = _image(filmstrip_picture(clip, shown), f"Frames of {record['id']}")
    except (VideoError, FileNotFoundError) as error:
        picture = f"<p>{escape(str(error))}</p>"
    why = f" ({reading.reason})" if reading.reason else ""
    return (
        f"<h3>{escape(record['id'])}: {value:.2f}{escape(why)}</h3><p>{escape(str(asked))}</p>"
        f"<p><code>{escape(said)}</code></p>{picture}"
    )
