"""One page about an evaluation: opens offline, everything inside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from vcr1_lib.datasets.benchmarks import Section
from vcr1_lib.metrics.scoring import Reading, Scores, many
from vcr1_lib.plots import filmstrip_picture, frame_strip
from vcr1_lib.plots.scores import boxes_picture, distribution_picture, group_picture
from vcr1_lib.video import VideoError, read_clip

WORST_FPS, WORST_FRAMES, WORST_SPANS = 1.0, 12, 4
FEWEST_DRAWN = 4
# Tasks whose answers are worth something between nothing and all.
GRADED = ("temporal_grounding", "tracking", "caption")
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .55rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "table{display:block;overflow-x:auto;font-size:.9em}td:first-child{white-space:nowrap}img{max-width:100%}tr.model{font-weight:bold}"
    "code{background:#f3f3f3;padding:.1rem .3rem;overflow-wrap:anywhere}"
    "h2{margin-top:4rem;border-top:2px solid #222;padding-top:1rem}"
)


def write_page(
    path: str | Path,
    sections: Mapping[str, Section],
    *,
    title: str,
    model_row: str = "model",
    num_worst: int = 4,
) -> Path:
    """Write the report of an evaluation.

    Args:
        path: Of the HTML file.
        sections: From :func:`vcr1_lib.datasets.benchmarks.score_sections`.
        title: Heading.
        model_row: Which row is the model's.
        num_worst: How many of the worst answers of a section to show with their frames.

    Returns:
        The page's path.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    if len(sections) > 1:
        parts.append(_contents(sections, model_row))
    for name, section in sections.items():
        if len(sections) > 1:
            parts.append(f'<h2 id="{_anchor(name)}">{escape(name)}</h2>')
        parts += _section(section, model_row, num_worst)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>{''.join(parts)}</html>"
    )
    Path(path).write_text(page + "\n", encoding="utf-8")
    return Path(path)


def _anchor(name: str) -> str:
    return name.replace(": ", "-").replace(" ", "-")


def _best_blind(rows: Mapping[str, Scores], model_row: str) -> str | None:
    """Return the name of the baseline that scores most."""
    blind = [name for name in rows if not name.startswith(model_row)]
    main = rows[model_row].table["main"]
    return max(blind, key=lambda name: rows[name].table["scores"][main], default=None)


def _contents(sections: Mapping[str, Section], model_row: str) -> str:
    """Put every section's main score beside the best baseline's: a table and a picture."""
    body: list[tuple[str, list[str]]] = []
    drawn: dict[str, dict[str, dict[str, float]]] = {model_row: {}, "best without looking": {}}
    for name, (rows, *_) in sections.items():
        table, best = rows[model_row].table, _best_blind(rows, model_row)
        main, count = table["main"], table["num_queries"]
        blind = rows[best].table["scores"][main] if best else float("nan")
        told = f"{100 * blind:.1f} ({best})" if best else "none"
        cells = [name, str(count), main, f"{100 * table['scores'][main]:.1f}", told]
        body.append(("", [*cells, f"{100 * table['unparsed']:.1f}"]))
        for score, bars in zip((table["scores"][main], blind), drawn.values(), strict=True):
            bars[name] = {"main score": score, "num_queries": count}
    head = ["dataset: task", "questions", "score", "model, %", "best without looking, %"]
    lines = _table([*head, "unparsed, %"], body)
    for name in map(escape, sections):
        link = f'<td><a href="#{_anchor(name)}">{name}</a></td>'
        lines = lines.replace(f"<td>{name}</td>", link)
    return lines + _image(group_picture(drawn, unit="main score"), "Main score of each part")


