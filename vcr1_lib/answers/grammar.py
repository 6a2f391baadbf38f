"""What stands inside the tags: spans, tracks and options, read without guessing.

:mod:`vcr1_lib.answers` finds the tags and is what everything else calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from math import inf, isfinite
from string import ascii_uppercase
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")
Span = tuple[float, float]
Box = tuple[float, float, float, float]
# A model rounds the end of the clip up to the next second; more is an answer about no video.
OVERRUN_SECONDS: Final = 1.0
MAX_SPANS: Final = 100
STATEMENT_CHARS: Final = 2000
SIXTY: Final = 60.0


class Reason(StrEnum):
    """Why a completion has no value."""

    MISSING_TAG = "missing_tag"
    DUPLICATE_TAG = "duplicate_tag"
    MISPLACED_TAG = "misplaced_tag"
    TEXT_OUTSIDE = "text_outside"
    EMPTY = "empty"
    NOT_A_SPAN = "not_a_span"
    MANY_SPANS = "many_spans"
    REVERSED = "reversed"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    AMBIGUOUS = "ambiguous"
    NOT_A_TRACK = "not_a_track"
    WRONG_COUNT = "wrong_count"
    NOT_AN_OPTION = "not_an_option"
    NOT_A_LABEL = "not_a_label"
    TOO_LONG = "too_long"


class Parsed(NamedTuple, Generic[T]):
    """A value, or the reason there is none."""

    value: T | None
    reason: Reason | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.reason is None

    def then(self, read: Callable[[T], Parsed[U]]) -> Parsed[U]:
        """Read the value further; a reason stays what it is."""
        return Parsed(None, self.reason) if self.value is None else read(self.value)


# Quantifiers are possessive where they could hand characters back: that keeps time linear.
_NUMBER = r"(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[-+]?[0-9]++)?|nan|inf(?:inity)?"
_CLOCK = r"(?:[0-9]{1,3}:)?[0-9]{1,3}:[0-9]{2}(?:\.[0-9]*+)?"
_TIME = rf"([-+\u2212]?(?:{_CLOCK}|{_NUMBER}))(?:\s*+(?:seconds|second|secs|sec|s)\b\.?)?"
# A dash with a blank on one side only may be a sign.
_TO = r"(\s*+(?:to|until|till|and|~|,)\s*+|\s++[-\u2013\u2014]\s++|[-\u2013\u2014])"
_SPAN = re.compile(rf"([\[(]\s*+|(?:from|between)\s++)?{_TIME}{_TO}{_TIME}(?:\s*+([\])]))?", re.I)
_COORDINATE = rf"\s*+([-+\u2212]?(?:{_NUMBER}))\s*+"
_BOX = re.compile(rf"[\[(]{','.join([_COORDINATE] * 4)}[\])]", re.I)
_OUTER = re.compile(r"([\[(])\s*+(?=[\[(])")
_CLOSES: Final = {"[": "]", "(": ")"}
_BETWEEN_ITEMS = re.compile(r"\s*+(?:[,;]\s*+)?")
_COMMA_IN_NUMBER = re.compile(r"[0-9],[0-9]")
_PLAIN = r"[0-9]++(?:\.[0-9]++)?(?:e[-+]?[0-9]++)?"
_PAIR, _FOUR = rf"\({_PLAIN}, {_PLAIN}\)", rf"\[{', '.join([_PLAIN] * 4)}\]"
_STRICT_SPAN = re.compile(rf"{_PLAIN} to {_PLAIN}")
_STRICT_SPANS = re.compile(rf"\[{_PAIR}(?:, {_PAIR})*+\]")
_STRICT_TRACK = re.compile(rf"\[{_FOUR}(?:, {_FOUR})*+\]")
_OPTION = re.compile(
    r"(?:(?:the\s++)?(?:(?:correct|right|final|best)\s++)?(?:answer|option|choice)"
    r"(?:\s++is\b)?\s*+:?\s*+(?:option\s++)?)?"
    r"([\[(]?)([a-z])([\])]?)([.:]?)(?:\s*+(\S.*))?",
    re.IGNORECASE | re.DOTALL,
)
_OPTION_PREFIX = re.compile(r"\s*+(?:\(([A-Za-z])\)|([A-Za-z])[.):])\s*+(?=\S)")
_CAPITAL = re.compile(r"\b[A-Z]\b")


def read_option(stated: str, *, options: Sequence[str], strict: bool = False) -> Parsed[str]:
    """Find the letter that a statement of an option means.

    Raises:
        ValueError: If there are no options, or more than letters.

    >>> read_option("(A) jump", options=["wave", "jump"]).reason
    <Reason.AMBIGUOUS: 'ambiguous'>
    """
    if strict and not (len(stated) == 1 and stated in ascii_uppercase):
        return Parsed(None, Reason.NOT_AN_OPTION)
    letters, texts = _name_options(options)
    if len(stated) > STATEMENT_CHARS:
        return Parsed(None, Reason.TOO_LONG)
    folded = fold(stated)
    meant = [letter for letter, text in zip(letters, texts, strict=True) if text == folded]
    if meant:
        return Parsed(meant[0]) if len(meant) == 1 else Parsed(None, Reason.AMBIGUOUS)
    match = _OPTION.fullmatch(stated.strip())
    if match is None or match[2].upper() not in letters or not _is_marked(match):
        several = len(set(_CAPITAL.findall(stated)) & set(letters)) > 1
        return Parsed(None, Reason.AMBIGUOUS if several else Reason.NOT_AN_OPTION)
    letter = match[2].upper()
    if match[5] is not None and fold(match[5]) != texts[letters.index(letter)]:
        return Parsed(None, Reason.AMBIGUOUS)
    return Parsed(letter)


def _is_marked(match: re.Match[str]) -> bool:
    """Tell a letter from the first letter of a word, and a bracket that closes from one left."""
    opened, _, closed, point, text = match.groups()
    fits = closed == _CLOSES[opened] if opened else closed != "]"
    return fits and (text is None or bool(closed or point))


def _name_options(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the letters of the options and what else each may be called."""
    if not 1 <= len(options) <= len(ascii_uppercase):
        raise ValueError(f"expected 1 to {len(ascii_uppercase)} options, got {len(options)}")
    letters = list(ascii_uppercase[: len(options)])
    if all(len(option) == 1 and option in ascii_uppercase for option in options):
        return list(options), [option.casefold() for option in options]
    prefixes = [_OPTION_PREFIX.match(option) for option in options]
    if [m and (m[1] or m[2]).upper() for m in prefixes] == letters:
        options = [option[m.end() :] for option, m in zip(options, prefixes, strict=True) if m]
    return letters, [fold(option) for option in options]


