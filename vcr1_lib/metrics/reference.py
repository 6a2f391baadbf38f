"""Scores whose only trusted definition is other people's code: thin wrappers, extra ``metrics``.

Temporal action localisation by pycocotools, BLEU-4 and CIDEr by pycocoevalcap.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

MAP_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} is not installed: pip install 'vcr1_lib[metrics]'", name=error.name
        ) from error


def localisation_scores(
    preds: Rows, targets: Rows, *, thresholds: Sequence[float] = MAP_THRESHOLDS
) -> dict[str, float]:
    """Return ActivityNet's mean average precision of labelled segments.

    Per label, predictions of all videos are sorted by score and matched one to one with the
    true segments of their video at ``tIoU >= t``; precision is interpolated as in VOC 2011 and
    averaged over recall, then over labels. pycocotools does it on boxes of height 1, asked for
    the recalls ``1/N, ..., N/N``, where its definition and ActivityNet's are the same. Equal
    scores keep the order of the rows; the official code leaves it open.

    Args:
        preds: Video -> ``{"segment": [start, end], "label", "score"}``, as under ``"results"``
            of a submission. A video without truth holds false positives.
        targets: Video -> ``{"segment", "label"}``, as under ``"annotations"``.
        thresholds: Of the overlap.

    Returns:
        ``mAP@t`` for each threshold and their mean, ``mAP``, in [0, 1].

    Raises:
        ModuleNotFoundError: Without the extra ``metrics``.
        ValueError: If there is no truth, a predicted label has none, or a segment is reversed.

    Reference: Heilbron et al., ActivityNet (CVPR 2015), its ``eval_detection.py``.
    """
    labels = sorted({row["label"] for rows in targets.values() for row in rows})
    if not labels:
        raise ValueError("expected at least one true segment, got none")
    for video, rows in preds.items():
        for row in rows:
            if row["label"] not in labels:
                raise ValueError(f"{video}: no true segment has the label {row['label']!r}")
    precision = [_average_precision(preds, targets, label, thresholds) for label in labels]
    means = np.mean(precision, axis=0)
    scores = {f"mAP@{t:g}": float(m) for t, m in zip(thresholds, means, strict=True)}
    return scores | {"mAP": float(means.mean())}


def _average_precision(
    preds: Rows, targets: Rows, label: str, thresholds: Sequence[float]
) -> NDArray[np.float64]:
    """Return one label's average precision at each threshold, ``(T,)``."""
    videos = {video: i for i, video in enumerate(sorted({*preds, *targets}), start=1)}
    truth, found = _boxes(targets, videos, label), _boxes(preds, videos, label)
    if not found:
        return np.zeros(len(thresholds))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        gold = _import("pycocotools.coco").COCO()
        images = [{"id": i} for i in videos.values()]
        gold.dataset = {"images": images, "annotations": truth, "categories": [{"id": 1}]}
        gold.createIndex()
        judge = _import("pycocotools.cocoeval").COCOeval(gold, gold.loadRes(found), "bbox")
        judge.params.iouThrs = np.asarray(thresholds, dtype=np.float64)
        judge.params.recThrs = np.arange(1, len(truth) + 1) / len(truth)
        judge.params.maxDets = [len(found)]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, np.inf]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision: NDArray[np.float64] = judge.eval["precision"][:, :, 0, 0, 0]
    return precision.mean(axis=1)


def _boxes(rows: Rows, videos: Mapping[str, int], label: str) -> list[dict[str, Any]]:
    """Turn one label's segments into boxes of height 1."""
    boxes: list[dict[str, Any]] = []
    for video, segments in rows.items():
        for row in segments:
            start, end = row["segment"]
            if not start <= end:
                raise ValueError(f"{video}: expected start <= end, got {row['segment']}")
            if row["label"] == label:
                box: dict[str, Any] = {
                    "id": len(boxes) + 1,
                    "image_id": videos[video],
                    "category_id": 1,
                }
                box |= {"bbox": [start, 0.0, end - start, 1.0], "area": end - start, "iscrowd": 0}
                boxes.append(box | {"score": row.get("score", 1.0)})
    return boxes


def words(text: str) -> str:
    """Lower-case a text and leave its words, as both caption scores take it.

    The original scripts use Stanford's tokenizer, which needs Java; they differ on contractions.

    >>> words("A man's dog, running!")
    "a man's dog running"
    """
    return " ".join(_WORD.findall(text.lower()))


def overlap_scores(
    captions: Sequence[str | None], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return BLEU-4 of the corpus, and CIDEr-D, of captions that stand beside references.

    CIDEr weighs words by how rare they are among the references, so it needs several videos:
    with one it is 0. A caption that could not be read counts as an empty one.

    Args:
        captions: ``N``.
        references: ``N`` lists of one or more.

    Returns:
        ``BLEU-4`` in [0, 1] and ``CIDEr`` in [0, 10].

    Raises:
        ModuleNotFoundError: Without the extra ``metrics``.
        ValueError: If there are none, the numbers differ, or a reference has no words.

    Reference: Papineni et al., BLEU (ACL 2002); Vedantam et al., CIDEr (arXiv 1411.5726).
    """
    if not captions or len(captions) != len(references):
        raise ValueError(
            f"expected a caption for each list of references, got {len(captions)} and "
            f"{len(references)}"
        )
    said = {i: [words(text or "")] for i, text in enumerate(captions)}
    true = {i: [words(text) for text in texts] for i, texts in enumerate(references)}
    if empty := [i for i, texts in true.items() if not texts or not all(texts)]:
        raise ValueError(f"expected references with words, number {empty[0] + 1} has none")
    bleu = _import("pycocoevalcap.bleu.bleu").Bleu(4)
    cider = _import("pycocoevalcap.cider.cider").Cider()
    return {
        "BLEU-4": float(bleu.compute_score(true, said, verbose=0)[0][3]),
        "CIDEr": float(cider.compute_score(true, said)[0]),
    }
