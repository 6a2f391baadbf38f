"""Shaped rewards to compare with the plain IoU: what a slope buys, and whom else it pays."""

from __future__ import annotations

from typing import Any, Final

from vcr1_lib import overlap
from vcr1_lib.answers import completion_text
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.rewards.grading import Column, Rewards, configured

IOU_THRESHOLDS: Final = (0.3, 0.5, 0.7)
BOUNDARY_SECONDS: Final = 2.0
SOFT_CHARS: Final = 2000
HARD_CHARS: Final = 4000


def threshold_iou(pred: overlap.Interval, target: overlap.Interval) -> float:
    """Return the share of the thresholds 0.3, 0.5, 0.7 that the IoU reaches, in [0, 1].

    >>> threshold_iou((10, 20), (10, 16))
    0.6666666666666666
    """
    iou = overlap.interval_iou(pred, target)
    return sum(iou >= threshold for threshold in IOU_THRESHOLDS) / len(IOU_THRESHOLDS)


def boundary_iou(pred: overlap.Interval, target: overlap.Interval) -> float:
    """Return the mean of the IoU and of how near both ends are, 0 for ends 2 s off; in [0, 1].

    Ends count only where the spans overlap: a near miss of a short event is still a miss.

    >>> boundary_iou((10, 20), (11, 20))
    0.825
    """
    iou = overlap.interval_iou(pred, target)
    near = [max(0.0, 1 - abs(p - t) / BOUNDARY_SECONDS) for p, t in zip(pred, target, strict=True)]
    return (iou + sum(near) / 2) / 2 if iou > 0 else 0.0


def scaled_giou(pred: overlap.Interval, target: overlap.Interval) -> float:
    """Return ``(1 + gIoU) / 2``, in [0, 1]; a slope everywhere, and pay for spans that miss.

    >>> scaled_giou((0, 5), (5, 10))
    0.5
    """
    hull = max(*pred, *target) - min(*pred, *target)
    return (1 + overlap.interval_giou(pred, target)) / 2 if hull > 0 else 0.0


threshold_iou_reward = configured(
    temporal_iou_reward, name="threshold_iou_reward", shape=threshold_iou
)
boundary_iou_reward = configured(
    temporal_iou_reward, name="boundary_iou_reward", shape=boundary_iou
)
giou_reward = configured(temporal_iou_reward, name="giou_reward", shape=scaled_giou)

_FORMED: Final = configured(format_reward, name="soft_length_reward")  # logs under that name


def soft_length_reward(
    completions: Column,
    *,
    soft_chars: int = SOFT_CHARS,
    hard_chars: int = HARD_CHARS,
    strict: bool = False,
    **columns: Any,
) -> Rewards:
    """Pay a well-formed completion by its length: 1 up to ``soft_chars``, 0 from ``hard_chars``.

    In between it falls in a straight line. Malformed text earns nothing by being short.

    Returns:
        ``N`` in [0, 1], higher is better, or ``None``.

    Reference: after the overlong penalty of DAPO (arXiv 2503.14476), section 3.4, which counts
    tokens, lies in [-1, 0] and does not ask for the format.

    >>> soft_length_reward(["<think>Seen.</think><answer>4 to 9</answer>"], hard_chars=44,
    ...                    soft_chars=42)
    [0.5]
    """
    if not 0 <= soft_chars < hard_chars:
        raise ValueError(f"expected 0 <= soft_chars < hard_chars, got {soft_chars}, {hard_chars}")
    formed = _FORMED(completions, strict=strict, **columns)
    width = hard_chars - soft_chars
    left = [(hard_chars - len(completion_text(c))) / width for c in completions]
    shares = [min(1.0, max(0.0, share)) for share in left]
    return [None if f is None else f * s for f, s in zip(formed, shares, strict=True)]
