"""Files of predictions: our own log that can be resumed, and the official formats.

A file is scored only if every answer belongs to one record and every record has one; what does
not fit is named by its row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vcr1_lib.metrics.scoring import Record, read_answer
from vcr1_lib.rewards import gold

UNREADABLE_SPAN = [-1.0, -1.0]  # a point outside every clip: IoU 0 and IoP 0 by their rules
UNREADABLE_OPTION = -1
SHOWN = 3


class PredictionError(ValueError):
    """A prediction file that cannot be scored; the message names the row and the remedy."""


def append_predictions(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows ``{"id", "completion"}`` to a log, one JSON object a line.

    A ``completion`` of ``None`` with an ``error`` stands for a video that failed.
    """
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


def read_prediction_log(
    path: str | Path, records: Sequence[Record], *, partial: bool = False
) -> dict[str, dict[str, Any]]:
    """Read a log back, in the order of its rows.

    Args:
        path: A file of :func:`append_predictions`. Its first line may be a header, an object
            with the one key ``run``.
        records: What was asked.
        partial: Accept that records are missing, and drop a last line that was cut off in the
            middle of writing.

    Returns:
        ``id`` -> row.

    Raises:
        FileNotFoundError: If there is no such file.
        PredictionError: At the first row that is not JSON, has an unknown or repeated ``id`` or
            a wrong type; if records are missing; if the file is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a prediction file, found none at {path}")
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if partial and lines and not text.endswith("\n"):
        lines.pop()
    known, found = {record["id"] for record in records}, dict[str, dict[str, Any]]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, row {number}"
        row = _json(line, where)
        if number == 1 and isinstance(row, dict) and set(row) == {"run"}:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise PredictionError(f"{where}: expected an object with a text 'id', got {line[:80]}")
        name = row["id"]
        if name not in known:
            raise PredictionError(f"{where}: no record has the id {name!r}; take the row out")
        if name in found:
            raise PredictionError(f"{where}: the id {name!r} was answered before; keep one row")
        failed = row.get("completion") is None and isinstance(row.get("error"), str)
        if not failed and not isinstance(row.get("completion"), str):
            raise PredictionError(
                f"{where}: expected a text 'completion', or null beside a text 'error', "
                f"got {row.get('completion')!r}"
            )
        found[name] = row
    if not partial:
        _demand_all(path, found, [record["id"] for record in records])
    return found


def _json(text: str, where: str) -> Any:
    """Parse strict JSON; a key that occurs twice is an error, not a silent overwrite."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise PredictionError(f"{where}: {key!r} occurs twice; keep one")
            seen[key] = value
        return seen

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise PredictionError(
            f"{where}: not valid JSON ({error.msg}, line {error.lineno} column {error.colno}); "
            "look for a trailing comma, a missing quote or a cut end"
        ) from error