def _section(section: Section, model_row: str, num_worst: int) -> list[str]:
    rows, texts, records, missing = section
    model, best = rows[model_row], _best_blind(rows, model_row)
    table = model.table
    drawn = {model_row: model.values} | {
        name: row.values for name, row in rows.items() if not name.startswith(model_row)
    }
    main, low, high = table["main"], *(100 * bound for bound in table["interval"])
    parts = [
        f"<p>{escape(main)} <b>{100 * table['scores'][main]:.1f} %</b> (95 % interval {low:.1f} to "
        f"{high:.1f}), {many(table['num_queries'], 'question')} on "
        f"{many(table['num_videos'], 'video')}. "
        f"{100 * table['unparsed']:.1f} % of the answers could not be read and "
        f"{100 * table['failed']:.1f} % of the videos failed; both count 0.</p>",
        _score_table(rows, model_row),
        f"<p>{escape(missing)}</p>" if missing else "",
    ]
    if len(records) >= FEWEST_DRAWN and table["task"] in GRADED:
        unit = "IoU" if main == "mIoU" else main
        picture = distribution_picture(drawn, unit=unit)
        parts.append(_image(picture, f"Distribution of {unit}"))
    parts += [_groups(rows, model_row, best), _reason_list(table)]
    shown = min(num_worst, len(records))
    parts.append(f"<h3>The worst of {many(len(records), 'answer')}</h3>")
    for index in np.argsort(model.values, kind="stable")[:shown]:
        value, reading = float(model.values[index]), model.readings[index]
        parts.append(_case(records[index], texts[index], reading, value))
    return parts


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


def _groups(rows: Mapping[str, Scores], model_row: str, best: str | None) -> str:
    """Show the scores by group: a table of the model's, a picture beside the best baseline."""
    table = rows[model_row].table
    groups = table["groups"]
    if not groups:
        return ""
    names = [name for name in next(iter(groups.values())) if name != "num_queries"]
    body = [
        ("", [label, str(row["num_queries"]), *(f"{100 * row[name]:.1f}" for name in names)])
        for label, row in groups.items()
    ]
    by = "length of the true moment" if table["task"] == "temporal_grounding" else "type"
    drawn = {name: rows[name].table["groups"] for name in (model_row, best) if name}
    picture = _image(group_picture(drawn, unit=names[0]), f"{names[0]} by {by}")
    return f"<h3>By {by}</h3>" + _table(["per cent", "questions", *names], body) + picture


def _reason_list(table: Mapping[str, Any]) -> str:
    if not table["reasons"]:
        return ""
    body = [("", [name, str(count)]) for name, count in table["reasons"].items()]
    return "<h3>Why answers could not be read</h3>" + _table(["reason", "answers"], body)


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{b64encode(png).decode()}">'


def _case(record: Mapping[str, Any], text: str | None, reading: Reading, value: float) -> str:
    """Show one answer beside the truth, over the clip's frames."""
    asked = record.get("query") or record.get("question") or f"follow the {record.get('object')}"
    if record["task"] in ("caption", "quality"):
        asked = record["task"]
    said = "the video failed" if text is None else text
    try:
        picture = _image(_frames(record, reading), f"Frames of {record['id']}")
    except (VideoError, FileNotFoundError) as error:
        picture = f"<p>{escape(str(error))}</p>"
    why = f" ({reading.reason})" if reading.reason else ""
    truth = " ".join(record["events"]) if "events" in record else record.get("answer")
    right = f"<p>truth: {escape(str(truth))}</p>" if truth else ""
    return (
        f"<h4>{escape(record['id'])}: {value:.2f}{escape(why)}</h4><p>{escape(str(asked))}</p>"
        f"{right}<p><code>{escape(said)}</code></p>{picture}"
    )


def _frames(record: Mapping[str, Any], reading: Reading) -> bytes:
    """Draw a record's frames, with the true and answered moments or boxes."""
    if record["task"] == "tracking":
        boxes = record["boxes"]
        clip = read_clip(record["video"], num_frames=len(boxes), times_seconds=record.get("times"))
        return boxes_picture(clip, {"truth": boxes, "answer": reading.value})
    clip = read_clip(record["video"], fps=WORST_FPS, max_frames=WORST_FRAMES)
    spans: dict[str, tuple[float, float]] = {}
    if "span" in record:
        spans["truth"] = tuple(record["span"])
        found = [reading.value] if reading.value is not None else []
    else:
        spans |= _numbered("truth", record.get("spans", ()))
        found = list(reading.spans or ())[:WORST_SPANS]
    spans |= _numbered("answer", found)
    return filmstrip_picture(clip, spans) if spans else frame_strip(clip)


def _numbered(label: str, spans: Sequence[Sequence[float]]) -> dict[str, tuple[float, float]]:
    named = enumerate(spans, start=1)
    return {f"{label} {i}" if i > 1 else label: (start, end) for i, (start, end) in named}
