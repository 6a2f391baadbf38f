# ruff: noqa: ANN001
import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vcr1_lib.overlap import (
    box_giou,
    box_iou,
    interval_giou,
    interval_iop,
    interval_iou,
    interval_ious,
    interval_set_iou,
    merge_intervals,
    track_iou,
    xywh_to_xyxy,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
intervals = st.tuples(numbers, numbers).map(lambda pair: tuple(sorted(pair)))
sets = st.lists(intervals, max_size=6)
boxes = st.tuples(intervals, intervals).map(lambda p: (p[0][0], p[1][0], p[0][1], p[1][1]))
anything = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("pred", "target", "iou"),
    [
        ((10, 20), (10, 20), 1.0),
        ((10, 20), (15, 25), 5 / 15),  # 15-20 shared, 10-25 covered
        ((0, 40), (10, 20), 10 / 40),  # the whole clip
        ((10, 12), (10, 20), 2 / 10),  # inside
        ((0, 10), (10, 20), 0.0),  # they touch
        ((0, 5), (10, 20), 0.0),
        ((10, 10), (10, 20), 0.0),  # a point shares no time
        ((5, 5), (5, 5), 0.0),  # 0/0
        ((20, 10), (10, 20), 0.0),  # reversed
        ((20, 10), (20, 10), 0.0),  # both reversed: a hull of -10 s
    ],
)
def test_interval_iou(pred, target, iou):
    assert interval_iou(pred, target) == pytest.approx(iou)
    assert interval_ious([pred], [target])[0] == interval_iou(pred, target)


@given(intervals, intervals, numbers, st.floats(0.01, 100))
def test_interval_laws(a, b, shift, scale):
    for score, low in ((interval_iou, 0), (interval_giou, -1)):
        value = score(a, b)
        assert low <= value <= 1
        assert value == score(b, a)
        assume(a == b or max(*a, *b) - min(*a, *b) > 0.01)
        moved = score([x + shift for x in a], [x + shift for x in b])
        scaled = score([x * scale for x in a], [x * scale for x in b])
        assert moved == pytest.approx(value, abs=1e-5)
        assert scaled == pytest.approx(value, abs=1e-5)
    assert interval_iou(a, a) == float(a[0] < a[1])
    assert interval_giou(a, b) <= interval_iou(a, b) <= interval_iop(a, b) or a[0] == a[1]


@given(st.lists(st.tuples(anything, anything, anything, anything), max_size=5))
def test_rows_equal_singles_and_nothing_is_nan(rows):
    table = np.array(rows, dtype=float).reshape(-1, 4)
    try:
        singles = [interval_iou(row[:2], row[2:]) for row in table.tolist()]
    except ValueError:  # a hull longer than a float
        with pytest.raises(ValueError, match="finite"), np.errstate(over="ignore"):
            interval_ious(table[:, :2], table[:, 2:])
        return
    assert interval_ious(table[:, :2], table[:, 2:]).tolist() == singles
    assert all(0 <= single <= 1 for single in singles)


@pytest.mark.parametrize("bad", [(float("nan"), 1), (0, float("inf")), (float("-inf"), 0)])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        interval_iou(bad, (0, 1))
    with pytest.raises(ValueError, match="finite"):
        interval_iou((0, 1), bad)
    with pytest.raises(ValueError, match="finite"):
        interval_ious([bad], [(0, 1)])
    with pytest.raises(ValueError, match="finite"):
        merge_intervals([bad])
    with pytest.raises(ValueError, match="finite"):
        box_iou((*bad, *bad), (0, 0, 1, 1))


def test_interval_ious_names_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(N, 2\).*\(1, 3\)"):
        interval_ious([[0, 1, 2]], [[0, 1, 2]])


@pytest.mark.parametrize(
    ("pred", "target", "giou"),
    [
        ((10, 20), (10, 20), 1.0),
        ((0, 10), (10, 20), 0.0),  # they touch: IoU 0, nothing uncovered
        ((0, 10), (30, 40), -0.5),  # 20 of 40 s uncovered
        ((5, 5), (9, 9), -1.0),  # two points, all of the hull uncovered
        ((5, 5), (5, 5), 0.0),  # 0/0
        ((20, 10), (0, 5), -0.75),  # reversed has no length: 15 of 20 s uncovered
    ],
)
def test_interval_giou(pred, target, giou):
    assert interval_giou(pred, target) == pytest.approx(giou)


@pytest.mark.parametrize(
    ("pred", "target", "iop"),
    [
        ((10, 20), (15, 40), 0.5),
        ((12, 14), (10, 20), 1.0),  # all of it is inside
        ((0, 40), (10, 20), 0.25),
        ((12, 12), (10, 20), 1.0),  # NExT-GQA: a point inside counts
        ((20, 20), (10, 20), 1.0),  # the interval is closed
        ((21, 21), (10, 20), 0.0),
        ((20, 10), (10, 20), 0.0),
    ],
)
def test_interval_iop(pred, target, iop):
    assert interval_iop(pred, target) == pytest.approx(iop)


