"""NExT-GQA: questions with five options as CSV, and the spans that show the answer as JSON.

Reference: Xiao et al., "Can I Trust Your Answer? Visually Grounded Video Question Answering"
(CVPR 2024).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Unpack

from vcr1_lib.datasets.records import (
    AnnotationError,
    Record,
    Rules,
    collect,
    lettered,
    read_json,
    read_text,
)

COLUMNS = {"video_id", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4"}


def read_next_gqa(
    questions: str | Path,
    spans: str | Path,
    videos: str | Path,
    *,
    places: str | Path | None = None,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read a split of NExT-GQA in its official files.

    Args:
        questions: ``val.csv`` or ``test.csv``; the answer is an option's text.
        spans: ``gsub_val.json`` or ``gsub_test.json``.
        videos: Folder of the clips; they are not opened here.
        places: ``map_vid_vidorID.json``, which says in what subfolder a clip lies; without it,
            ``VID.mp4`` lies in ``videos`` itself.
        **rules: What to do with a bad question; see :class:`vcr1_lib.datasets.records.Rules`.

    Raises:
        FileNotFoundError: If a file is missing.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does; if the questions
            lack a column.
    """
    questions = Path(questions)
    shown: dict[str, Any] = read_json(spans, dict)
    folders: dict[str, str] = {} if places is None else read_json(places, dict)
    table = csv.DictReader(read_text(questions).splitlines(keepends=True))
    if missing := COLUMNS - set(table.fieldnames or ()):
        raise AnnotationError(f"{questions}: lacks the columns {sorted(missing)}")

    def make(row: dict[str, str]) -> Record:
        clip, qid = row["video_id"], row["qid"]
        options = [row[f"a{i}"] for i in range(5)]
        if qid not in shown.get(clip, {}).get("location", {}):
            raise ValueError(f"question {qid} about clip {clip} has no spans in {spans}")
        return {
            "id": f"next_gqa:{clip}:{qid}",
            "task": "grounded_qa",
            "video": str(Path(videos) / f"{folders.get(clip, clip)}.mp4"),
            "question": row["question"],
            "options": options,
            "answer": lettered(row["answer"], options),
            "spans": shown[clip]["location"][qid],
            "duration": float(shown[clip]["duration"]),
            "type": row["type"],
        }

    rows = [(table.line_num, row) for row in table]
    expected = "a question a line"
    return collect(questions, rows, make, expected=expected, unit="line", **rules)
