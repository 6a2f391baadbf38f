"""Charades-STA: one ``VID START END##sentence.`` a line, and the clips' lengths as CSV.

Reference: Gao et al., "TALL: Temporal Activity Localization via Language Query" (2017).
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Unpack

from vcr1_lib.datasets.records import AnnotationError, Record, Rules, collect, read_text

SEPARATOR = "##"
FORM = "'VIDEO START END##sentence'"


def read_charades_sta(
    annotations: str | Path,
    lengths: str | Path,
    videos: str | Path,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read a split of Charades-STA in its official files.

    The truth may end after the clip, as it does in 562 of the 3,720 official test rows; it
    is kept as it is, since the official scorer keeps it.

    Args:
        annotations: ``charades_sta_train.txt`` or ``charades_sta_test.txt``.
        lengths: ``Charades_v1_train.csv`` or ``_test.csv``; columns ``id`` and ``length``.
        videos: Folder of ``VID.mp4`` files; they are not opened here.
        **rules: What to do with a line that is malformed, reversed, empty, outside its clip,
            or names a clip without a length; see :class:`vcr1_lib.datasets.records.Rules`.

    Returns:
        Records in file order; see :mod:`vcr1_lib.datasets`. A record's name counts the lines
        about its clip, bad ones too.

    Raises:
        FileNotFoundError: If a file is missing.
        AnnotationError: With ``on_bad="raise"`` at the first bad line, naming file and line;
            if the lengths lack a column, or no usable line is left.
    """
    annotations, lengths = Path(annotations), Path(lengths)
    seconds = _read_lengths(lengths)
    lines = enumerate(read_text(annotations).splitlines(), start=1)
    filled = [(number, line) for number, line in lines if line.strip()]
    places: Counter[str] = Counter()

    def make(line: str) -> Record:
        place = places[line.split()[0]]
        places[line.split()[0]] += 1
        video_id, span, query = _parse(line)
        if video_id not in seconds:
            raise ValueError(f"clip {video_id!r} has no length in {lengths}")
        return {
            "id": f"charades_sta:{video_id}:{place}",
            "task": "temporal_grounding",
            "video": str(Path(videos) / f"{video_id}.mp4"),
            "query": query,
            "span": list(span),
            "duration": seconds[video_id],
        }

    return collect(annotations, filled, make, expected=FORM, unit="line", **rules)


def _read_lengths(path: Path) -> dict[str, float]:
    rows = csv.DictReader(read_text(path).splitlines(keepends=True))
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
        raise ValueError(f"expected {FORM}")
    start, end = float(fields[1]), float(fields[2])
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError("start and end must be finite numbers of seconds")
    if not 0 <= start < end:
        raise ValueError(f"expected 0 <= start < end, got {start:g} to {end:g}")
    return fields[0], (start, end), query.strip()
