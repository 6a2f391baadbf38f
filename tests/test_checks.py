"""Exercise checks name the mistake, accept right answers however written, never raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_checks_grpo as of_grpo
import test_checks_measure as of_measure

from vcr1_lib.checks import EXERCISES, check, hint
from vcr1_lib.overlap import interval_iou


def as_ratio(pred: Any, target: Any) -> float:
    shared = max(0, min(pred[1], target[1]) - max(pred[0], target[0]))
    union = pred[1] - pred[0] + target[1] - target[0] - shared
    return shared / union if union else 0


def unclipped(pred: Any, target: Any) -> float:
    hull = max(pred[1], target[1]) - min(pred[0], target[0])
    return (min(pred[1], target[1]) - max(pred[0], target[0])) / (hull or 1)


def over_both_lengths(pred: Any, target: Any) -> float:
    lengths = pred[1] - pred[0] + target[1] - target[0]
    return 2 * as_ratio(pred, target) if lengths else 0


def over_truth(pred: Any, target: Any) -> float:
    shared = max(0, min(pred[1], target[1]) - max(pred[0], target[0]))
    return shared / ((target[1] - target[0]) or 1)


RIGHT: dict[str, list[Callable[..., Any]]] = {
    "interval_iou": [interval_iou, as_ratio],
    **of_grpo.RIGHT,
    **of_measure.RIGHT,
}
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "interval_iou": [
        (unclipped, "clip the overlap at 0"),
        (over_both_lengths, "scores 1"),
        (over_truth, "divide by the union"),
        (lambda pred, target: "a third", "scores 1"),
        (lambda pred, target: 1 / 0, "ZeroDivisionError"),
    ],
    **of_grpo.WRONG,
    **of_measure.WRONG,
}


def test_every_exercise_has_answers_to_try() -> None:
    assert set(RIGHT) == set(WRONG) == set(EXERCISES)
    assert all(len(answers) >= 2 for answers in RIGHT.values())
    assert all(len(answers) >= 3 for answers in WRONG.values())


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n in RIGHT for a in RIGHT[n]])
def test_a_right_answer_passes(name: str, answer: Callable[..., Any]) -> None:
    assert check(name, answer).passed is True


@pytest.mark.parametrize(("name", "answer", "told"), [(n, *a) for n in WRONG for a in WRONG[n]])
def test_a_wrong_answer_is_told_why(name: str, answer: Callable[..., Any], told: str) -> None:
    outcome = check(name, answer)
    assert outcome.passed is False
    assert told in outcome.message


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("stub", [None, ..., lambda *args: None, lambda *args: ...])
def test_a_stub_is_not_attempted(name: str, stub: Any) -> None:
    assert check(name, stub).passed is None


@pytest.mark.parametrize("name", EXERCISES)
def test_hints_end_politely(name: str) -> None:
    assert hint(name, 1)
    assert "hints" in hint(name, 99)


def test_an_unknown_exercise_lists_those_that_exist() -> None:
    assert "interval_iou" in check("nope", 1).message
