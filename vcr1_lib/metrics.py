"""Dataset-level scores with intervals, and the trivial baselines that belong beside them.

Scores are shares in [0, 1], higher is better (papers print them times 100). An answer
that cannot be read has IoU 0 and stays in the denominator.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vcr1_lib.overlap import interval_ious

IOU_THRESHOLDS = (0.3, 0.5, 0.7)
GRID_STEPS = 48
REMAP_SECONDS = 8.0
REMAP_STEP = 0.5


class Interval(NamedTuple):
    """A value with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Remap(NamedTuple):
    """A shift of a predicted span's two ends, in seconds."""

    start_seconds: float
    end_seconds: float


def grounding_scores(ious: ArrayLike) -> dict[str, float]:
    """Return ``mIoU`` and ``R1@m`` for m in 0.3, 0.5, 0.7.

    ``R1@m`` counts ``IoU >= m``, as the official Charades-STA scorers do.

    Args:
        ious: ``(N,)``, one for every query, unreadable answers included as 0.

    Raises:
        ValueError: If there are none, or one lies outside [0, 1].

    >>> grounding_scores([0.0, 0.5])
    {'mIoU': 0.25, 'R1@0.3': 0.5, 'R1@0.5': 0.5, 'R1@0.7': 0.0}
    """
    values = np.asarray(ious, dtype=np.float64)
    if values.size == 0:
        raise ValueError("expected at least one IoU, got none")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected IoUs in [0, 1], got {values.min()} to {values.max()}")
    scores = {"mIoU": float(values.mean())}
    return scores | {f"R1@{m}": float((values >= m).mean()) for m in IOU_THRESHOLDS}


def bootstrap_interval(
    values: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean with its percentile bootstrap interval.

    Args:
        values: ``(N,)``.
        clusters: ``(N,)`` what each value belongs to, such as its video. Queries on one video
            are not independent, so whole clusters are drawn. ``None`` draws single values.
        num_resamples: Bootstrap samples.
        confidence: Share of them inside the interval.
        seed: For the draws.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

    >>> bootstrap_interval([0.5, 0.5, 0.5])
    Interval(value=0.5, low=0.5, high=0.5)
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise ValueError("expected at least one value, got none")
    names = list(range(len(numbers))) if clusters is None else list(clusters)
    if len(names) != len(numbers):
        raise ValueError(f"expected one cluster a value, got {len(names)} for {len(numbers)}")
    codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
    member = np.array([codes[name] for name in names])
    totals = np.bincount(member, weights=numbers)
    counts = np.bincount(member).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(totals), (num_resamples, len(totals)))
    means = totals[drawn].sum(1) / counts[drawn].sum(1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(numbers.mean()), float(low), float(high))


def whole_clip(durations: ArrayLike) -> NDArray[np.float64]:
    """Answer "from the beginning to the end" for clips of these lengths, ``(N, 2)``."""
    seconds = np.asarray(durations, dtype=np.float64)
    return np.stack([np.zeros_like(seconds), seconds], axis=-1)


def first_half(durations: ArrayLike) -> NDArray[np.float64]:
    """Answer "the first half", ``(N, 2)``. On Charades-STA test this scores mIoU 0.302."""
    return whole_clip(durations) / [1, 2]


def best_fixed_span(spans: ArrayLike, durations: ArrayLike) -> tuple[float, float]:
    """Find the span, as shares of the clip, that scores best if it is always answered.

    Args:
        spans: ``(N, 2)`` truth of the training set, seconds.
        durations: ``(N,)`` seconds.

    Returns:
        ``(start, end)`` in [0, 1], on a grid of 48 steps.
    """
    seconds = np.asarray(durations, dtype=np.float64)[:, None]
    truth = np.asarray(spans, dtype=np.float64) / seconds
    ticks = np.arange(GRID_STEPS + 1) / GRID_STEPS
    candidates = [(a, b) for a in ticks for b in ticks if a < b]
    scores = [interval_ious(np.tile(c, (len(truth), 1)), truth).mean() for c in candidates]
    start, end = candidates[int(np.argmax(scores))]
    return float(start), float(end)


def fixed_span(shares: tuple[float, float], durations: ArrayLike) -> NDArray[np.float64]:
    """Answer the same share of every clip, ``(N, 2)`` seconds."""
    return np.asarray(durations, dtype=np.float64)[:, None] * np.asarray(shares)


def apply_remap(spans: ArrayLike, remap: Remap, durations: ArrayLike) -> NDArray[np.float64]:
    """Shift predicted spans and keep them inside their clips, ``(N, 2)`` seconds.

    A span of NaN stands for an unreadable answer and stays one. A span whose ends cross
    becomes one of no length.
    """
    seconds = np.asarray(durations, dtype=np.float64)[:, None]
    moved = np.clip(np.asarray(spans, dtype=np.float64) + np.asarray(remap), 0, seconds)
    moved[:, 1] = np.maximum(moved[:, 0], moved[:, 1])
    return moved


def best_remap(preds: ArrayLike, targets: ArrayLike, durations: ArrayLike) -> Remap:
    """Find the shift of a model's own spans that scores best.

    The strongest thing that can be had from a model without looking again: a tuned model
    that beats it has learned more than "answer a little wider".

    Args:
        preds: ``(N, 2)`` the model's spans on training clips, NaN where unreadable.
        targets: ``(N, 2)`` truth.
        durations: ``(N,)`` seconds.
    """
    shifts = np.arange(-REMAP_SECONDS, REMAP_SECONDS + REMAP_STEP / 2, REMAP_STEP)
    truth = np.asarray(targets, dtype=np.float64)
    best, best_score = Remap(0.0, 0.0), -1.0
    for start in shifts:
        for end in shifts:
            remap = Remap(float(start), float(end))
            score = span_ious(apply_remap(preds, remap, durations), truth).mean()
            if score > best_score:
                best, best_score = remap, float(score)
    return best


def span_ious(preds: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Return ``(N,)`` IoUs of spans ``(N, 2)``, 0 where a prediction is NaN."""
    predicted = np.asarray(preds, dtype=np.float64)
    readable = np.asarray(~np.isnan(predicted).any(-1))
    ious = interval_ious(np.where(readable[:, None], predicted, 0.0), np.asarray(targets))
    return np.where(readable, ious, 0.0)