def fold(text: str) -> str:
    """Forget what does not change a phrase: case, white space, quotes, the full stop."""
    return " ".join(text.split()).strip("\"'. ").casefold()


def read_label(stated: str, *, labels: Sequence[str], strict: bool = False) -> Parsed[str]:
    """Find the label that is stated, as ``labels`` spells it."""
    if len(stated) > STATEMENT_CHARS:
        return Parsed(None, Reason.TOO_LONG)
    form = str if strict else fold
    meant = [label for label in labels if form(label) == form(stated)]
    return Parsed(meant[0]) if len(meant) == 1 else Parsed(None, Reason.NOT_A_LABEL)


def _read_list(content: str, item: re.Pattern[str], most: int) -> list[re.Match[str]] | None:
    """Match a list of items, with or without brackets around it; ``None`` if it is not one.

    Reading stops at one item more than ``most``, so that a megabyte of them costs little.
    """
    at, end = 0, len(content)
    outer = _OUTER.match(content)
    if outer is not None:
        at, end = outer.end(), end - 1
        if content[end] != _CLOSES[outer[1]]:
            return None
    found: list[re.Match[str]] = []
    while at < end and len(found) <= most:
        match = item.match(content, at, end)
        between = match and _BETWEEN_ITEMS.match(content, match.end(), end)
        if match is None or between is None:
            return None
        found.append(match)
        at = between.end()
        if at == match.end() < end and content[at - 1] not in "])":
            return None
    return found


