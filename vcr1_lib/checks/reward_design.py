"""The exercises of notebook 02."""

from __future__ import annotations

import re
from math import sqrt
from typing import Any, Final

import numpy as np

from vcr1_lib.checks.exercise import NOT_ATTEMPTED, Case, Exercise, first_mistake
from vcr1_lib.overlap import interval_iou
from vcr1_lib.rewards.cases import draw_truths

INTERVAL_IOU = [
    Case(((2, 6), (2, 6)), 1.0, "a span equal to the truth scores 1"),
    Case(((0, 4), (6, 9)), 0.0, "spans that do not touch share nothing; clip the overlap at 0"),
    Case(((0, 4), (2, 6)), 1 / 3, "divide by the union, which counts the shared part once"),
    Case(((0, 10), (4, 6)), 0.2, "a span around the truth pays for its extra length"),
    Case(((4, 6), (0, 10)), 0.2, "a span inside the truth pays for what it misses"),
    Case(((0, 0.5), (0, 0.25)), 0.5, "a span shorter than a second counts as any other"),
    Case(((3, 3), (3, 3)), 0.0, "two spans without length have no union; return 0"),
]
ADVANTAGES = [
    Case(([0.0, 1.0],), [-sqrt(0.5), sqrt(0.5)], "two answers lie 0.71 standard deviations from "
         "their mean: subtract the mean, then divide by the deviation with n - 1", 1e-3),
    Case(([0.0, 0.0, 0.0, 1.0],), [-0.5, -0.5, -0.5, 1.5], "one good answer of four gets +1.5 and "
         "its siblings -0.5: divide by the standard deviation, taken with n - 1", 1e-3),
    Case(([0.7, 0.7, 0.7],), [0.0, 0.0, 0.0], "equal rewards teach nothing; return zeros"),
    Case(([5.0],), [0.0], "a group of one has nobody to compare with; return [0.0]"),
]  # fmt: skip
SET_IOU = [
    Case(([(0, 4)], [(0, 4)]), 1.0, "a set equal to the truth scores 1"),
    Case(([(10, 11), (34, 35)], [(10, 20), (30, 35)]), 2 / 15, "the gap between two spans is not "
         "covered; add up lengths instead of taking the hull"),
    Case(([(0, 4), (2, 6)], [(0, 6)]), 1.0, "time that is named twice counts once"),
    Case(([(0, 2), (4, 6)], [(1, 5)]), 1 / 3, "every span may share time with every true one, and "
         "all of the union counts"),
    Case(([(6, 9), (0, 5)], [(0, 5), (6, 9)]), 1.0, "spans come in any order; sort them first"),
    Case(([(0, 10), (2, 4)], [(0, 10)]), 1.0, "a span inside another must not shorten it"),
    Case(([], [(0, 4)]), 0.0, "no spans cover nothing; return 0"),
]  # fmt: skip
BLIND_GOAL: Final = 0.75
NUM_QUESTIONS: Final = 50
GUESS = re.compile(r"([0-9.]+) to ([0-9.]+)")


def _probe_exploit(attempt: Any) -> str | None:
    """Score a blind completion by a reward that takes the best of all guesses."""
    text = attempt() if callable(attempt) else attempt
    if text is None or text is ...:
        return NOT_ATTEMPTED
    if not isinstance(text, str):
        return f"a completion is a string, this is a {type(text).__name__}"
    guesses = [(float(start), float(end)) for start, end in GUESS.findall(text)]
    if "<answer>" not in text or "</answer>" not in text or not guesses:
        return "it needs guesses like '4 to 9' between <answer> and </answer>"
    truths = [row["span"] for row in draw_truths("temporal_grounding", NUM_QUESTIONS, seed=0)]
    earned = np.mean([max(interval_iou(guess, truth) for guess in guesses) for truth in truths])
    if earned >= BLIND_GOAL:
        return None
    more = "mix long and short ones" if len(guesses) > 1 else "nothing forbids a second guess"
    return f"{len(guesses)} guesses earn {earned:.2f} on average, {BLIND_GOAL} is asked; {more}"


EXERCISES = {
    "interval_iou": Exercise(
        probe=lambda attempt: first_mistake(attempt, INTERVAL_IOU),
        hints=(
            "What is shared is from the later start to the earlier end, if there is any.",
            "The union is both lengths minus what is shared.",
        ),
    ),
    "sibling_advantages": Exercise(
        probe=lambda attempt: first_mistake(attempt, ADVANTAGES),
        hints=(
            "statistics.stdev divides by n - 1 and wants two values or more.",
            "Look for equal rewards first; then (r - mean) / deviation for each.",
        ),
    ),
    "set_iou": Exercise(
        probe=lambda attempt: first_mistake(attempt, SET_IOU),
        hints=(
            "On a fine grid of times, a set of spans is a list of true and false.",
            "vcr1_lib.overlap.merge_intervals joins what overlaps; lengths of merged sets add up.",
            "shared = length(a) + length(b) - length(merged a + b).",
        ),
    ),
    "exploit": Exercise(
        probe=_probe_exploit,
        hints=(
            "The reward looks at every guess and pays for the best one.",
            "List every span of a coarse grid: starts every 4 s, ends every 4 s.",
        ),
    ),
}
