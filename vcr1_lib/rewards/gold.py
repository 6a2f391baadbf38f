"""Check the truth of a sample before anything is compared with it.

A wrong answer is the model's business and scores 0; wrong gold is ours and raises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf, isfinite, isnan
from numbers import Real
from string import ascii_uppercase
from typing import Any, Final

from vcr1_lib.answers import grammar
from vcr1_lib.answers.grammar import Box, Span
from vcr1_lib.prompts import QUALITY_LABELS

_NO_LIST: Final = (str, bytes, Mapping)  # each can be walked through, and none by its values


class GoldError(ValueError):
    """Truth that no answer could be compared with; the message holds the value."""


def is_missing(value: Any) -> bool:
    """Tell a value that a table lacks: ``None``, or NaN as pandas writes it."""
    return value is None or (isinstance(value, Real) and isnan(value))


def check_span(value: Any) -> Span:
    """Return ``(start, end)`` with ``0 <= start <= end``, finite seconds.

    >>> check_span([24.3, 30.4])
    (24.3, 30.4)
    """
    start, end = _numbers(value, 2, "a span (start, end) in finite seconds")
    if not 0 <= start <= end:
        raise GoldError(f"expected a span with 0 <= start <= end, got {value!r}")
    return start, end


def check_spans(value: Any) -> list[Span]:
    """Return one or more spans, in the order given."""
    return [check_span(span) for span in _filled(value, "spans")]


def check_limit(duration: Any, ends: Iterable[float]) -> float | None:
    """Return the clip's length, stretched to truth that ends after it, as Charades' often does."""
    if duration is None:
        return None
    try:
        seconds = float(duration)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < inf:
        raise GoldError(f"expected a duration in seconds, a number above 0, got {duration!r}")
    return max([seconds, *ends])


def check_boxes(value: Any, *, least: int = 1) -> list[Box]:
    """Return one or more boxes ``(x0, y0, x1, y1)``, shares of the picture."""
    boxes: list[Box] = []
    for box in _filled(value, "boxes"):
        x0, y0, x1, y1 = _numbers(box, 4, "a box (x0, y0, x1, y1) of finite numbers")
        if not (0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1):
            raise GoldError(
                "expected a box (x0, y0, x1, y1) in shares of the picture, 0 <= x0 <= x1 <= 1 and "
                f"the same for y, got {box!r}; divide pixels by the picture's width and height"
            )
        boxes.append((x0, y0, x1, y1))
    if len(boxes) < least:
        raise GoldError(f"expected a given box and {least - 1} more at least, got {value!r}")
    return boxes


def check_options(value: Any) -> list[str]:
    """Return one or more options."""
    options = _filled(value, "options")
    if len(options) > len(ascii_uppercase):
        raise GoldError(f"expected at most as many options as letters, got {len(options)}")
    return [str(option) for option in options]


def check_option(answer: Any, options: Any) -> str:
    """Return the letter of the right option, given as letter or text.

    >>> check_option("jump", ["wave", "jump"])
    'B'
    """
    checked = check_options(options)
    if not isinstance(answer, str) and answer not in list(options):
        raise GoldError(
            f"expected the letter or the text of one of {checked} as the answer, got {answer!r}; "
            "write a place in the list as its letter, the first as 'A'"
        )
    parsed = grammar.read_option(str(answer), options=checked)
    if parsed.value is None:
        raise GoldError(f"expected one of {options!r} as the answer, got {answer!r}")
    return parsed.value


def check_labels(value: Any = QUALITY_LABELS) -> list[str]:
    """Return what may be answered: one or more words; by default low and high quality."""
    labels = _filled(value, "labels")
    if not all(isinstance(label, str) and label.strip() for label in labels):
        raise GoldError(
            f"expected labels with words in them, got {value!r}; "
            "rename the column if it holds something else"
        )
    return labels


def check_label(answer: Any, labels: Any = QUALITY_LABELS) -> str:
    """Return the right label as ``labels`` spells it."""
    checked = check_labels(labels)
    parsed = grammar.read_label(str(answer), labels=checked)
    if parsed.value is None:
        raise GoldError(f"expected one of {checked} as the answer, got {answer!r}")
    return parsed.value


def check_events(value: Any) -> list[str]:
    """Return one or more events, each with words in it."""
    events = _filled(value, "events")
    if not all(isinstance(event, str) and event.strip() for event in events):
        raise GoldError(f"expected events with words in them, got {value!r}")
    return events


def check_truth(row: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return columns of a record as numbers and lists; an answer is checked and stays as it is."""
    if lacking := [name for name in names if name not in row]:
        raise GoldError(f"expected {', '.join(lacking)} too, got only {', '.join(sorted(row))}")
    check_limit(row.get("duration"), ())
    if "options" in names:
        check_option(row["answer"], row["options"])
    elif "answer" in names:
        check_label(row["answer"], row.get("labels", QUALITY_LABELS))
    return {name: _CHECKS[name](row[name]) for name in names if name in _CHECKS}


_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "span": check_span,
    "spans": check_spans,
    "boxes": check_boxes,
    "events": check_events,
    "options": check_options,
}


def _filled(value: Any, name: str) -> list[Any]:
    items = [] if isinstance(value, _NO_LIST) or not isinstance(value, Iterable) else list(value)
    if not items:
        raise GoldError(f"expected a list with at least one of {name}, got {value!r}")
    return items


def _numbers(value: Any, count: int, wanted: str) -> list[float]:
    try:
        numbers = [] if isinstance(value, _NO_LIST) else [float(x) for x in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(map(isfinite, numbers)):
        raise GoldError(f"expected {wanted}, got {value!r}")
    return numbers