def read_span(content: str, *, strict: bool, duration_seconds: float | None) -> Parsed[Span]:
    """Read exactly one span."""
    if strict and _STRICT_SPAN.fullmatch(content) is None:
        return Parsed(None, Reason.NOT_A_SPAN)
    spans = read_spans(content, strict=False, duration_seconds=duration_seconds)
    return spans.then(lambda s: Parsed(s[0]) if len(s) == 1 else Parsed(None, Reason.MANY_SPANS))


def read_spans(content: str, *, strict: bool, duration_seconds: float | None) -> Parsed[list[Span]]:
    """Read one or more spans."""
    items = _read_list(content.rstrip("."), _SPAN, MAX_SPANS)
    if items is None or (strict and _STRICT_SPANS.fullmatch(content) is None):
        unsure = _COMMA_IN_NUMBER.search(content) and not strict
        return Parsed(None, Reason.AMBIGUOUS if unsure else Reason.NOT_A_SPAN)
    if len(items) > MAX_SPANS:
        return Parsed(None, Reason.MANY_SPANS)
    spans: list[Span] = []
    for item in items:
        start, end = _to_number(item[2]), _to_number(item[4])
        reason = _refuse_notation(item) or _refuse_values(start, end, duration_seconds)
        if reason is not None:
            return Parsed(None, reason)
        spans.append((start, end))
    return Parsed(spans)


def _refuse_notation(item: re.Match[str]) -> Reason | None:
    opened, first, joint, second, closed = item.group(1, 2, 3, 4, 5)
    opened, joint = (opened or "").strip().casefold(), joint.casefold()
    if closed != _CLOSES.get(opened) or ("and" in joint) != (opened == "between"):
        return Reason.NOT_A_SPAN
    # "1,010" may be a thousand and ten, "10,5" ten and a half; "[10,20]" is a pair.
    is_pair = opened in _CLOSES and not (second[0] == "0" and second[1:2].isdigit())
    if joint == "," and not is_pair:
        return Reason.AMBIGUOUS
    return Reason.AMBIGUOUS if (":" in first) != (":" in second) else None


def _refuse_values(start: float, end: float, duration_seconds: float | None) -> Reason | None:
    if not (isfinite(start) and isfinite(end)):
        return Reason.NOT_FINITE
    limit = inf if duration_seconds is None else duration_seconds + OVERRUN_SECONDS
    if start < 0 or end < 0 or end > limit:
        return Reason.OUT_OF_RANGE
    return Reason.REVERSED if end < start else None


def read_track(content: str, *, num_boxes: int, strict: bool) -> Parsed[list[Box]]:
    """Read exactly so many boxes."""
    items = _read_list(content, _BOX, num_boxes)
    if items is None or (strict and _STRICT_TRACK.fullmatch(content) is None):
        return Parsed(None, Reason.NOT_A_TRACK)
    if len(items) != num_boxes:
        return Parsed(None, Reason.WRONG_COUNT)
    boxes: list[Box] = []
    for item in items:
        x0, y0, x1, y1 = numbers = [_to_number(word) for word in item.groups()]
        if not all(map(isfinite, numbers)):
            return Parsed(None, Reason.NOT_FINITE)
        if min(numbers) < 0 or max(numbers) > 1:
            return Parsed(None, Reason.OUT_OF_RANGE)
        if x1 < x0 or y1 < y0:
            return Parsed(None, Reason.REVERSED)
        boxes.append((x0, y0, x1, y1))
    return Parsed(boxes)


def _to_number(word: str) -> float:
    """Return a number's or clock time's value; below 0 for any minus sign or wrong clock."""
    if word[0] in "-\u2212":
        return -1.0
    if ":" not in word:
        return float(word)
    hours, minutes, seconds = ([0.0] * 2 + [float(part) for part in word.split(":")])[-3:]
    wrong = seconds >= SIXTY or (minutes >= SIXTY and word.count(":") > 1)
    return -1.0 if wrong else (hours * SIXTY + minutes) * SIXTY + seconds
