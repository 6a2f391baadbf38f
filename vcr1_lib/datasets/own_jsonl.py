r"""Your own data: one JSON object a line. ``docs/own_videos.md`` shows a line of each task.

``{"video": "door.mp4", "query": "the door opens.", "span": [3.2, 7.5]}``
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Unpack

from vcr1_lib.datasets.records import Record, Rules, collect, lettered, read_text
from vcr1_lib.prompts import QUALITY_LABELS
from vcr1_lib.rewards.grading import GOLD_COLUMNS


def read_jsonl(
    annotations: str | Path,
    videos: str | Path | None = None,
    *,
    name: str = "own",
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read your own annotations, of any task, mixed as you like.

    Args:
        annotations: A JSON object a line: ``video``; ``task``, unless the columns tell it;
            the columns of its prompt and its truth; ``id`` and ``duration`` if known. The
            answer to a question is a letter, or an option's whole text.
        videos: Folder that ``video`` is relative to; by default the file's own.
        name: What the records' names start with where a line gives no ``id``.
        **rules: What to do with a bad line; see :class:`vcr1_lib.datasets.records.Rules`.

    Returns:
        Records in file order, named after their line, so that dropping one renames no other.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
    """
    path = Path(annotations)
    folder = path.parent if videos is None else Path(videos)
    # JSON lets a string hold U+2028 and its like, which ``splitlines`` would cut at.
    lines = enumerate(read_text(path).split("\n"), start=1)
    filled = {number: line for number, line in lines if line.strip()}
    numbers = iter(filled)

    def make(line: str) -> Record:
        number = next(numbers)
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{error}; expected one JSON object per line") from error
        if not isinstance(row, dict) or not row.get("video"):
            raise ValueError("expected a JSON object with a 'video'")
        task = row.get("task") or _task_of(row)
        filled_in = {"id": f"{name}:{number}", "task": task} | row
        if task == "quality":
            filled_in.setdefault("labels", list(QUALITY_LABELS))
        elif row.get("answer") in row.get("options", ()):
            filled_in["answer"] = lettered(row["answer"], row["options"])
        return filled_in | {"video": str(folder / row["video"])}

    expected = "one JSON object per line"
    return collect(path, filled.items(), make, expected=expected, unit="line", **rules)


def _task_of(row: Record) -> str:
    for task, columns in GOLD_COLUMNS.items():
        if set(columns) <= set(row):
            return task
    raise ValueError(f"expected the truth of a task, such as 'span', got only {sorted(row)}")
