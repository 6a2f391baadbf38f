"""Dataset-level scores of spans, and bootstrap intervals for any score.

Scores are shares in [0, 1], higher is better (papers print them times 100). An answer
that cannot be read has IoU 0 and stays in the denominator.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vcr1_lib.overlap import interval_ious

IOU_THRESHOLDS = (0.3, 0.5, 0.7)
# Moments of up to 10 s, of up to 30 s, of up to 150 s, and longer ones, as QVHighlights has them.
LENGTH_EDGES = (10.0, 30.0, 150.0)


class Interval(NamedTuple):
    """A value with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def grounding_scores(ious: ArrayLike, *, strict: bool = False) -> dict[str, float]:
    """Return ``mIoU`` and ``R1@m`` for m in 0.3, 0.5, 0.7.

    ``R1@m`` counts ``IoU >= m``, as the official Charades-STA scorers do.

    Args:
        ious: ``(N,)``, one for every query, unreadable answers included as 0.
        strict: Count ``IoU > m``, to see how far that moves a score.

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
    reaches = np.greater if strict else np.greater_equal
    return scores | {f"R1@{m}": float(reaches(values, m).mean()) for m in IOU_THRESHOLDS}


def length_scores(
    ious: ArrayLike, spans: ArrayLike, *, edges: Sequence[float] = LENGTH_EDGES
) -> dict[str, dict[str, float]]:
    """Return :func:`grounding_scores` and ``num_queries`` for each length of the true moment.

    Args:
        ious: ``(N,)``.
        spans: ``(N, 2)`` truth, seconds.
        edges: Upper ends of the buckets, seconds, each inside its own; a last one is open.

    Returns:
        Name of the bucket -> scores, without empty buckets.

    Reference: Lei et al., QVHighlights (arXiv 2107.09609), its scorer's ranges.

    >>> list(length_scores([0.5, 1.0], [[0, 10], [0, 11]]))
    ['0 to 10 s', '10 to 30 s']
    """
    values, moments = np.asarray(ious, dtype=np.float64), np.asarray(spans, dtype=np.float64)
    if moments.shape != (len(values), 2):
        raise ValueError(f"expected {len(values)} true spans (N, 2), got shape {moments.shape}")
    bucket = np.searchsorted(edges, moments[:, 1] - moments[:, 0], side="left")
    names = [f"{a:g} to {b:g} s" for a, b in pairwise((0.0, *edges))] + [f"over {edges[-1]:g} s"]
    return {
        name: grounding_scores(values[bucket == i]) | {"num_queries": int((bucket == i).sum())}
        for i, name in enumerate(names)
        if (bucket == i).any()
    }


def clip_spans(spans: ArrayLike, durations: ArrayLike) -> NDArray[np.float64]:
    """Cut spans to their clips, ``(N, 2)`` seconds; NaN stays.

    The official Charades-STA scorers do not cut truth that ends after its clip; this shows
    how far it would move a score.

    >>> clip_spans([[20.0, 31.0]], [30.0]).tolist()
    [[20.0, 30.0]]
    """
    seconds = np.asarray(durations, dtype=np.float64)[:, None]
    return np.clip(np.asarray(spans, dtype=np.float64), 0, seconds)


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

    Raises:
        ValueError: If there are no values, one is not finite, or there is not one cluster a value.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

    >>> bootstrap_interval([0.5, 0.5, 0.5])
    Interval(value=0.5, low=0.5, high=0.5)
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise ValueError("expected at least one value, got none")
    if bad := np.flatnonzero(~np.isfinite(numbers)).tolist():
        raise ValueError(
            f"expected finite values, got {numbers[bad[0]]} in place {bad[0]} ({len(bad)} in all); "
            "score an unreadable answer 0"
        )
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


def paired_interval(before: ArrayLike, after: ArrayLike, **options: Any) -> Interval:
    """Return the mean gain of one model over another on the same samples, with its interval.

    Differences are drawn, so what makes a sample hard for both models cancels out.

    Args:
        before: ``(N,)`` scores of one model.
        after: ``(N,)`` scores of the other, in the same order.
        **options: As :func:`bootstrap_interval` takes them.

    Raises:
        ValueError: If the numbers of scores differ.

    >>> paired_interval([0.1, 0.9], [0.2, 1.0]).low > 0
    True
    """
    a, b = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"expected scores of the same samples, got {a.shape} and {b.shape}")
    return bootstrap_interval(b - a, **options)


def span_ious(preds: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Return ``(N,)`` IoUs of spans ``(N, 2)``, 0 where a prediction is NaN."""
    predicted = np.asarray(preds, dtype=np.float64)
    readable = np.asarray(~np.isnan(predicted).any(-1))
    ious = interval_ious(np.where(readable[:, None], predicted, 0.0), np.asarray(targets))
    return np.where(readable, ious, 0.0)
