"""VideoChat-R1's own JSON: boxes for tracking, grounded questions, quality.

Charades and ActivityNet are in :mod:`vcr1_lib.datasets.moments`'s form there.

Reference: arXiv 2504.06958.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

from vcr1_lib.datasets.records import (
    Record,
    Rules,
    collect,
    numbered,
    read_json,
    unlettered,
)
from vcr1_lib.prompts import QUALITY_LABELS


def _read_list(
    annotations: str | Path,
    make: Callable[[dict[str, Any]], Record],
    expected: str,
    rules: Rules,
) -> list[Record]:
    path = Path(annotations)
    rows = numbered(read_json(path, list))
    return collect(path, rows, make, expected=expected, **rules)


def read_got_boxes(
    annotations: str | Path,
    videos: str | Path,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read ``got_val.json``: ``[{"path", "object", "gt": 8 boxes as shares}]``.

    The file names a folder of its authors' machine; its last part is looked for in ``videos``.
    It does not say which frames the boxes belong to: they are taken as spread evenly over the
    clip, so :class:`vcr1_lib.models.PromptLoader` shows as many frames as there are boxes.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
    """

    def make(row: dict[str, Any]) -> Record:
        name = PurePosixPath(row["path"]).name
        return {
            "id": f"got_boxes:{name}",
            "task": "tracking",
            "video": str(Path(videos) / name),
            "object": row["object"],
            "boxes": row["gt"],
        }

    return _read_list(annotations, make, "[{path, object, gt}]", rules)


def read_gqa_list(
    annotations: str | Path,
    videos: str | Path,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read ``nextgqa_val.json``: the truth's spans are under ``"glue"``, options carry letters.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
    """

    def make(row: dict[str, Any]) -> Record:
        return {
            "id": f"videochat_r1_gqa:{row['id']}",
            "task": "grounded_qa",
            "video": str(Path(videos) / row["video"]),
            "question": row["question"],
            "options": unlettered(row["options"]),
            "answer": row["answer"].strip("() "),
            "spans": row["glue"],
            "duration": float(row["duration"]),
            "type": row["type"],
        }

    return _read_list(annotations, make, "[{id, video, question, options, ...}]", rules)


def read_quality(
    annotations: str | Path,
    videos: str | Path,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read VidTAB-QA's ``Quality_Access_*.json``: ``[{"video", "instruction", "answer"}]``.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
    """

    def make(row: dict[str, Any]) -> Record:
        return {
            "id": f"vidtab_quality:{row['video']}",
            "task": "quality",
            "video": str(Path(videos) / row["video"]),
            "labels": list(QUALITY_LABELS),
            "answer": row["answer"],
        }

    return _read_list(annotations, make, "[{video, instruction, answer}]", rules)
