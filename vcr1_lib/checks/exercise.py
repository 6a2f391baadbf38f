"""What an exercise is: its hints, and a probe that names a mistake."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    Attributes:
        probe: Takes the reader's answer; returns ``None`` if it is right, otherwise one
            sentence that names this very mistake. Returning ``NOT_ATTEMPTED`` means the
            answer is still the empty stub.
        hints: From a nudge to nearly the answer.
    """

    probe: Callable[[Any], str | None]
    hints: tuple[str, ...]


NOT_ATTEMPTED = "Not attempted yet."


@dataclass(frozen=True)
class Case:
    """Arguments, what is expected for them, and the mistake that another result shows."""

    args: tuple[Any, ...]
    expected: Any
    mistake: str
    tolerance: float = 1e-6

    def accepts(self, got: Any) -> bool:
        """Compare numbers within the tolerance, lists item by item, the rest exactly."""
        return _close(got, self.expected, self.tolerance)


def first_mistake(attempt: Callable[..., Any], cases: list[Case]) -> str | None:
    """Try a function on cases and return what the first wrong one tells about it.

    A function that uses nothing and returns ``None`` is taken for the empty stub.
    """
    for number, case in enumerate(cases):
        shown = ", ".join(map(repr, case.args))
        with ExitStack() as stack:
            stack.push(lambda kind, error, trace: error and error.add_note(f"(for {shown})"))  # noqa: B023
            got = attempt(*case.args)
        if number == 0 and (got is None or got is ...):
            if getattr(attempt, "__code__", None) and attempt.__code__.co_names:
                return f"It returned None for {shown}: is a `return` missing?"
            return NOT_ATTEMPTED
        if not case.accepts(got):
            return f"{case.mistake} (for {shown} it gave {got!r}, expected {case.expected!r})"
    return None


def _close(got: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, float | int) and not isinstance(expected, bool):
        try:
            return abs(float(got) - expected) <= tolerance
        except (TypeError, ValueError):
            return False
    if isinstance(expected, list | tuple):
        try:
            items = list(got)
        except TypeError:
            return False
        pairs = zip(items, expected, strict=False)
        return len(items) == len(expected) and all(_close(a, b, tolerance) for a, b in pairs)
    return bool(got == expected)
