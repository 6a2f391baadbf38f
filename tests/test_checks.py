"""Exercise checks name the mistake, accept right answers however written, never raise."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import mean, pstdev, stdev
from typing import Any

import nbformat
import numpy as np
import pytest
import test_checks_grpo as of_grpo
import test_checks_many_tasks as of_many_tasks
import test_checks_measure as of_measure
import test_checks_one_gpu as of_one_gpu
import test_checks_second_look as of_second_look
import test_checks_video as of_video

from vcr1_lib.checks import EXERCISES, check, hint
from vcr1_lib.overlap import interval_iou, interval_set_iou
from vcr1_lib.rewards.blind_policy import group_advantages

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


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


def by_statistics(rewards: list[float]) -> list[float]:
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return [0.0 for _ in rewards]
    return [(r - mean(rewards)) / stdev(rewards) for r in rewards]


def undivided(rewards: list[float]) -> list[float]:
    return [r - mean(rewards) for r in rewards]


def population(rewards: list[float]) -> list[float]:
    return [(r - mean(rewards)) / (pstdev(rewards) + 1e-4) for r in rewards]


def unguarded(rewards: list[float]) -> Any:
    return (np.array(rewards) - np.mean(rewards)) / np.float64(stdev(rewards) or np.nan)


def alone_unguarded(rewards: list[float]) -> list[float]:
    equal = len(rewards) > 1 and len(set(rewards)) == 1
    return (
        [0.0] * len(rewards) if equal else [(r - mean(rewards)) / stdev(rewards) for r in rewards]
    )


def by_counting(preds: list[Any], targets: list[Any]) -> float:
    ticks = np.arange(0, 50, 0.5)
    a, b = (
        np.any([(s <= ticks) & (ticks < e) for s, e in spans] or [ticks < 0], axis=0)
        for spans in (preds, targets)
    )
    return float((a & b).sum() / (a | b).sum())


def of_hulls(preds: list[Any], targets: list[Any]) -> float:
    hulls = [(min(s for s, _ in x), max(e for _, e in x)) for x in (preds, targets)]
    return interval_iou(*hulls)


def unmerged(preds: list[Any], targets: list[Any]) -> float:
    shared = sum(max(0, min(e, v) - max(s, u)) for s, e in preds for u, v in targets)
    total = sum(e - s for s, e in [*preds, *targets])
    return shared / (total - shared) if total > shared else 1.0


def pairwise_mean(preds: list[Any], targets: list[Any]) -> float:
    best = [max(interval_iou(p, t) for p in preds) if preds else 0.0 for t in targets]
    return sum(best) / len(best)


def empty_raises(preds: list[Any], targets: list[Any]) -> float:
    return interval_set_iou(preds, targets) if preds[0] else 0.0


def by_ends(low: float, high: float) -> str:
    return "learned" if low > 0 else "got worse" if high < 0 else "did not learn"


def listing(step: int) -> str:
    pairs = [(a, b) for a in range(0, 40, step) for b in range(a + step, 41, step)]
    return "<answer>" + ", ".join(f"{a} to {b}" for a, b in pairs) + "</answer>"


def own_sets(preds: Any, targets: Any, *, order: Any = sorted, last: Any = max) -> float:
    """Merge, then intersect, as readers write it."""

    def merged(spans: Any) -> list[list[float]]:
        out: list[list[float]] = []
        for start, end in order(spans):
            if out and start <= out[-1][1]:
                out[-1][1] = last(out[-1][1], end)
            else:
                out.append([start, end])
        return out

    def length(spans: Any) -> float:
        return sum(end - start for start, end in spans)

    ours, theirs = merged(preds), merged(targets)
    pairs = [(max(a, c), min(b, d)) for a, b in ours for c, d in theirs]
    shared = length((a, b) for a, b in pairs if a < b)
    union = length(ours) + length(theirs) - shared
    return shared / union if union else 0.0


RIGHT: dict[str, list[Any]] = {
    "interval_iou": [interval_iou, as_ratio],
    "sibling_advantages": [
        by_statistics,
        lambda rewards: group_advantages(np.array([rewards]))[0],
    ],
    "set_iou": [interval_set_iou, by_counting, own_sets],
    "exploit": [listing(4), lambda: "<think>?</think>" + listing(2)],
    "did_it_learn": [by_ends, lambda low, high: by_ends(low, high)],
    "share_of_flat_groups": [
        lambda groups: mean(len(set(group)) == 1 for group in groups),
        lambda groups: sum(max(group) == min(group) for group in groups) / len(groups),
    ],
    **of_grpo.RIGHT,
    **of_video.RIGHT,
    **of_measure.RIGHT,
    **of_one_gpu.RIGHT,
    **of_second_look.RIGHT,
    **of_many_tasks.RIGHT,
}
WRONG: dict[str, list[tuple[Any, str]]] = {
    "interval_iou": [
        (unclipped, "clip the overlap at 0"),
        (over_both_lengths, "scores 1"),
        (over_truth, "divide by the union"),
        (lambda pred, target: "a third", "scores 1"),
        (lambda pred, target: 1 / 0, "ZeroDivisionError"),
    ],
    "sibling_advantages": [
        (undivided, "0.71 standard deviations"),
        (population, "n - 1"),
        (unguarded, "equal rewards teach nothing"),
        (alone_unguarded, "StatisticsError"),
        (lambda rewards: 0.0, "0.71"),
        (lambda rewards: by_statistics(rewards) if len(rewards) > 1 else [1.0], "group of one"),
    ],
    "set_iou": [
        (of_hulls, "the gap between two spans"),
        (unmerged, "counts once"),
        (pairwise_mean, "gap"),
        (empty_raises, "IndexError"),
        (lambda preds, targets: 1.0, "gap"),
        (lambda preds, targets: own_sets(preds, targets, order=list), "sort them first"),
        (lambda preds, targets: own_sets(preds, targets, last=lambda a, b: b), "must not shorten"),
    ],
    "exploit": [
        ("4 to 9", "between <answer>"),
        ("<answer>4 and 9</answer>", "needs guesses"),
        ("<answer>6 to 24</answer>", "nothing forbids a second guess"),
        ("<answer>" + ", ".join(f"{a} to {a + 2}" for a in range(0, 40, 2)) + "</answer>", "mix"),
        (42, "a completion is a string"),
    ],
    "did_it_learn": [
        (lambda low, high: "learned" if low + high > 0 else "got worse", "around 0"),
        (lambda low, high: "learned" if low >= 0 else by_ends(low, high), "touches 0"),
        (lambda low, high: "learned" if low > 0 else "did not learn", "below 0"),
        (lambda low, high: low > 0, "above 0"),
    ],
    "share_of_flat_groups": [
        (lambda groups: sum(len(set(group)) == 1 for group in groups), "one of the two groups"),
        (lambda groups: len({mean(group) for group in groups}) == 1, "one of the two"),
        (lambda groups: mean(pstdev(g) == 0 or mean(g) == 0.5 for g in groups), "one of the two"),
        (lambda groups: mean(sum(g) / len(g) == g[0] for g in groups), "three times 0.1"),
        (lambda groups: mean(g[0] == g[-1] for g in groups), "all answers of a group"),
    ],
    **of_grpo.WRONG,
    **of_video.WRONG,
    **of_measure.WRONG,
    **of_one_gpu.WRONG,
    **of_second_look.WRONG,
    **of_many_tasks.WRONG,
}


def test_every_exercise_has_answers_to_try() -> None:
    assert set(RIGHT) == set(WRONG) == set(EXERCISES)
    assert all(len(answers) >= 2 for answers in RIGHT.values())
    assert all(len(answers) >= 3 for answers in WRONG.values())


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n in RIGHT for a in RIGHT[n]])
def test_a_right_answer_passes(name: str, answer: Any) -> None:
    assert check(name, answer).passed is True


@pytest.mark.parametrize(("name", "answer", "told"), [(n, *a) for n in WRONG for a in WRONG[n]])
def test_a_wrong_answer_is_told_why(name: str, answer: Any, told: str) -> None:
    outcome = check(name, answer)
    assert outcome.passed is False
    assert told in outcome.message


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("stub", [None, ..., lambda *args: None, lambda *args: ...])
def test_a_stub_is_not_attempted(name: str, stub: Any) -> None:
    assert check(name, stub).passed is None


def test_a_forgotten_return_and_an_error_are_told_with_their_input() -> None:
    def forgets(pred: Any, target: Any) -> None:
        max(pred[0], target[0])

    told = check("interval_iou", forgets)
    assert told.passed is False
    assert "is a `return` missing?" in told.message
    told = check("interval_iou", lambda pred, target: [][0])
    assert re.fullmatch(r"It raised IndexError: .* \(for \(2, 6\), \(2, 6\)\)", told.message)


@pytest.mark.parametrize("name", EXERCISES)
def test_hints_end_politely(name: str) -> None:
    assert hint(name, 1)
    assert "hints" in hint(name, 99)


def test_an_unknown_exercise_lists_those_that_exist() -> None:
    assert "interval_iou" in check("nope", 1).message


CHECKED = re.compile(r'^check\("(\w+)", (\w+)\)', re.MULTILINE)
FOLDED = re.compile(
    r"<details><summary>(?:Solution|Hints and solution)</summary>(.*?)</details>", re.DOTALL
)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def exercises_of(path: Path) -> list[tuple[str, str, str]]:
    """Return the name of each exercise, the variable it checks, and the solution folded below."""
    found: list[tuple[str, str, str]] = []
    asked: list[tuple[str, str]] = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            asked += CHECKED.findall(cell.source)
        for fold in FOLDED.findall(cell.source):
            assert asked, f"{path.name}: a solution stands before its exercise"
            found.append((*asked.pop(), "\n".join(CODE.findall(fold))))
    assert not asked, f"{path.name}: no solution is folded below {asked}"
    return found


SOLUTIONS = [(path.name, *found) for path in NOTEBOOKS for found in exercises_of(path)]


@pytest.mark.parametrize(
    ("name", "variable", "solution"),
    [s[1:] for s in SOLUTIONS],
    ids=[f"{s[0]}:{s[1]}" for s in SOLUTIONS],
)
def test_a_folded_solution_is_right(name: str, variable: str, solution: str) -> None:
    scope: dict[str, Any] = {}
    exec(solution, scope)
    assert check(name, scope[variable]).message == "Right."


def test_every_exercise_stands_unsolved_in_one_notebook() -> None:
    assert sorted(found[1] for found in SOLUTIONS) == sorted(EXERCISES)
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and CHECKED.search(cell.source):
                assert cell.outputs[-1].data["text/plain"] == "Not attempted yet."
