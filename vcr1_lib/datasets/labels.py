"""Moments in your own clips, told one a line of JSON, and the file that keeps them.

The form is :mod:`vcr1_lib.datasets.own_jsonl`'s, so the file is ready to train on. A record is
named after its line there, so lines never move: a changed label keeps its line, and one taken
away leaves an empty line behind. Lines about other tasks are left as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vcr1_lib.datasets import AnnotationError
from vcr1_lib.datasets.records import checked, read_text
from vcr1_lib.rewards.gold import check_span

# Frame times are told to the millisecond; finer digits are the arithmetic's, not the file's.
DECIMALS = 3


class Label(NamedTuple):
    """One moment of one clip.

    Attributes:
        video: The clip, relative to the folder of clips, with ``/`` between the parts.
        query: What happens.
        span: ``(start, end)`` in seconds from the clip's first frame.
        duration: Length of the clip in seconds, ``None`` if not told.
    """

    video: str
    query: str
    span: tuple[float, float]
    duration: float | None = None


def read_labels(path: str | Path) -> dict[int, Label]:
    """Read the labels of a file by their line, from 1; one that does not exist yet has none.

    Raises:
        AnnotationError: At a line that is not a JSON object, or a moment that cannot be used.
    """
    labels = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("video"), str):
                raise ValueError("expected a JSON object with a 'video'")
            if "span" not in row or row.get("task", "temporal_grounding") != "temporal_grounding":
                continue
            label = Label(row["video"], row["query"], check_span(row["span"]), row.get("duration"))
            _check(label)
        except (KeyError, TypeError, ValueError) as error:
            why = f"lacks {error}" if isinstance(error, KeyError) else error
            raise AnnotationError(f"{path}, line {number}: {why}; correct the line") from error
        labels[number] = label
    return labels


def write_label(path: str | Path, label: Label, *, line: int | None = None) -> int:
    """Save a label, whole or not at all.

    Args:
        path: The file; made if there is none, its folder too.
        label: What to save. Seconds are rounded to milliseconds.
        line: Of the label to replace, ``None`` to add one at the end. Other columns that a
            replaced line has, such as an ``id``, stay.

    Returns:
        The label's line.

    Raises:
        GoldError: If the label could not be used as truth; nothing is written.
        AnnotationError: If the line to replace holds no label of that clip any more.
    """
    start, end = (round(float(second), DECIMALS) for second in label.span)
    label = label._replace(query=" ".join(label.query.split()), span=(start, end))
    _check(label)
    lines = _lines(path)
    row = {} if line is None else _row_of(lines, line, label.video, path)
    row |= {"video": label.video, "query": label.query, "span": [start, end]}
    if label.duration is not None:
        row["duration"] = round(label.duration, DECIMALS)
    text = json.dumps(row, ensure_ascii=False)
    if line is None:
        lines.append(text)
    else:
        lines[line - 1] = text
    _save(path, lines)
    return len(lines) if line is None else line


def remove_label(path: str | Path, line: int, *, video: str) -> None:
    """Take a label away; its line stays, empty.

    Raises:
        AnnotationError: If the line holds no label of that clip any more.
    """
    lines = _lines(path)
    _row_of(lines, line, video, path)
    lines[line - 1] = ""
    _save(path, lines)


def _check(label: Label) -> None:
    truth: Mapping[str, object] = label._asdict()
    checked({"id": label.video, "task": "temporal_grounding", **truth})


def _row_of(lines: list[str], line: int, video: str, path: str | Path) -> dict[str, object]:
    row = json.loads(lines[line - 1] or "null") if 0 < line <= len(lines) else None
    if not isinstance(row, dict) or row.get("video") != video or "span" not in row:
        raise AnnotationError(
            f"{path}, line {line}: expected a label of {video!r}; the file was changed elsewhere: "
            "open it again"
        )
    return row


def _lines(path: str | Path) -> list[str]:
    """Split at line feeds only: JSON lets a string hold the other separators."""
    lines = read_text(path).split("\n") if Path(path).exists() else []
    return lines[:-1] if lines and not lines[-1] else lines


def _save(path: str | Path, lines: list[str]) -> None:
    """Write beside the file, then swap: a reader sees the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    beside.replace(path)
