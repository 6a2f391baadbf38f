"""Captions as lists of events: Dream-1k, FIBER-1k.

A JSON list or JSON lines of ``{"video_file", "description", "events": ["...", ...]}``, the
column names of Dream-1k's data card, or lines as in Tarsier's repository
(``data/annotations/DREAM-1k.jsonl``): the description in ``messages``, the events in
``extra_info``, clip ``vid.mp4`` while the file's place is left open. FIBER-1k has no published
file that we could read; bring it into this form.

Reference: Wang et al., "Tarsier: Recipes for Training and Evaluating Large Video Description
Models" (2024).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Unpack

from vcr1_lib.datasets.records import Record, Rules, collect, numbered, read_json, read_text

OPEN = "<placeholder>"


def read_captions(
    annotations: str | Path,
    videos: str | Path,
    *,
    name: str = "dream_1k",
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read clips with their events.

    Four of the 1,000 lines of ``DREAM-1k.jsonl`` list no event: bad rows.

    Args:
        annotations: ``.json`` (a list) or ``.jsonl``. ``events`` is a list, or a string that
            holds a list as JSON or an event a line. Only the last part of ``video_file`` is
            looked for.
        videos: Folder of the clips; they are not opened here.
        name: What the records' names start with.
        **rules: What to do with a bad row; see :class:`vcr1_lib.datasets.records.Rules`.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
    """
    path = Path(annotations)
    lines = path.suffix == ".jsonl"

    def make(row: Any) -> Record:
        entry = _columns(json.loads(row) if lines else row)
        clip = Path(entry["video_file"]).name
        return {
            "id": f"{name}:{entry.get('idx', clip)}",
            "task": "caption",
            "video": str(Path(videos) / clip),
            "events": _events(entry["events"]),
            "caption": str(entry.get("description", "")),
        }

    rows = numbered(read_text(path).splitlines() if lines else read_json(path, list))
    filled = [(number, row) for number, row in rows if not lines or row.strip()]
    expected = "{video_file, description, events}"
    unit = "line" if lines else "entry"
    return collect(path, filled, make, expected=expected, unit=unit, **rules)


def _columns(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what a line of Tarsier's repository says in the data card's columns."""
    if "messages" not in entry:
        return entry
    asked, said = (message["content"] for message in entry["messages"])
    (clip,) = (part["video"]["video_file"] for part in asked if part["type"] == "video")
    return {
        "idx": entry["idx"],
        "video_file": f"{entry['vid']}.mp4" if clip == OPEN else clip,
        "description": said[0]["reference"],
        "events": entry["extra_info"]["events"],
    }


def _events(told: Any) -> list[Any]:
    if not isinstance(told, str):
        return list(told)
    if told.lstrip().startswith("["):
        return list(json.loads(told))
    return [line.strip() for line in told.splitlines() if line.strip()]
