"""The only definitions of overlap: intervals, sets of intervals, boxes, tracks.

Every score is symmetric unless it says otherwise, higher is better, and is never NaN.
What 0/0 means is decided once: things of no size share nothing, so their overlap is 0;
only two *empty* sets agree, with overlap 1. An interval or box written backwards holds
nothing and overlaps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = Sequence[float]
Box = Sequence[float]


def interval_iou(pred: Interval, target: Interval) -> float:
    """Compare two time intervals.

    ``IoU = max(0, min(e, e') - max(s, s')) / (max(e, e') - min(s, s'))``. The hull of the two
    is their union wherever they touch, and where they do not the numerator is 0.

    Args:
        pred: ``(start, end)``, seconds.
        target: ``(start, end)``, seconds.

    Returns:
        In [0, 1], higher is better. A hull of no length (0/0) gives 0.

    Raises:
        ValueError: If an end is not finite, or the hull is too long for a float.

    Reference: Gao et al., "TALL" (arXiv 1705.02101), section 4.

    >>> interval_iou((10, 20), (15, 25))
    0.3333333333333333
    """
    shared, hull = _shared_and_hull(*pred, *target)
    if not isfinite(hull + shared):
        raise ValueError(f"expected finite intervals, got {pred} and {target}")
    return max(0.0, shared) / hull if hull > 0 else 0.0


def interval_ious(preds: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Compare two lists of intervals row by row, as :func:`interval_iou` does.

    Args:
        preds: ``(N, 2)``, seconds.
        targets: ``(N, 2)``, seconds.

    Returns:
        ``(N,)`` in [0, 1], higher is better.

    Raises:
        ValueError: If the shapes differ or an end is not finite.

    >>> interval_ious([[10, 20], [5, 5]], [[15, 25], [5, 5]]).round(3).tolist()
    [0.333, 0.0]
    """
    a, b = np.asarray(preds, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if a.shape != b.shape or a.shape[1:] != (2,):
        raise ValueError(f"expected two arrays of shape (N, 2), got {a.shape} and {b.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        shared, hull = _shared_and_hull(*a.T, *b.T, smaller=np.minimum, larger=np.maximum)
        if not np.isfinite(hull + shared).all():
            raise ValueError("expected finite intervals; mask unreadable answers before comparing")
    return np.maximum(0.0, shared) * (hull > 0) / np.where(hull > 0, hull, 1.0)


def _shared_and_hull(
    start: Any,
    end: Any,
    target_start: Any,
    target_end: Any,
    *,
    smaller: Callable[[Any, Any], Any] = min,
    larger: Callable[[Any, Any], Any] = max,
) -> tuple[Any, Any]:
    """Return the signed shared length and the hull's, numbers or arrays; NaN stays NaN."""
    shared = smaller(end, target_end) - larger(start, target_start)
    hull = larger(end, target_end) - smaller(start, target_start)
    # Python's min and max may lose a NaN; this sum, 0 otherwise, keeps it.
    lost = 0 * start + 0 * end + 0 * target_start + 0 * target_end
    return shared + lost, hull + lost


def interval_giou(pred: Interval, target: Interval) -> float:
    """Compare two intervals so that a miss by a little beats a miss by a lot.

    ``gIoU = IoU - (hull - |A| - |B| + |A∩B|) / hull``.

    Args:
        pred: ``(start, end)``, seconds.
        target: ``(start, end)``, seconds.

    Returns:
        In [-1, 1], higher is better: the IoU where they touch, below 0 by the share of the
        hull that neither covers. A hull of no length gives 0.

    Reference: Rezatofighi et al., "Generalized IoU" (arXiv 1902.09630), in one dimension.

    >>> interval_giou((0, 1), (3, 4))
    -0.5
    """
    iou = interval_iou(pred, target)
    hull = max(*pred, *target) - min(*pred, *target)
    if hull <= 0 or iou > 0:
        return iou
    return min(1.0, (max(0.0, pred[1] - pred[0]) + max(0.0, target[1] - target[0])) / hull) - 1.0


def interval_iop(pred: Interval, target: Interval) -> float:
    """Return the share of the predicted interval that lies inside the target; not symmetric.

    ``IoP = |A∩B| / |A|``.

    Args:
        pred: ``(start, end)``, seconds.
        target: ``(start, end)``, seconds.

    Returns:
        In [0, 1], higher is better. A point (0/0) scores 1 inside the closed target, else 0,
        which is NExT-GQA's rule.

    Reference: Xiao et al., NExT-GQA (arXiv 2309.01327), section 3; its scorer for points.

    >>> interval_iop((10, 20), (15, 40)), interval_iop((5, 5), (0, 5))
    (0.5, 1.0)
    """
    interval_iou(pred, target)  # refuses what is not finite
    shared, _ = _shared_and_hull(*pred, *target)
    length = pred[1] - pred[0]
    if length == 0:
        return float(shared == 0)
    return max(0.0, shared / length) if length > 0 else 0.0


def merge_intervals(intervals: Iterable[Interval]) -> list[tuple[float, float]]:
    """Join intervals that overlap or touch.

    Args:
        intervals: ``(start, end)`` each, seconds, any order.

    Returns:
        Disjoint intervals in order of time.

    Raises:
        ValueError: If one is reversed or not finite.

    >>> merge_intervals([(5, 9), (0, 2), (2, 3)])
    [(0, 3), (5, 9)]
    """
    merged: list[tuple[float, float]] = []
    for start, end in sorted((s, e) for s, e in intervals):
        if not (isfinite(start) and isfinite(end) and start <= end):
            raise ValueError(f"expected finite start <= end, got ({start}, {end})")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def interval_set_iou(preds: Iterable[Interval], targets: Iterable[Interval]) -> float:
    """Compare two sets of intervals by the time they cover.

    ``IoU = |A∩B| / |A∪B|`` of the merged sets: a gap inside a set is not covered.

    Args:
        preds: ``(start, end)`` each, seconds, any order, may overlap.
        targets: The same.

    Returns:
        In [0, 1], higher is better. Two empty sets give 1; sets that only hold points give 0.

    Reference: VideoChat-R1 (arXiv 2504.06958), grounded question answering.

    >>> interval_set_iou([(0, 4), (8, 10)], [(2, 10)])
    0.4
    """
    a, b = merge_intervals(preds), merge_intervals(targets)
    if not a and not b:
        return 1.0
    shared, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        shared += max(0.0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        i, j = (i + 1, j) if a[i][1] <= b[j][1] else (i, j + 1)
    union = sum(end - start for start, end in merge_intervals([*a, *b]))
    return min(1.0, shared / union) if union > 0 else 0.0


def _box_shares(pred: Box, target: Box) -> tuple[float, float, float]:
    """Return shared area, union and hull in units of the hull, so that nothing overflows."""
    area, other, shared = 1.0, 1.0, 1.0
    for axis in (0, 1):
        a, b, c, d = pred[axis], pred[axis + 2], target[axis], target[axis + 2]
        hull = max(a, b, c, d) - min(a, b, c, d)
        # NaN hides from min and max but not from a sum.
        if not (isfinite(hull) and isfinite(a + b + c + d)):
            raise ValueError(f"expected finite boxes, got {pred} and {target}")
        if hull == 0:
            return 0.0, 0.0, 0.0
        area *= max(0.0, b - a) / hull
        other *= max(0.0, d - c) / hull
        shared *= max(0.0, min(b, d) - max(a, c)) / hull
    return shared, area + other - shared, 1.0


def box_iou(pred: Box, target: Box) -> float:
    """Compare two boxes.

    ``IoU = |A∩B| / |A∪B|``.

    Args:
        pred: ``(x0, y0, x1, y1)``, in any one unit.
        target: The same, in the same unit.

    Returns:
        In [0, 1], higher is better. Boxes of no area (0/0) give 0.

    Raises:
        ValueError: If a coordinate is not finite.

    Reference: Everingham et al., "The PASCAL VOC Challenge" (IJCV 2010), section 4.2.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    shared, union, _ = _box_shares(pred, target)
    return min(1.0, shared / union) if union > 0 else 0.0


def box_giou(pred: Box, target: Box) -> float:
    """Compare two boxes so that a near miss beats a far one.

    ``gIoU = IoU - (|C| - |A∪B|) / |C|`` with ``C`` the smallest box around both.

    Args:
        pred: ``(x0, y0, x1, y1)``, in any one unit.
        target: The same, in the same unit.

    Returns:
        In [-1, 1], higher is better. A hull of no area gives 0.

    Reference: Rezatofighi et al., "Generalized IoU" (arXiv 1902.09630), equation 3.

    >>> box_giou((0, 0, 1, 1), (3, 0, 4, 1))
    -0.5
    """
    _, union, hull = _box_shares(pred, target)
    return box_iou(pred, target) - max(0.0, hull - union)


def xywh_to_xyxy(box: Box) -> tuple[float, float, float, float]:
    """Turn ``(x, y, width, height)`` into ``(x0, y0, x1, y1)``, the unit unchanged.

    >>> xywh_to_xyxy((1, 2, 3, 4))
    (1, 2, 4, 6)
    """
    x, y, width, height = box
    return x, y, x + width, y + height


def track_iou(
    preds: Sequence[Box | None], targets: Sequence[Box], *, skip_first: bool = False
) -> float:
    """Compare two tracks: the mean box IoU over the target's frames.

    Args:
        preds: ``F`` boxes ``(x0, y0, x1, y1)`` or fewer; ``None`` or an absent tail is a missing
            frame and counts as 0.
        targets: ``F`` boxes.
        skip_first: Leave out frame 0, which is given in the prompt. Counting it, as
            VideoChat-R1 does, lifts every score; GOT-10k's own scorer leaves it out.

    Returns:
        In [0, 1], higher is better.

    Raises:
        ValueError: If no target frame is left to compare, or more boxes are given than frames.

    Reference: Huang et al., GOT-10k (arXiv 1810.11981), average overlap.

    >>> track_iou([(0, 0, 1, 1), None], [(0, 0, 1, 1), (0, 0, 1, 1)])
    0.5
    """
    first = int(skip_first)
    if len(targets) <= first or len(preds) > len(targets):
        raise ValueError(
            f"expected 1 + {first} target frames or more and at most that many boxes, "
            f"got {len(targets)} and {len(preds)}"
        )
    pairs = zip(preds[first:], targets[first:], strict=False)
    return sum(box_iou(p, t) for p, t in pairs if p is not None) / (len(targets) - first)
