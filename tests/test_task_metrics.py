"""Golden values of tracking, grounded QA, options and captions, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vcr1_lib.metrics.tasks import (
    best_iop_and_iou,
    caption_scores,
    choice_scores,
    frame_ious,
    got10k_scores,
    nextgqa_scores,
    success_curve,
    videochat_tracking_scores,
)

FULL, LEFT, RIGHT = [0, 0, 1, 1], [0, 0, 0.5, 1], [0.5, 0, 1, 1]
TRACK = [FULL, FULL, LEFT]


def test_two_conventions_score_the_same_track_differently() -> None:
    still = [FULL, FULL, FULL]
    # Against (full, full, left) the still box has IoU 1, 1, .5.
    # GOT-10k leaves the first out: (1 + .5) / 2 = .75; only 1 is above .5 and above .75.
    scores = got10k_scores(frame_ious([still], [TRACK]))
    assert scores == pytest.approx({"AO": 0.75, "SR@0.5": 0.5, "SR@0.75": 0.5})
    # VideoChat-R1 counts it: (1 + 1 + .5) / 3 = .8333, above both thresholds.
    scores = videochat_tracking_scores([still], [TRACK])
    assert scores == pytest.approx({"overlap": 2.5 / 3, "R@0.5": 1, "R@0.7": 1})


def test_success_is_above_the_threshold_and_recall_at_it() -> None:
    assert got10k_scores([0.5])["SR@0.5"] == 0
    # One box of two is right: (1 + 0) / 2 = .5 reaches .5.
    assert videochat_tracking_scores([[LEFT, LEFT]], [[LEFT, RIGHT]])["R@0.5"] == 1


def test_frames_are_pooled_and_hidden_ones_left_out() -> None:
    short, long = [FULL, FULL], [FULL, LEFT, LEFT, LEFT]
    still = [[FULL] * 2, [FULL] * 4]
    # 1 from the short track, .5 three times from the long one: (1 + 1.5) / 4 = .625.
    assert got10k_scores(frame_ious(still, [short, long]))["AO"] == pytest.approx(0.625)
    seen = [[True, True], [True, False, False, True]]
    # Two hidden frames go: (1 + .5) / 2.
    assert frame_ious(still, [short, long], visible=seen).mean() == pytest.approx(0.75)


def test_unreadable_and_short_tracks_stay_in_the_denominator() -> None:
    # Unreadable: two frames of 0. Short: its last frame is missing, 1 and 0.
    ious = frame_ious([None, [FULL, FULL]], [TRACK, TRACK])
    assert ious.tolist() == [0, 0, 1, 0]
    scores = videochat_tracking_scores([None, [FULL, FULL]], [TRACK, TRACK])
    assert scores["overlap"] == 0  # a wrong number of boxes scores 0


def test_boxes_are_cut_to_the_picture() -> None:
    assert frame_ious([[FULL, [-1, -1, 2, 2]]], [[FULL, FULL]]).tolist() == [1]


def test_success_curve_has_the_average_overlap_below_it() -> None:
    ious = np.random.default_rng(0).uniform(size=500)
    thresholds, rates = success_curve(ious)
    assert len(thresholds) == len(rates) == 101
    assert (rates[0], rates[-1]) == (1, 0)
    assert np.trapezoid(rates, thresholds) == pytest.approx(ious.mean(), abs=0.01)


def test_iop_and_iou_may_choose_different_true_spans() -> None:
    # Predicted 0 to 10. True 0 to 9: IoP .9, IoU .9. True 0 to 20: IoP 1, IoU .5.
    assert best_iop_and_iou((0, 10), [(0, 9), (0, 20)]) == pytest.approx((1, 0.9))
    # A point inside a true span has IoP 1 and IoU 0, one outside has neither.
    assert best_iop_and_iou((5, 5), [(0, 9)]) == (1, 0)
    assert best_iop_and_iou((10, 10), [(0, 9)]) == (0, 0)
    assert best_iop_and_iou(None, [(0, 9)]) == (0, 0)


def test_grounded_accuracy_needs_the_answer_and_the_span() -> None:
    preds = [[(0, 10)], [(0, 10)], [(0, 10)], None]
    truth = [[(0, 10)], [(5, 40)], [(6, 40)], [(0, 1)]]
    scores = nextgqa_scores(preds, truth, [True, True, True, True])
    # IoP: 1, 5/10, 4/10, 0. IoU: 1, 5/40, 4/40, 0.
    assert scores["mIoP"] == pytest.approx(1.9 / 4)
    assert scores["mIoU"] == pytest.approx(1.225 / 4)
    assert scores["set_mIoU"] == pytest.approx(1.225 / 4)
    assert [scores["IoP@0.3"], scores["IoP@0.5"]] == [0.75, 0.5]
    assert [scores["IoU@0.3"], scores["IoU@0.5"]] == [0.25, 0.25]
    assert [scores["Acc@QA"], scores["Acc@GQA"]] == [1, 0.5]
    scores = nextgqa_scores(preds, truth, [True, False, True, False])
    assert [scores["Acc@QA"], scores["Acc@GQA"]] == [0.5, 0.25]


def test_of_several_spans_the_first_counts_and_the_set_is_apart() -> None:
    scores = nextgqa_scores([[(0, 5), (10, 15)]], [[(10, 15), (0, 5)]], [True])
    assert (scores["mIoU"], scores["set_mIoU"]) == (1, 1)
    # The first guess misses; both together cover 5 of the 10 s of their union.
    scores = nextgqa_scores([[(20, 25), (0, 5)]], [[(0, 5)]], [True])
    assert (scores["mIoU"], scores["set_mIoU"]) == (0, 0.5)


def test_pooled_and_macro_accuracy_differ_by_group_size() -> None:
    correct, groups = [True, True, True, False], ["long", "long", "long", "short"]
    scores = choice_scores(correct, groups=groups)
    # Pooled 3 of 4; macro (3/3 + 0/1) / 2.
    assert (scores["accuracy"], scores["macro"]) == (0.75, 0.5)
    assert scores["groups"]["short"] == {"accuracy": 0, "num_queries": 1}


def test_a_sample_may_count_in_several_groups() -> None:
    scores = choice_scores([True, False], groups=[["a", "b"], ["b"]])
    # a: 1 of 1; b: 1 of 2; pooled 1 of 2.
    assert {k: v["accuracy"] for k, v in scores["groups"].items()} == {"a": 1, "b": 0.5}
    assert (scores["accuracy"], scores["macro"]) == (0.5, 0.75)


def test_caption_recall_counts_unreadable_ones() -> None:
    events = [["a man sits", "a dog barks"], ["a car stops"]]
    # One of two events, then none.
    assert caption_scores(["A man sits.", None], events) == {"event_recall": 0.25}


@pytest.mark.parametrize(
    "call",
    [
        lambda: choice_scores([]),
        lambda: choice_scores([True], groups=["a", "b"]),
        lambda: frame_ious([], []),
        lambda: frame_ious([[FULL]], [[FULL]]),
        lambda: videochat_tracking_scores([None], []),
        lambda: nextgqa_scores([None], [[(0, 1)]], []),
        lambda: caption_scores(["a"], []),
        lambda: got10k_scores([]),
    ],
)
def test_nothing_to_score_is_an_error(call: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        call()
