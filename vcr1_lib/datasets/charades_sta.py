"""Charades-STA: one ``VID START END##sentence.`` a line, and the clips' lengths as CSV.

Reference: Gao et al., "TALL: Temporal Activity Localization via Language Query" (2017).
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

SEPARATOR = "##"


class AnnotationError(ValueError):
    """A line or file that cannot be used as truth; the message names it and the remedy."""


class BadRow(NamedTuple):
    """A line that cannot be used as truth."""

    line: int
    text: str
    why: str


def read_charades_sta(
    annotations: str | Path,
    lengths: str | Path,
    videos: str | Path,
    *,
    on_bad: Literal["raise", "drop"] = "raise",
    bad_rows: list[BadRow] | None = None,
) -> list[dict[str, Any]]:
    """Read a split of Charades-STA in its official files.

    The truth may end after the clip, as it does in 562 of the 3,720 official test rows; it
    is kept as it is, since the official scorer keeps it.

    Args:
        annotations: ``charades_sta_train.txt`` or ``charades_sta_test.txt``.
        lengths: ``Charades_v1_train.csv`` or ``_test.csv``; columns ``id`` and ``length``.
        videos: Folder of ``VID.mp4`` files; they are not opened here.
        on_bad: What to do with a line that is malformed, reversed, empty, outside its clip,
            or names a clip without a length: stop, or leave it out.
        bad_rows: Filled with the lines left out.

    Returns:
        Records in file order; see :mod:`vcr1_lib.datasets`.

    Raises:
        FileNotFoundError: If a file is missing.
        AnnotationError: With ``on_bad="raise"`` at the first bad line, naming file and line;
            if the lengths lack a column, or no usable line is left.
    """
    annotations, lengths = Path(annotations), Path(lengths)
    seconds = _read_lengths(lengths)
    records, seen = [], dict[str, int]()
    for number, line in enumerate(_read_text(annotations).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            video_id, span, query = _parse(line)
            duration = _duration(video_id, span, seconds, lengths)
        except ValueError as error:
            if on_bad == "raise":
                raise AnnotationError(
                    f"{annotations}, line {number}: {error} (line: {line[:80]!r}); "
                    "correct it, or pass on_bad='drop' to leave such lines out"
                ) from error
            if bad_rows is not None:
                bad_rows.append(BadRow(number, line, str(error)))
            continue
        index = seen[video_id] = seen.get(video_id, -1) + 1
        records.append(
            {
                "id": f"charades_sta:{video_id}:{index}",
                "task": "temporal_grounding",
                "video": str(Path(videos) / f"{video_id}.mp4"),
                "query": query,
                "span": list(span),
                "duration": duration,
            }
        )
    if not records:
        raise AnnotationError(
            f"{annotations} holds no usable line: expected 'VIDEO START END##sentence'"
        )
    return records


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"expected an annotation file, found none at {path}")
    return path.read_text(encoding="utf-8")


def _read_lengths(path: Path) -> dict[str, float]:
    rows = csv.DictReader(_read_text(path).splitlines(keepends=True))
    if not {"id", "length"} <= set(rows.fieldnames or ()):
        raise AnnotationError(f"{path}: expected columns 'id' and 'length', got {rows.fieldnames}")
    lengths = {}
    for row in rows:
        try:
            lengths[row["id"]] = float(row["length"])
        except (TypeError, ValueError):
            lengths[row["id"]] = math.nan
        if not 0 < lengths[row["id"]] < math.inf:
            raise AnnotationError(
                f"{path}, line {rows.line_num}: expected a length in seconds above 0 "
                f"for {row['id']!r}, got {row['length']!r}; correct it"
            )
    return lengths


def _parse(line: str) -> tuple[str, tuple[float, float], str]:
    head, separator, query = line.partition(SEPARATOR)
    fields = head.split()
    if not separator or len(fields) != 3 or not query.strip():
        raise ValueError("expected 'VIDEO START END##sentence'")
    start, end = float(fields[1]), float(fields[2])
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError("start and end must be finite numbers of seconds")
    if not 0 <= start < end:
        raise ValueError(f"expected 0 <= start < end, got {start:g} to {end:g}")
    return fields[0], (start, end), query.strip()


def _duration(
    video_id: str, span: tuple[float, float], seconds: dict[str, float], lengths: Path
) -> float:
    if video_id not in seconds:
        raise ValueError(f"clip {video_id!r} has no length in {lengths}")
    if span[0] >= seconds[video_id]:
        raise ValueError(
            f"the span starts at {span[0]:g} s, after the clip's {seconds[video_id]:g} s"
        )
    return seconds[video_id]
