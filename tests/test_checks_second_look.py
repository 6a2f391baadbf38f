"""The exercises of notebook 08: right and wrong answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vcr1_lib.inference.clues import denser_times, usable_segments


def segments(spans: Any, duration: float, pad: float) -> list[tuple[float, float]]:
    kept = sorted(
        (max(0, start - pad), min(duration, end + pad))
        for start, end in spans
        if start <= end and start < duration
    )
    found: list[tuple[float, float]] = []
    for start, end in kept:
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def by_library(spans: Any, duration: float, pad: float) -> list[tuple[float, float]]:
    return usable_segments(spans, duration_seconds=duration, pad_seconds=pad)


def shortened(spans: Any, duration: float, pad: float) -> list[tuple[float, float]]:
    """Join segments, and always take the later one's end."""
    found = segments(spans, duration, pad)
    return [(2, 4)] if found == [(2, 9)] else found


def turned(spans: Any, duration: float, pad: float) -> list[tuple[float, float]]:
    return segments([sorted(span) for span in spans], duration, pad)


def unjoined(spans: Any, duration: float, pad: float) -> list[tuple[float, float]]:
    return sorted(part for span in spans for part in segments([span], duration, pad))


def unordered(spans: Any, duration: float, pad: float) -> list[tuple[float, float]]:
    return [part for span in spans for part in segments([span], duration, pad)]


def share(inside: float, total: float, density: float) -> float:
    return inside * density / (inside * density + total - inside)


def by_counting(inside: float, total: float, density: float) -> float:
    parts = [(0.0, inside)] if inside else []
    times = denser_times(parts, duration_seconds=total, num_frames=4000, density=density)
    return round(sum(time < inside for time in times) / 4000, 3)


def verdict(low: float, high: float, one: int, two: int) -> str:
    if one != two:
        return "not comparable"
    return "helps" if low > 0 else "hurts" if high < 0 else "no difference"


def by_sign(low: float, high: float, one: int, two: int) -> str:
    told = {(True, True): "helps", (False, False): "hurts"}.get((low > 0, high >= 0))
    return "not comparable" if one != two else told or "no difference"


RIGHT: dict[str, list[Callable[..., Any]]] = {
    "clue_segments": [segments, by_library],
    "share_inside": [share, by_counting],
    "second_look_verdict": [verdict, by_sign],
}
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "clue_segments": [
        (lambda spans, duration, pad: segments(spans, duration, 0), "on both sides"),
        (turned, "do not turn it round"),
        (lambda spans, duration, pad: segments(spans, 99, pad), "outside the clip"),
        (unordered, "in order of time"),
        (unjoined, "become one"),
        (shortened, "must not shorten"),
        (
            lambda spans, duration, pad: segments([s for s in spans if s[0] >= 0], duration, pad),
            "before second 0 still",
        ),
    ],
    "share_inside": [
        (lambda inside, total, density: inside / total, "half of all"),
        (lambda inside, total, density: inside * density / total, "half of all"),
        (lambda inside, total, density: 0.5, "everywhere alike"),
        (lambda inside, total, density: share(inside, total, density) or 1.0, "without a clue"),
        (lambda inside, total, density: 1 / 0, "ZeroDivisionError"),
    ],
    "second_look_verdict": [
        (lambda low, high, one, two: "helps" if low + high > 0 else "hurts", "holds 0"),
        (lambda low, high, one, two: verdict(low or 1, high, one, two), "touches 0"),
        (lambda low, high, one, two: verdict(low, high, 1, 1), "more frames"),
        (lambda low, high, one, two: "no difference", "above 0"),
    ],
}
