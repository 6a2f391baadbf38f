"""Perception Test: one JSON of all clips, with questions of three options and object tracks.

Reference: Pătrăucean et al., "Perception Test: A Diagnostic Benchmark for Multimodal Video
Models" (NeurIPS 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from vcr1_lib.datasets.records import Record, Rules, collect, numbered, read_json

MICROSECONDS = 1_000_000
NUM_BOXES = 8


def read_perception_test(
    annotations: str | Path,
    videos: str | Path,
    *,
    task: Literal["multiple_choice", "tracking"] = "multiple_choice",
    num_boxes: int = NUM_BOXES,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read the questions or the tracks of a split.

    Cup-game clips are read whole; who follows the benchmark's protocol cuts them first.

    Args:
        annotations: ``all_train.json`` or ``all_valid.json``.
        videos: Folder of ``VIDEO.mp4`` files; they are not opened here.
        task: What to read.
        num_boxes: Boxes of a track to keep, spread evenly from the first to the last.
        **rules: What to do with a bad row; see :class:`vcr1_lib.datasets.records.Rules`.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
    """
    path = Path(annotations)
    part = {"multiple_choice": "mc_question", "tracking": "object_tracking"}[task]

    def make(row: dict[str, Any]) -> Record:
        about, clip, rest = row["metadata"], row["clip"], row["rest"]
        record = {
            "id": f"perception_test:{clip}:{part}:{rest['id']}",
            "task": task,
            "video": str(Path(videos) / f"{clip}.mp4"),
            "duration": float(about["num_frames"]) / float(about["frame_rate"]),
        }
        if task == "tracking":
            return record | _track(rest, num_boxes)
        answer = int(rest["answer_id"])
        if not 0 <= answer < len(rest["options"]):
            raise ValueError(f"expected answer_id of one of the options, got {answer}")
        letter = chr(ord("A") + answer)
        options, question = list(rest["options"]), rest["question"]
        return record | {"question": question, "options": options, "answer": letter}

    rows = numbered(_parts(read_json(path, dict), part))
    expected = f"{{VIDEO: {{metadata, {part}}}}}"
    return collect(path, rows, make, expected=expected, **rules)


def _parts(clips: dict[str, Any], part: str) -> Iterator[dict[str, Any]]:
    for clip, entry in clips.items():
        told = entry if isinstance(entry, dict) else {part: [entry]}
        for rest in told.get(part, []):
            yield {"clip": clip, "metadata": told.get("metadata"), "rest": rest}


def _track(track: dict[str, Any], num_boxes: int) -> Record:
    boxes, stamps = track["bounding_boxes"], track["timestamps"]
    if len(boxes) != len(stamps) or len(boxes) < num_boxes:
        raise ValueError(
            f"expected at least {num_boxes} boxes, each with a time stamp, "
            f"got {len(boxes)} and {len(stamps)}"
        )
    picked = np.linspace(0, len(boxes) - 1, num_boxes).round().astype(int)
    return {
        "object": track["label"],
        "boxes": [boxes[i] for i in picked],
        "times": [stamps[i] / MICROSECONDS for i in picked],
    }