@pytest.mark.parametrize(
    ("preds", "targets", "iou"),
    [
        ([], [], 1.0),
        ([], [(0, 1)], 0.0),
        ([(5, 5)], [(5, 5)], 0.0),  # points cover no time
        ([(0, 2), (8, 10)], [(0, 10)], 0.4),  # the gap is not covered
        ([(0, 2), (8, 10)], [(0, 2), (8, 10)], 1.0),
        ([(0, 5), (5, 10)], [(0, 10)], 1.0),  # touching ones merge
        ([(0, 6), (4, 10)], [(0, 10)], 1.0),  # overlapping ones count once
        ([(0, 2), (4, 6)], [(1, 5)], 2 / 6),  # 1-2 and 4-5 of 0-6
    ],
)
def test_interval_set_iou(preds, targets, iou):
    assert interval_set_iou(preds, targets) == pytest.approx(iou)
    assert interval_set_iou(preds[::-1], targets[::-1]) == pytest.approx(iou)


@given(sets, sets)
def test_interval_set_laws(a, b):
    value = interval_set_iou(a, b)
    assert 0 <= value <= 1
    assert value == pytest.approx(interval_set_iou(b, a))
    assert value == pytest.approx(interval_set_iou([*a, *a], b))
    if len(a) == len(b) == 1 and interval_iou(a[0], b[0]) > 0:
        assert value == pytest.approx(interval_iou(a[0], b[0]))
    merged = merge_intervals(a)
    assert all(one[1] < two[0] for one, two in itertools.pairwise(merged))


@pytest.mark.parametrize(
    ("pred", "target", "iou", "giou"),
    [
        ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6, 2 / 6),  # 1×2 shared, 4 + 4 - 2 covered, hull 3×2
        ((0, 0, 1, 1), (3, 0, 4, 1), 0.0, -0.5),  # 2 of 4 uncovered
        ((0, 0, 1, 1), (1, 1, 2, 2), 0.0, -0.5),  # they touch in a corner
        ((0, 0, 1, 1), (0, 0, 1, 1), 1.0, 1.0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0, 0.0),  # 0/0
        ((0, 0, 0, 5), (0, 0, 0, 5), 0.0, 0.0),  # no width
        ((1, 1, 0, 0), (0, 0, 1, 1), 0.0, 0.0),  # backwards: 1 covered of 1
        ((0, 0, 1e-200, 1e-200), (0, 0, 1e-200, 1e-200), 1.0, 1.0),  # areas below any float
        ((0, 0, 1e200, 1e200), (0, 0, 1e200, 1e200), 1.0, 1.0),  # areas above any float
    ],
)
def test_boxes(pred, target, iou, giou):
    assert box_iou(pred, target) == pytest.approx(iou)
    assert box_giou(pred, target) == pytest.approx(giou)


@given(boxes, boxes, numbers)
def test_box_laws(a, b, shift):
    assert 0 <= box_iou(a, b) <= 1
    assert -1 <= box_giou(a, b) <= box_iou(a, b)
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
    assert box_giou(a, b) == pytest.approx(box_giou(b, a))
    assert box_iou(a, a) in (0.0, 1.0)
    moved = [[round(x + shift, 3) for x in box] for box in (a, b)]
    assume(all(m[k] < m[k + 2] for m in moved for k in (0, 1)))
    assert box_iou(*moved) == pytest.approx(box_iou(a, b), abs=1e-4)


def test_boxes_agree_with_torchvision():
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(0)
    corners = rng.uniform(-50, 50, (2, 500, 2))
    a, b = np.concatenate([corners, corners + rng.uniform(0.1, 60, (2, 500, 2))], -1)
    for ours, theirs in ((box_iou, ops.box_iou), (box_giou, ops.generalized_box_iou)):
        expected = theirs(torch.tensor(a), torch.tensor(b)).diagonal().numpy()
        mine = [ours(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        np.testing.assert_allclose(mine, expected, atol=1e-6, rtol=0)


def test_xywh():
    assert box_iou(xywh_to_xyxy((1, 1, 2, 2)), (1, 1, 3, 3)) == 1.0


def test_track_iou():
    square, half = (0, 0, 1, 1), (0, 0, 0.5, 1)
    assert track_iou([square, half], [square, square]) == pytest.approx(0.75)  # (1 + .5) / 2
    assert track_iou([square, half], [square, square], skip_first=True) == pytest.approx(0.5)
    assert track_iou([square], [square] * 8) == pytest.approx(1 / 8)  # seven are missing
    assert track_iou([None, square], [square, square]) == pytest.approx(0.5)
    assert track_iou(np.array([square]), np.array([square])) == 1.0


@pytest.mark.parametrize(
    ("num_preds", "num_targets", "skip"), [(0, 0, False), (1, 1, True), (2, 1, False)]
)
def test_track_iou_refuses_what_it_cannot_average(num_preds, num_targets, skip):
    box = (0, 0, 1, 1)
    with pytest.raises(ValueError, match="frames"):
        track_iou([box] * num_preds, [box] * num_targets, skip_first=skip)
