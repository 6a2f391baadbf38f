"""Dataset scores: golden values, the interval's coverage, and the trivial baselines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib.metrics import (
    IOU_THRESHOLDS,
    bootstrap_interval,
    clip_spans,
    grounding_scores,
    length_scores,
    paired_interval,
    span_ious,
)
from vcr1_lib.metrics.baselines import (
    Remap,
    apply_remap,
    best_fixed_span,
    best_remap,
    first_half,
    fixed_span,
    whole_clip,
)

NAN = float("nan")


def test_scores_count_an_iou_at_the_threshold() -> None:
    scores = grounding_scores([0.0, 0.3, 0.5, 0.7, 1.0])
    # (0 + .3 + .5 + .7 + 1) / 5 = .5; four of five reach .3, three .5, two .7.
    assert scores == pytest.approx({"mIoU": 0.5, "R1@0.3": 0.8, "R1@0.5": 0.6, "R1@0.7": 0.4})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_scores_obey_their_laws(ious: list[float]) -> None:
    scores = grounding_scores(ious)
    recalls = [scores[f"R1@{m}"] for m in IOU_THRESHOLDS]
    assert recalls == sorted(recalls, reverse=True)
    for threshold, recall in zip(IOU_THRESHOLDS, recalls, strict=True):
        assert threshold * recall <= scores["mIoU"] + 1e-12  # Markov's inequality


@pytest.mark.parametrize("ious", [[], [1.1], [-0.1], [0.5, NAN]])
def test_scores_refuse_what_is_no_iou(ious: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        grounding_scores(ious)


def test_unreadable_answers_score_zero_and_stay_in_the_denominator() -> None:
    ious = span_ious([[NAN, NAN], [0, 10], [NAN, 4], [5, 15]], [[0, 10]] * 4)
    assert ious == pytest.approx([0, 1, 0, 1 / 3])  # 5 s shared of a hull of 15 s
    assert grounding_scores(ious)["mIoU"] == pytest.approx((1 + 1 / 3) / 4)


def test_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    interval = bootstrap_interval(values)
    # Mean of 400: 1.96 standard errors each way, s / sqrt(400).
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    assert interval.value == values.mean()
    assert interval.low < interval.value < interval.high


def test_equal_answers_inside_a_cluster_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(1).uniform(size=100), 4)
    alone = bootstrap_interval(values)
    together = bootstrap_interval(values, clusters=[i // 4 for i in range(400)])
    # Four copies tell no more than one: 100 draws instead of 400, sqrt(4) times as wide.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(2, rel=0.07)
    assert together.value == alone.value


def test_clusters_of_unequal_size_keep_the_plain_mean() -> None:
    # Every resample of one cluster is that cluster; three 1s and one 0 in it make 0.75.
    assert bootstrap_interval([1, 1, 1, 0], clusters=["a"] * 4) == (0.75, 0.75, 0.75)
    # Of "a" = (1, 1, 1) and "b" = (0), a resample is aa, bb or, every other time, a mix of
    # both whose mean is 3/4, not the 1/2 that a mean of the clusters' means would be.
    clusters = ["a", "a", "a", "b"]
    assert bootstrap_interval([1, 1, 1, 0], clusters=clusters) == (0.75, 0, 1)
    assert bootstrap_interval([1, 1, 1, 0], clusters=clusters, confidence=0) == (0.75,) * 3


def test_interval_is_a_function_of_its_seed() -> None:
    values = np.random.default_rng(2).uniform(size=50)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@given(st.floats(0, 1), st.integers(1, 20))
def test_interval_of_a_constant_is_the_constant(value: float, count: int) -> None:
    assert bootstrap_interval([value] * count, num_resamples=50) == pytest.approx((value,) * 3)


def test_more_confidence_is_wider() -> None:
    values = np.random.default_rng(3).uniform(size=50)
    narrow, wide = (bootstrap_interval(values, confidence=c) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_interval_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="got 1 for 2"):
        bootstrap_interval([0.1, 0.2], clusters=["a"])


def test_blind_answers() -> None:
    assert whole_clip([10, 30]).tolist() == [[0, 10], [0, 30]]
    assert first_half([10, 30]).tolist() == [[0, 5], [0, 15]]
    assert fixed_span((0.25, 0.5), [8, 40]).tolist() == [[2, 4], [10, 20]]


def test_best_fixed_span_is_a_share_of_the_clip() -> None:
    # The same quarter of two clips of different length; 1/4 and 1/2 lie on the grid of 48.
    assert best_fixed_span([[6, 12], [12, 24]], [24, 48]) == (0.25, 0.5)
    # Two of three truths are the last half: answering it scores (1 + 1 + 0) / 3, and any
    # span that reaches into the third truth loses more on the two than it wins.
    assert best_fixed_span([[5, 10], [5, 10], [0, 1]], [10, 10, 10]) == (0.5, 1.0)


def test_best_remap_recovers_a_known_shift() -> None:
    rng = np.random.default_rng(0)
    starts = rng.uniform(10, 30, 60)
    truth = np.stack([starts, starts + rng.uniform(5, 15, 60)], -1)
    preds = truth + np.array([2.0, -1.5])
    preds[::7] = NAN  # an unreadable answer has no shift
    durations = np.full(60, 60.0)
    remap = best_remap(preds, truth, durations)
    assert remap == Remap(-2.0, 1.5)
    moved = apply_remap(preds, remap, durations)
    assert np.isnan(moved).all(-1).sum() == 9  # rows 0, 7, ..., 56
    assert span_ious(moved, truth).mean() == pytest.approx(51 / 60)


def test_remapped_spans_stay_inside_the_clip() -> None:
    moved = apply_remap([[1, 9], [4, 5], [NAN, NAN]], Remap(-3, 3), [10, 10, 10])
    assert moved[:2].tolist() == [[0, 10], [1, 8]]
    assert np.isnan(moved[2]).all()
    # Ends that cross leave a span of no length: 6 + 2 = 8 and 7 - 2 = 5.
    assert apply_remap([[6, 7]], Remap(2, -2), [10]).tolist() == [[8, 8]]


def test_above_the_threshold_is_less_than_at_it() -> None:
    # .5 reaches .5 but is not above it: one of two against two of two.
    assert grounding_scores([0.5, 0.6])["R1@0.5"] == 1
    assert grounding_scores([0.5, 0.6], strict=True)["R1@0.5"] == 0.5


def test_length_buckets_hold_their_upper_end() -> None:
    spans = [[0, 10], [0, 10.5], [5, 35], [0, 200]]  # 10, 10.5, 30 and 200 s long
    scores = length_scores([1.0, 0.5, 0.0, 0.25], spans)
    assert [(k, v["num_queries"]) for k, v in scores.items()] == [
        ("0 to 10 s", 1),
        ("10 to 30 s", 2),
        ("over 150 s", 1),
    ]
    assert scores["10 to 30 s"]["mIoU"] == pytest.approx(0.25)  # (.5 + 0) / 2
    with pytest.raises(ValueError, match="true spans"):
        length_scores([1.0], [[0, 1], [0, 2]])


def test_truth_that_ends_after_the_clip_can_be_cut() -> None:
    # Predicted 20 to 30, true 20 to 32 in a clip of 30 s: 10 / 12, and 1 once it is cut.
    assert span_ious([[20, 30]], [[20, 32]]) == pytest.approx([10 / 12])
    assert span_ious([[20, 30]], clip_spans([[20, 32]], [30])) == pytest.approx([1])
    assert np.isnan(clip_spans([[NAN, NAN]], [30])).all()


def test_pairing_cancels_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0, 0.8, 200)
    after = before + rng.normal(0.02, 0.02, 200)
    gain = paired_interval(before, after)
    assert gain.value == pytest.approx((after - before).mean())
    assert gain.low > 0
    # Unpaired, the spread of the samples (about .23) hides a gain of .02.
    assert bootstrap_interval(after).low < bootstrap_interval(before).high
    with pytest.raises(ValueError, match="same samples"):
        paired_interval([0.1], [0.1, 0.2])
