"""No wrong answer passes a check, and the page that says so is the one that is stored."""

from __future__ import annotations

import pytest

from tools.exercise_table import OPEN, PAGE, Tried, diagnosis, mutants, page, try_all


@pytest.fixture(scope="module")
def tried() -> list[Tried]:
    return try_all()


def test_every_wrong_answer_is_rejected_and_told_why(tried: list[Tried]) -> None:
    assert {one.name: one.missed for one in tried if one.missed} == {}
    assert all(sum(one.told.values()) == one.by_hand + one.changed for one in tried)


def test_the_page_is_what_the_tool_writes(tried: list[Tried]) -> None:
    told = "run python -m tools.exercise_table"
    assert PAGE.read_text(encoding="utf-8") == page(tried), told


def test_one_thing_is_changed_at_a_time() -> None:
    changed = [
        line for line, _ in mutants("def f(a, b):\n    return min(a, b) / 2 if a > b else 0")
    ]
    assert sorted(changed) == [
        "return max(a, b) / 2 if a > b else 0",
        "return min(a, b) * 2 if a > b else 0",
        "return min(a, b) / 2 if a > b else 1",
        "return min(a, b) / 2 if a >= b else 0",
        "return min(a, b) / 3 if a > b else 0",
    ]


def test_what_is_left_open_still_stands_in_a_solution() -> None:
    import test_checks

    made = {(name, line) for _, name, _, text in test_checks.SOLUTIONS for line, _ in mutants(text)}
    assert set(OPEN) <= made


def test_a_diagnosis_leaves_the_case_out() -> None:
    assert diagnosis("Not yet: use >= (for [0.5] it gave 0, expected 1)") == "use >="
    assert diagnosis("It raised KeyError: 'a'") == "It raised KeyError"
