"""Dataset-level scores of tracks, grounded answers, options and captions.

Shares in [0, 1], higher is better. Where two conventions score the same answers differently
there are two functions, named after their owners. ``None`` stands for an answer that could not
be read or a video that failed: it scores 0 and stays in the denominator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vcr1_lib.overlap import (
    Box,
    box_iou,
    interval_iop,
    interval_iou,
    interval_set_iou,
    track_iou,
)
from vcr1_lib.rewards.judges import Judge, event_recall, word_judge

Track = Sequence[Box]
Spans = Sequence[Sequence[float]]

CURVE_STEPS = 101
SUCCESS_THRESHOLDS = (0.5, 0.75)
RECALL_THRESHOLDS = (0.5, 0.7)
GROUNDED_THRESHOLDS = (0.3, 0.5)
GROUNDED_IOP = 0.5
FAR_SHARE = 2.0  # a true box may leave the picture, as GOT-10k's do; further out it is in pixels


def _some(values: Sequence[Any], *others: Sequence[Any]) -> None:
    if not len(values):
        raise ValueError("expected at least one sample, got none")
    if any(len(other) != len(values) for other in others):
        sizes = [len(values), *map(len, others)]
        raise ValueError(f"expected one value a sample everywhere, got {sizes} of them")


def frame_ious(
    preds: Sequence[Track | None],
    targets: Sequence[Track],
    *,
    visible: Sequence[Sequence[bool]] | None = None,
) -> NDArray[np.float64]:
    """Return the IoUs of all frames but each track's first, pooled, as GOT-10k's toolkit does.

    Args:
        preds: ``N`` tracks of boxes ``(x0, y0, x1, y1)``, shares of the picture; boxes are cut
            to it. A track shorter than its target misses its last frames.
        targets: ``N`` tracks; their first boxes are given to the tracker and not scored.
        visible: ``N`` lists, ``False`` where the object is hidden and the frame does not count.

    Raises:
        ValueError: If the numbers of tracks differ, no frame is left, or a target is far from
            the picture, as one in pixels is.
    """
    seen = [[True] * len(track) for track in targets] if visible is None else visible
    _some(targets, preds, seen)
    ious: list[float] = []
    for track, truth, shown in zip(preds, targets, seen, strict=True):
        if far := [box for box in truth if max(map(abs, box)) > FAR_SHARE]:
            raise ValueError(
                f"expected true boxes in shares of the picture, got {far[0]!r}; "
                "divide pixels by the picture's width and height"
            )
        boxes: list[Box | None] = [*(track or ()), *[None] * len(truth)]
        for box, target, counts in list(zip(boxes, truth, shown, strict=False))[1:]:
            if counts:
                ious.append(0.0 if box is None else box_iou(_inside(box), _inside(target)))
    if not ious:
        raise ValueError("expected a frame after the first that is visible, got none")
    return np.array(ious)


def _inside(box: Box) -> Box:
    return [min(1.0, max(0.0, x)) for x in box]


def got10k_scores(ious: ArrayLike) -> dict[str, float]:
    """Return GOT-10k's average overlap and success rates from :func:`frame_ious`.

    ``AO = mean(IoU)`` and ``SR@t = mean(IoU > t)`` over all frames of all sequences. Long
    sequences weigh more than short ones.

    Reference: Huang et al., GOT-10k (arXiv 1810.11981), section 4; its toolkit's ``_evaluate``.

    >>> got10k_scores([0.5, 1.0])
    {'AO': 0.75, 'SR@0.5': 0.5, 'SR@0.75': 0.5}
    """
    values = np.asarray(ious, dtype=np.float64)
    _some(values.tolist())
    rates = {f"SR@{t}": float((values > t).mean()) for t in SUCCESS_THRESHOLDS}
    return {"AO": float(values.mean())} | rates


def success_curve(ious: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 101 thresholds from 0 to 1 and the share of IoUs above each, both ``(101,)``."""
    thresholds = np.linspace(0, 1, CURVE_STEPS)
    values = np.asarray(ious, dtype=np.float64)
    _some(values.tolist())
    return thresholds, (values[:, None] > thresholds).mean(0)


def videochat_tracking_scores(
    preds: Sequence[Track | None], targets: Sequence[Track]
) -> dict[str, float]:
    """Return VideoChat-R1's average overlap and recalls.

    The mean IoU of a track's boxes **including the first one, which the prompt gives**, then
    the mean over tracks, and the share of tracks that reach ``m``. A wrong number of boxes
    scores 0. It lies above GOT-10k's for the same answers.

    Reference: VideoChat-R1 (arXiv 2504.06958), its evaluation code.
    """
    _some(targets, preds)
    overlaps = np.array(
        [
            track_iou(track, truth) if track is not None and len(track) == len(truth) else 0.0
            for track, truth in zip(preds, targets, strict=True)
        ]
    )
    recalls = {f"R@{m}": float((overlaps >= m).mean()) for m in RECALL_THRESHOLDS}
    return {"overlap": float(overlaps.mean())} | recalls


