"""Golden values, by hand, of what other people's code computes."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from vcr1_lib.metrics.reference import localisation_scores, overlap_scores, words

Rows = dict[str, list[dict[str, Any]]]


def segment(start: float, end: float, label: str = "jump", score: float | None = None) -> Any:
    row: dict[str, Any] = {"segment": [start, end], "label": label}
    return row if score is None else row | {"score": score}


TRUTH: Rows = {
    "a": [segment(0, 10), segment(20, 30)],
    "b": [segment(5, 15, "wave"), segment(40, 50)],
}


def test_perfect_predictions_give_one_and_none_give_zero() -> None:
    pytest.importorskip("pycocotools")
    perfect = {v: [row | {"score": 0.9} for row in rows] for v, rows in TRUTH.items()}
    assert list(localisation_scores(perfect, TRUTH).values()) == pytest.approx([1.0] * 11)
    assert set(localisation_scores({}, TRUTH).values()) == {0.0}


def test_average_precision_by_hand() -> None:
    pytest.importorskip("pycocotools")
    found: Rows = {
        "a": [
            segment(0, 9, score=0.9),  # tIoU 9/10 with 0 to 10
            segment(1, 10, score=0.8),  # 0 to 10 is taken: false
            segment(20, 26, score=0.7),  # 6/10 with 20 to 30
        ],
        "b": [segment(5, 15, "wave", 0.1), segment(60, 70, score=0.95)],  # the latter is false
        "c": [segment(0, 10, score=0.2)],  # a video without truth: false
    }
    scores = localisation_scores(found, TRUTH, thresholds=[0.5, 0.6, 0.65, 0.9, 0.95])
    # jump, 3 true. In order of score: false, true (t <= 0.9), false, true (t <= 0.6), false.
    # Precision at the true ones: 1/2, 2/4; interpolated both 1/2.
    # t <= 0.6: recalls 1/3, 2/3 at 1/2, 3/3 never: (1/2 + 1/2 + 0) / 3 = 1/3.
    # 0.65 and 0.9: (1/2 + 0 + 0) / 3 = 1/6; 0.95: 0. wave: 1 everywhere. mAP: mean of the two.
    assert scores["mAP@0.5"] == pytest.approx((1 / 3 + 1) / 2)
    assert scores["mAP@0.6"] == pytest.approx((1 / 3 + 1) / 2)  # tIoU >= t
    assert scores["mAP@0.65"] == scores["mAP@0.9"] == pytest.approx((1 / 6 + 1) / 2)
    assert scores["mAP@0.95"] == pytest.approx(1 / 2)
    assert scores["mAP"] == pytest.approx((2 * (4 / 6) + 2 * (7 / 12) + 1 / 2) / 5)


@pytest.mark.parametrize(
    ("preds", "targets", "says"),
    [
        ({}, {}, "at least one true segment"),
        ({"a": [segment(0, 1, "fly", 1.0)]}, TRUTH, "no true segment has the label 'fly'"),
        ({"a": [segment(3, 1, score=1.0)]}, TRUTH, "start <= end"),
    ],
)
def test_segments_that_make_no_sense(preds: Rows, targets: Rows, says: str) -> None:
    pytest.importorskip("pycocotools")
    with pytest.raises(ValueError, match=says):
        localisation_scores(preds, targets)


def test_bleu_and_cider_by_hand() -> None:
    pytest.importorskip("pycocoevalcap")
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples; lengths equal:
    # (4/5 * 3/4 * 2/3 * 1/2) ** (1/4) = 0.2 ** 0.25.
    one = overlap_scores(["A man sits down, slowly."], [["a man sits down fast"]])
    assert one["BLEU-4"] == pytest.approx(0.2**0.25)
    assert one["CIDEr"] == 0.0  # every word of a single video is as common as can be
    references = [["a man sits down"], ["two dogs run away"]]
    # No word occurs in both, so each has weight log 2 and a copy has cosine 1, times 10.
    assert overlap_scores([r[0] for r in references], references)["CIDEr"] == pytest.approx(10)
    assert overlap_scores(["A man sits down.", None], references)["CIDEr"] == pytest.approx(5)
    nothing = overlap_scores([None, None], references)
    assert nothing == pytest.approx({"BLEU-4": 0.0, "CIDEr": 0.0}, abs=1e-6)


def test_bad_captions_are_named() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        overlap_scores(["a"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="number 2 has none"):
        overlap_scores(["a", "b"], [["a"], ["..."]])
    assert words("It's 2 o'clock; a_b") == "it's 2 o'clock a b"


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vcr1_lib\[metrics\]'"):
        overlap_scores(["a"], [["a"]])
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ModuleNotFoundError, match=r"vcr1_lib\[metrics\]"):
        localisation_scores({"a": [segment(0, 1, score=1.0)]}, TRUTH)
