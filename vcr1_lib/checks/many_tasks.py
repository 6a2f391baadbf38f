"""The exercises of notebook 07."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

COUNT_REWARD = [
    Case((["3"], ["count"], ["3"]), [1.0], "the right number in words of its own task earns 1"),
    Case((["4"], ["count"], ["3"]), [0.0], "a wrong number earns 0"),
    Case(
        (["3", "3"], ["count", "caption"], ["3", None]),
        [1.0, None],
        "a sample of another task gets None: with 0 its group would be told that every answer is "
        "bad, and the log's mean would fall with every caption in the batch",
    ),
    Case(
        (["x", "2", "5"], ["caption", "count", "caption"], [None, "2", None]),
        [None, 1.0, None],
        "one reward per sample, in the samples' order: None keeps the place of those left out",
    ),
    Case(([" 3 "], ["count"], ["3"]), [1.0], "blanks around the number change nothing"),
    Case(
        (["30", "1 2 3 4"], ["count"] * 2, ["3"] * 2),
        [0.0, 0.0],
        "the number must be all of "
        "the answer: a reward that looks for it anywhere pays a list of all numbers",
    ),
]
GOLD_MASK = [
    Case((3, 2, 6), [0, 0, 0, 1, 1, 0], "three tokens of prompt, two of answer, one of padding"),
    Case((2, 3, 5), [0, 0, 1, 1, 1], "the answer's last token, which ends it, is learnt too"),
    Case((0, 2, 2), [1, 1], "without a prompt all of the answer counts"),
    Case((4, 1, 8), [0, 0, 0, 0, 1, 0, 0, 0], "padding is never learnt, however much there is"),
]
LIFTED = [
    Case(((20.0, 25.0), (30.0, 35.0)), True, "the new interval lies above the old one"),
    Case(((20.0, 31.0), (30.0, 35.0)), False, "intervals that overlap decide nothing"),
    Case(((30.0, 35.0), (20.0, 25.0)), False, "a fall is not a lift"),
    Case(((20.0, 30.0), (30.0, 35.0)), False, "intervals that touch are not disjoint: use >"),
    Case(
        ((20.0, 45.0), (44.0, 60.0)),
        False,
        "compare the new one's low end with the old one's high end, not the means",
    ),
]

EXERCISES = {
    "count_reward": Exercise(
        probe=lambda attempt: first_mistake(attempt, COUNT_REWARD),
        hints=(
            "Go through zip(completions, task, answer) and append exactly one thing each time.",
            'None where task is not "count"; float(text.strip() == truth) where it is.',
        ),
    ),
    "gold_mask": Exercise(
        probe=lambda attempt: first_mistake(attempt, GOLD_MASK),
        hints=(
            "Three runs of numbers behind each other: prompt, answer, padding.",
            "[0] * prompt + [1] * answer + [0] * what is left of the width.",
        ),
    ),
    "lifted": Exercise(
        probe=lambda attempt: first_mistake(attempt, LIFTED),
        hints=(
            "Each argument is (low, high) of a 95 % interval.",
            "Is the low end of the second above the high end of the first?",
        ),
    ),
}
