"""One kind of record for every task: how rows become records, and what a bad row does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from vcr1_lib.rewards import gold

Record = dict[str, Any]
OnBad = Literal["raise", "drop"]
SHOWN_CHARS = 80


class AnnotationError(ValueError):
    """A line or file that cannot be used as truth; the message names it and the remedy."""


class BadRow(NamedTuple):
    """A row that cannot be used as truth.

    Attributes:
        line: Line of a text file, or entry of a JSON file; both count from 1.
        text: The row.
        why: One sentence.
    """

    line: int
    text: str
    why: str


class Rules(TypedDict, total=False):
    """What every reader can be told about rows that cannot be used as truth.

    Attributes:
        on_bad: Stop at the first, ``"raise"``, or leave them out, ``"drop"``.
        bad_rows: Filled with the rows left out.
    """

    on_bad: OnBad
    bad_rows: list[BadRow] | None


def collect(
    path: Path,
    rows: Iterable[tuple[int, Any]],
    make: Callable[[Any], Record],
    *,
    expected: str,
    unit: str = "entry",
    on_bad: OnBad = "raise",
    bad_rows: list[BadRow] | None = None,
) -> list[Record]:
    """Turn the rows of a file into records; a bad row stops it or is left out.

    A record owes nothing to the rows around it, so one left out never shifts another's truth
    or name.

    Args:
        path: The file, for messages and for each record's ``source``.
        rows: Number and content of each row.
        make: Builds a record out of a row; raises ``ValueError``, ``KeyError`` or
            ``TypeError`` on a bad one.
        expected: What a row looks like, for the message about a file without any.
        unit: What the numbers count, ``"line"`` or ``"entry"``.
        on_bad: Stop at a bad row, or leave it out.
        bad_rows: Filled with the rows left out.

    Raises:
        AnnotationError: With ``on_bad="raise"`` at the first bad row; if none is usable; if
            two records have one name.
    """
    records: list[Record] = []
    names: set[str] = set()
    for number, row in rows:
        text = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)
        try:
            record = checked(make(row))
            if record["id"] in names:
                raise AnnotationError(f"the name {record['id']!r} is taken by an earlier row")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            why = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            if on_bad == "raise":
                raise AnnotationError(
                    f"{path}, {unit} {number}: {why} ({unit}: {text[:SHOWN_CHARS]!r}); "
                    "correct it, or leave such rows out: --on_error skip of the training scripts, "
                    "on_bad='drop' in Python"
                ) from error
            if bad_rows is not None:
                bad_rows.append(BadRow(number, text, why))
            continue
        names.add(record["id"])
        records.append(record | {"source": f"{path.name}:{number}"})
    if not records:
        raise AnnotationError(f"{path} holds no usable {unit}: expected {expected}")
    return records


def checked(record: Record) -> Record:
    """Return a record whose gold the rewards of its task can compare with.

    Raises:
        GoldError: If a value is malformed, reversed, empty, starts after the clip, or names no
            option or several.
        KeyError: If a column of the task is missing.
    """
    task, duration = record["task"], record.get("duration")
    if duration is not None:
        gold.check_limit(duration, (0.0,))
    if task == "temporal_grounding":
        _check_moment(gold.check_span(record["span"]), duration)
        _check_words(record["query"], "a sentence to ground")
    elif task in ("multiple_choice", "grounded_qa"):
        _check_words(record["question"], "a question")
        letter = gold.check_option(record["answer"], record["options"])
        told = [str(option).strip().casefold() for option in record["options"]]
        if told.count(told[ord(letter) - ord("A")]) > 1:
            raise gold.GoldError(f"the answer {letter} stands twice in {record['options']!r}")
        record = record | {"answer": letter}
        for span in gold.check_spans(record["spans"]) if task == "grounded_qa" else ():
            _check_moment(span, duration)
    elif task == "tracking":
        gold.check_boxes(record["boxes"])
        _check_words(record["object"], "an object to follow")
    elif task == "caption":
        gold.check_events(record["events"])
    elif task == "quality":
        record = record | {"answer": gold.check_label(record["answer"], record["labels"])}
    else:
        raise gold.GoldError(f"expected a task of {sorted(TASKS)}, got {task!r}")
    return record


TASKS = ("temporal_grounding", "tracking", "multiple_choice", "grounded_qa", "caption", "quality")


def _check_moment(span: tuple[float, float], duration: float | None) -> None:
    if span[0] == span[1]:
        raise gold.GoldError(f"expected a span with start < end, got {list(span)}")
    if duration is not None and span[0] >= duration:
        raise gold.GoldError(
            f"the span starts at {span[0]:g} s, after the clip's {float(duration):g} s"
        )


def _check_words(value: Any, wanted: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise gold.GoldError(f"expected {wanted}, got {value!r}")


def read_text(path: str | Path) -> str:
    """Read an annotation file.

    Raises:
        FileNotFoundError: If there is none.
        AnnotationError: If it is not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected an annotation file, found none at {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error


def read_json(path: str | Path, kind: type) -> Any:
    """Read a JSON file that holds a ``list`` or a ``dict``.

    Raises:
        FileNotFoundError: If there is none.
        AnnotationError: If it is not JSON, or holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path} is not JSON ({error}): download it again") from error
    if not isinstance(content, kind):
        raise AnnotationError(f"{path}: expected a JSON {kind.__name__}, got {str(content)[:40]!r}")
    return content


def numbered(rows: Iterable[Any]) -> Iterable[tuple[int, Any]]:
    """Count rows from 1."""
    return enumerate(rows, start=1)


def lettered(option: Any, options: Iterable[Any]) -> str:
    """Return an option's text as its letter, when just one option reads like that.

    >>> lettered("jump", ["wave", "jump"])
    'B'
    """
    found = [i for i, text in enumerate(options) if text == option]
    if len(found) != 1:
        raise gold.GoldError(f"the answer {option!r} is not one of the options, or several of them")
    return chr(ord("A") + found[0])


def unlettered(options: Iterable[str]) -> list[str]:
    """Remove the letters that some files write before options: ``"(A) wave"`` -> ``"wave"``."""
    marked: Mapping[str, str] = {f"({chr(ord('A') + i)})": t for i, t in enumerate(options)}
    plain = [t.removeprefix(mark).strip() for mark, t in marked.items()]
    same = [t.startswith(mark) for mark, t in marked.items()]
    return plain if all(same) else list(marked.values())
