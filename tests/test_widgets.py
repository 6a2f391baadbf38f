"""What a widget shows is what the library computes, for whatever is dragged."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib.overlap import box_iou, interval_iou
from vcr1_lib.rewards.blind_policy import BlindGame, train_blind_policy
from vcr1_lib.widgets import (
    BOX_REWARDS,
    SPAN_REWARDS,
    BlindPlayer,
    Microscope,
    group_table,
    score_group,
)
from vcr1_lib.widgets.drawings import GREY, blind_drawing, blind_sentence, group_drawing, shorten

TRUTH = (10.0, 20.0)
SPANS = [(10.0, 20.0), (12.0, 20.0), (0.0, 40.0), (25.0, 30.0)]
BOX = (0.2, 0.2, 0.6, 0.6)
BOXES = [(0.2, 0.2, 0.6, 0.6), (0.4, 0.2, 0.8, 0.6), (0.0, 0.0, 1.0, 1.0)]


def test_a_group_of_spans() -> None:
    group = score_group(SPANS, TRUTH)
    assert group.ious == pytest.approx([1, 0.8, 0.25, 0])
    assert group.rewards == pytest.approx([2, 1.8, 1.25, 1])  # the format is worth 1
    assert sum(group.advantages) == pytest.approx(0)
    plain = score_group(SPANS, TRUTH, scaled=False)
    assert plain.advantages == pytest.approx([0.4875, 0.2875, -0.2625, -0.5125])  # mean 1.5125


def test_a_group_of_boxes() -> None:
    group = score_group(BOXES, BOX)
    assert group.ious == pytest.approx([1, 1 / 3, 0.16])  # .2 x .4 of .24; .16 of 1
    assert group.rewards == pytest.approx([2, 4 / 3, 1.16])
    backwards = score_group([(0.6, 0.2, 0.2, 0.6), BOX], BOX)
    assert backwards.rewards == [0.0, 2.0]


def test_the_threshold_looks_at_the_iou() -> None:
    assert score_group(SPANS, TRUTH, threshold=0.5).rewards == pytest.approx([2, 1.8, 1, 1])
    paid = score_group(SPANS, TRUTH, reward="scaled gIoU", threshold=0.01).rewards
    assert paid[3] == 1.0


@pytest.mark.parametrize("name", SPAN_REWARDS)
@given(ends=st.lists(st.tuples(st.floats(0, 99), st.floats(0, 99)), min_size=2, max_size=8))
def test_any_span_can_be_dragged(name: str, ends: list[tuple[float, float]]) -> None:
    spans = [(round(start, 2), round(end, 2)) for start, end in ends]
    group = score_group(spans, TRUTH, reward=name)
    assert group.ious == [interval_iou(span, TRUTH) for span in spans]
    assert all(0 <= reward <= 2 for reward in group.rewards)
    ElementTree.fromstring(group_drawing(spans, TRUTH, group.advantages, extent=99))


def test_the_drawing_shows_who_is_pushed() -> None:
    svg = group_drawing(SPANS, TRUTH, [1, 0.5, -1, 0], extent=40, strip=b"png")
    bars = [e for e in ElementTree.fromstring(svg) if e.tag.endswith("rect")]
    assert len(bars) == 5
    assert bars[1].get("fill") == bars[2].get("fill") != bars[3].get("fill")
    assert bars[4].get("fill") == GREY
    # 10 to 20 of 40 s on 600 units.
    assert [float(bars[0].get(k, "")) for k in ("x", "width")] == [150, 150]
    assert "data:image/png;base64,cG5n" in svg
    assert "stroke" in group_drawing(BOXES, BOX, [1, 0, -1])


def test_the_table_escapes_and_tells_of_equals() -> None:
    group = score_group([(1, 2)] * 3, TRUTH)
    assert "All rewards are equal" in group_table(group, dragged=0)
    table = group_table(score_group(SPANS, TRUTH), dragged=1)
    assert "Answer 2: IoU 0.800, reward 1.800, advantage +0.6" in table
    assert "<answer>" not in table
    assert "All rewards" not in table


def numbers(html: str) -> list[list[float]]:
    cells = re.findall(r"<td>(\S+?)</td><td>(\S+?)</td><td>(\S+?)</td></tr>", html)
    return [[float(cell) for cell in row] for row in cells]


@pytest.mark.parametrize(
    ("answers", "truth", "extent", "overlap"),
    [(SPANS, TRUTH, 40.0, interval_iou), (BOXES, BOX, 1.0, box_iou)],
)
def test_the_microscope_follows_every_control(
    answers: list[Any], truth: Any, extent: float, overlap: Any
) -> None:
    scope = Microscope(answers, truth, extent=extent)
    assert numbers(scope.table.value)[0][0] == 1.0
    for index in range(len(answers)):
        scope.answer.value = index
        assert scope.answers == list(map(tuple, answers)), "choosing an answer moves nothing"
        assert tuple(slider.value for slider in scope.sliders) == answers[index]
    for slider in scope.sliders:
        for value in (0.0, 0.3 * extent, extent):
            slider.value = value
            group = scope.group
            assert group.ious == [overlap(answer, truth) for answer in scope.answers]
            shown = [list(row) for row in zip(*group[1:], strict=True)]
            np.testing.assert_allclose(numbers(scope.table.value), shown, atol=5.1e-4)
            ElementTree.fromstring(scope.drawing.value)
    for name in SPAN_REWARDS if len(truth) == 2 else BOX_REWARDS:
        scope.reward.value = name
    before = scope.group.advantages
    scope.scaled.value = False
    assert scope.group.advantages != before
    scope.threshold.value = 1.0
    scope.equalise.click()
    assert set(scope.group.advantages) == {0.0}
    assert len(set(scope.answers)) == 1


def small_game() -> BlindGame:
    answers = ["<think>a</think><answer>\ud800\x00</answer>", "<b>&", "<answer>4 to 9</answer>"]
    payoffs = np.array([[1.0, 1.0], [0.0, 0.0], [0.5, 0.0]])
    quality = np.array([[0.0, 0.0], [0.0, 0.0], [0.5, 0.0]])
    return BlindGame(answers, payoffs, np.array([[0.0] * 2, [0.0] * 2, [1.0] * 2]), quality)


def test_blind_drawings_can_be_sent_and_read() -> None:
    game = small_game()
    run = train_blind_policy(game.payoffs, game.quality, steps=20)
    for step in (0, 7, 20):
        svg = blind_drawing(game, run, step)
        bars = [e for e in ElementTree.fromstring(svg) if e.tag.endswith("rect")]
        tallest = max(range(3), key=lambda i: float(bars[i].get("height", "")))
        assert tallest == run.mass[step].argmax()
        svg.encode()
        assert f"Step {step}: reward {run.reward[step]:.2f}" in blind_sentence(game, run, step)


def test_the_player_follows_every_control() -> None:
    better = small_game()._replace(payoffs=small_game().quality)
    player = BlindPlayer({"hole": small_game(), "none": better})
    player.step.value = 200
    assert "true mIoU 0.00" in player.sentence.value
    player.weight.value = 2.0
    assert "true mIoU 0.25" in player.sentence.value
    player.weight.value, player.reward.value = 0.0, "none"
    assert "4 to 9" in player.sentence.value
    assert player.game is better
    assert player.play.max == player.step.max == len(player.run.reward) - 1


def test_shortened_completions_can_be_shown() -> None:
    assert shorten("<think>x</think><answer>4\nto\n9</answer>") == "4 to 9"
    assert shorten("<think>x</think><answer>B</answer><clue>[]</clue>").endswith("</clue>")
    assert shorten("\ud800\x00") == "\ufffd\ufffd"
    assert len(shorten("x" * 1000)) < 70