def _demand_all(path: Path, found: Mapping[str, Any], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        shown = ", ".join(map(repr, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        raise PredictionError(
            f"{path}: {len(missing)} of {len(wanted)} records have no answer: {shown}; "
            "answer them, or leave their records out"
        )


def charades_key(record: Record) -> str:
    """Return a query's key in lmms-eval's file: ``video>>>sentence>>>[start, end]``.

    >>> charades_key({"video": "v/3MSZA.mp4", "query": "a light.", "span": [24.3, 30.4]})
    '3MSZA.mp4>>>a light.>>>[24.3, 30.4]'
    """
    return f"{Path(record['video']).name}>>>{record['query']}>>>{list(record['span'])}"


def nextgqa_key(record: Record) -> str:
    """Return a question's key in NExT-GQA's files, ``video_qid``.

    The record's id ends in the ``qid``, or in this very key.

    >>> nextgqa_key({"video": "v/2574374895.mp4", "id": "nextgqa:2574374895:8"})
    '2574374895_8'
    """
    stem, name = Path(record["video"]).stem, record["id"].rpartition(":")[2]
    return name if name.startswith(f"{stem}_") else f"{stem}_{name}"


def write_charades(path: str | Path, texts: Sequence[str | None], records: Sequence[Record]) -> int:
    """Write Charades-STA answers as lmms-eval's ``temporal_grounding_charades`` does.

    An unreadable answer is written as an empty text, which that scorer counts as IoU 0.

    Returns:
        How many were written.

    Raises:
        ValueError: If two records have the same key, which their file cannot hold.
    """
    content = {}
    for text, record in zip(texts, records, strict=True):
        span = read_answer(text, record).value
        content[charades_key(record)] = "" if span is None else f"{span[0]:g} to {span[1]:g}"
    return _write(path, content, records)


def write_nextgqa(
    grounding: str | Path,
    options: str | Path,
    texts: Sequence[str | None],
    records: Sequence[Record],
) -> int:
    """Write the two files of NExT-GQA's scorer: one span, and option indices, a question.

    An unreadable span is written as a point before the clip, an unreadable option as -1; the
    official scorer skips questions that are left out, so nothing is.

    Args:
        grounding: ``{"video_qid": [start, end]}``, seconds.
        options: ``{"video_qid": {"answer": index, "prediction": index}}``.
        texts: ``N`` completions.
        records: ``N`` records of grounded questions.

    Returns:
        How many were written.
    """
    spans: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for text, record in zip(texts, records, strict=True):
        reading, key = read_answer(text, record), nextgqa_key(record)
        spans[key] = list(reading.spans[0]) if reading.spans else UNREADABLE_SPAN
        right = gold.check_option(record["answer"], record["options"])
        letter = reading.value
        chosen[key] = {
            "answer": ascii_uppercase.index(right),
            "prediction": ascii_uppercase.index(letter) if letter else UNREADABLE_OPTION,
        }
    _write(options, chosen, records)
    return _write(grounding, spans, records)


def _write(path: str | Path, content: dict[str, Any], records: Sequence[Record]) -> int:
    if len(content) != len(records):
        raise ValueError(
            f"{len(records)} records have only {len(content)} different keys; "
            f"{path} could not hold them all"
        )
    Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return len(content)


def read_charades(path: str | Path, records: Sequence[Record]) -> list[str]:
    """Read lmms-eval's file back as completions in the records' order.

    Raises:
        PredictionError: If it is not a JSON object of texts, or its keys are not the records'.
    """
    content = _read_object(path, {charades_key(record) for record in records})
    for number, (key, value) in enumerate(content.items(), start=1):
        if not isinstance(value, str):
            raise PredictionError(f"{path}, entry {number} ({key!r}): expected text, got {value!r}")
    keys = [charades_key(record) for record in records]
    _demand_all(Path(path), content, keys)
    return [f"<answer>{content[key]}</answer>" for key in keys]


def read_nextgqa_spans(path: str | Path, records: Sequence[Record]) -> list[list[float]]:
    """Read a NExT-GQA grounding file: ``(N, 2)`` seconds in the records' order.

    Raises:
        PredictionError: If it is not a JSON object of ``[start, end]``, or its keys are not the
            records'.
    """
    keys = [nextgqa_key(record) for record in records]
    content = _read_object(path, set(keys))
    for number, (key, value) in enumerate(content.items(), start=1):
        pair = value if isinstance(value, list) and len(value) == 2 else [None]
        finite = [isinstance(x, int | float) and math.isfinite(x) for x in pair]
        if not all(finite) or any(isinstance(x, bool) for x in pair):
            raise PredictionError(
                f"{path}, entry {number} ({key!r}): expected [start, end] in seconds, got {value!r}"
            )
    _demand_all(Path(path), content, keys)
    return [[float(x) for x in content[key]] for key in keys]


def _read_object(path: str | Path, known: set[str]) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a prediction file, found none at {path}")
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise PredictionError(f"{path} is empty: expected a JSON object of answers")
    content = _json(text, str(path))
    if not isinstance(content, dict):
        raise PredictionError(f"{path}: expected a JSON object, got {type(content).__name__}")
    for number, key in enumerate(content, start=1):
        if key not in known:
            raise PredictionError(f"{path}, entry {number}: no record has the key {key!r}")
    return content