def best_iop_and_iou(pred: Sequence[float] | None, targets: Spans) -> tuple[float, float]:
    """Return NExT-GQA's IoP and IoU of one span: each with the true span that suits it best.

    >>> best_iop_and_iou((0, 4), [(2, 6), (3, 4)])  # 2 s of 4 s; 2 s of 6 s
    (0.5, 0.3333333333333333)
    """
    if pred is None:
        return 0.0, 0.0
    return (
        max(interval_iop(pred, target) for target in targets),
        max(interval_iou(pred, target) for target in targets),
    )


def nextgqa_scores(
    preds: Sequence[Spans | None], targets: Sequence[Spans], correct: Sequence[bool]
) -> dict[str, float]:
    """Return NExT-GQA's scores.

    ``Acc@GQA`` counts answers that are right and whose span has ``IoP >= 0.5``. The official
    scorer takes one span; of several predicted ones the first counts. ``set_mIoU`` compares
    all of them with all true ones, as VideoChat-R1 does.

    Args:
        preds: ``N`` lists of spans, seconds.
        targets: ``N`` lists of one or more true spans.
        correct: ``N``, whether the option was right.

    Returns:
        ``mIoP``, ``mIoU``, ``IoP@m`` and ``IoU@m`` (``>= m``), ``Acc@QA``, ``Acc@GQA``,
        ``set_mIoU``.

    Reference: Xiao et al., NExT-GQA (arXiv 2309.01327), section 5; its ``eval_ground.py``,
    which skips questions without a prediction where we count them 0.
    """
    _some(targets, preds, correct)
    firsts = [spans[0] if spans else None for spans in preds]
    pairs = [best_iop_and_iou(*pair) for pair in zip(firsts, targets, strict=True)]
    iop, iou = np.array(pairs).T
    right = np.asarray(correct, dtype=bool)
    scores = {"mIoP": float(iop.mean()), "mIoU": float(iou.mean())}
    for m in GROUNDED_THRESHOLDS:
        scores |= {f"IoP@{m}": float((iop >= m).mean()), f"IoU@{m}": float((iou >= m).mean())}
    sets = [interval_set_iou(a, b) if a else 0.0 for a, b in zip(preds, targets, strict=True)]
    return scores | {
        "Acc@QA": float(right.mean()),
        "Acc@GQA": float((right & (iop >= GROUNDED_IOP)).mean()),
        "set_mIoU": float(np.mean(sets)),
    }


def choice_scores(
    correct: Sequence[bool], *, groups: Sequence[str | Iterable[str]] | None = None
) -> dict[str, Any]:
    """Return accuracy over all answers, and by group.

    Args:
        correct: ``N``, ``False`` where the answer could not be read.
        groups: ``N`` names such as a question type, or several a sample, as LVBench has them.

    Returns:
        ``accuracy`` (pooled), ``macro`` (mean over groups, as MLVU reports) and ``groups``,
        name -> ``accuracy`` and ``num_queries``.

    >>> scores = choice_scores([True, True, False], groups=["a", "a", "b"])
    >>> round(scores["accuracy"], 3), scores["macro"]
    (0.667, 0.5)
    """
    names = ["all"] * len(correct) if groups is None else list(groups)
    _some(correct, names)
    members: dict[str, list[bool]] = {}
    for right, name in zip(correct, names, strict=True):
        for one in [name] if isinstance(name, str) else name:
            members.setdefault(one, []).append(bool(right))
    by_group = {
        name: {"accuracy": float(np.mean(rights)), "num_queries": len(rights)}
        for name, rights in sorted(members.items())
    }
    return {
        "accuracy": float(np.mean(correct)),
        "macro": float(np.mean([group["accuracy"] for group in by_group.values()])),
        "groups": by_group,
    }


def caption_scores(
    captions: Sequence[str | None],
    events: Sequence[Sequence[str]],
    *,
    judge: Judge = word_judge,
) -> dict[str, float]:
    """Return the mean event recall of captions; see :func:`vcr1_lib.rewards.judges.event_recall`.

    >>> caption_scores(["A man sits.", None], [["a man sits"], ["a dog barks"]])
    {'event_recall': 0.5}
    """
    _some(events, captions)
    recalls = [
        0.0 if caption is None else event_recall(caption, truth, judge=judge)
        for caption, truth in zip(captions, events, strict=True)
    ]
    return {"event_recall": float(np.mean(recalls))}
