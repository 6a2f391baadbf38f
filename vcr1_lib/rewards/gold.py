"""Check the truth of a sample before anything is compared with it.

A wrong answer is the model's business and scores 0; wrong gold is ours and raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from string import ascii_uppercase
from typing import Any

from vcr1_lib.answers import grammar
from vcr1_lib.answers.grammar import Box, Span


class GoldError(ValueError):
    """Truth that no answer could be compared with; the message holds the value."""


def check_span(value: Any) -> Span:
    """Return ``(start, end)`` with ``0 <= start <= end``, finite seconds.

    >>> check_span([24.3, 30.4])
    (24.3, 30.4)
    """
    start, end = _numbers(value, 2, "a span (start, end) in seconds")
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
    (seconds,) = _numbers([duration], 1, "a duration in seconds")
    if seconds <= 0:
        raise GoldError(f"expected a duration above 0 seconds, got {duration!r}")
    return max(seconds, *ends)


def check_boxes(value: Any) -> list[Box]:
    """Return one or more boxes ``(x0, y0, x1, y1)``, shares of the picture."""
    boxes: list[Box] = []
    for box in _filled(value, "boxes"):
        x0, y0, x1, y1 = _numbers(box, 4, "a box (x0, y0, x1, y1)")
        if not (0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1):
            raise GoldError(f"expected 0 <= x0 <= x1 <= 1 and the same for y, got {box!r}")
        boxes.append((x0, y0, x1, y1))
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
    parsed = grammar.read_option(str(answer), options=check_options(options))
    if parsed.value is None:
        raise GoldError(f"expected one of {options!r} as the answer, got {answer!r}")
    return parsed.value


def check_label(answer: Any, labels: Sequence[str]) -> str:
    """Return the right label as ``labels`` spells it."""
    parsed = grammar.read_label(str(answer), labels=labels)
    if parsed.value is None:
        raise GoldError(f"expected one of {list(labels)!r} as the answer, got {answer!r}")
    return parsed.value


def check_events(value: Any) -> list[str]:
    """Return one or more events, each with words in it."""
    events = _filled(value, "events")
    if not all(isinstance(event, str) and event.strip() for event in events):
        raise GoldError(f"expected events with words in them, got {value!r}")
    return events


def _filled(value: Any, name: str) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable) or not (items := list(value)):
        raise GoldError(f"expected at least one of {name}, got {value!r}")
    return items


def _numbers(value: Any, count: int, wanted: str) -> list[float]:
    try:
        numbers = [float(x) for x in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(map(isfinite, numbers)):
        raise GoldError(f"expected {wanted}, finite, got {value!r}")
    return numbers
