"""The exercises of notebook 03."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

HALF = 0.5**0.5
ADVANTAGES = [
    Case(([0.0, 2.0],), [-HALF, HALF], "centre on the group's mean, divide by std + 1e-4", 1e-3),
    Case(([0.0, 1.0, 2.0],), [-1.0, 0.0, 1.0], "the std is the unbiased one, over G - 1", 1e-3),
    Case(([0.0, 2e-4],), [1 - 2 * HALF, 2 * HALF - 1], "add 1e-4 to the std", 1e-4),
    Case(([0.1] * 3,), [0.0] * 3, "equal rewards must give exactly 0, rounding and all", 0.0),
    Case(([0.1] * 10,), [0.0] * 10, "equal rewards must give exactly 0, rounding and all", 0.0),
    Case(([0.3],), [0.0], "an answer without siblings has nothing to be compared with"),
]
CLIPPED = [
    Case((1.0, 2.0), 2.0, "at ratio 1 nothing is clipped: the objective is the advantage"),
    Case((1.1, 1.0), 1.1, "between 0.8 and 1.2 the ratio passes as it is"),
    Case((1.5, 1.0), 1.2, "a good answer's ratio is capped at 1.2"),
    Case((0.5, -1.0), -0.8, "a bad answer's ratio is held at 0.8"),
    Case((1.5, -1.0), -1.5, "a bad answer that grew is not clipped: take the smaller product"),
    Case((0.5, 1.0), 0.5, "a good answer that shrank is not clipped: take the smaller product"),
]
K3 = [
    Case((-1.0, -1.0), 0.0, "equal log-probabilities are no distance: did you subtract 1?"),
    Case((-2.0, -1.0), 2.718281828 - 2, "d is reference minus policy, here +1: e - 1 - 1"),
    Case((-1.0, -2.0), 1 / 2.718281828, "d is reference minus policy, here -1: 1/e + 1 - 1"),
]
# Columns: two of the prompt, two of answer 1, one of answer 2, one of padding.
OWNERS = (0, 0, 1, 1, 2, -1)
MAY_SEE = [
    Case((1, 0, OWNERS), True, "the prompt reads its own past"),
    Case((3, 1, OWNERS), True, "an answer sees the prompt"),
    Case((3, 2, OWNERS), True, "an answer sees its own past"),
    Case((2, 2, OWNERS), True, "every token sees itself"),
    Case((4, 3, OWNERS), False, "an answer never sees a sibling"),
    Case((2, 3, OWNERS), False, "nobody sees the future, not even one's own"),
    Case((0, 1, OWNERS), False, "nobody sees the future, the prompt neither"),
    Case((0, 4, OWNERS), False, "the prompt never sees an answer"),
    Case((5, 4, OWNERS), False, "padding sees nothing but itself"),
]

EXERCISES = {
    "group_advantages": Exercise(
        probe=lambda attempt: first_mistake(attempt, ADVANTAGES),
        hints=(
            "Two steps: subtract the mean, then divide by the unbiased std plus 1e-4.",
            "The mean of ten 0.1 is not 0.1: ask first whether all rewards are the same.",
        ),
    ),
    "clipped_objective": Exercise(
        probe=lambda attempt: first_mistake(attempt, CLIPPED),
        hints=(
            "Compute ratio x advantage twice, once with the ratio held in 0.8 to 1.2.",
            "The smaller of the two products is the more pessimistic one.",
        ),
    ),
    "kl_k3": Exercise(
        probe=lambda attempt: first_mistake(attempt, K3),
        hints=("With d = reference - policy: e to the d, minus d, minus 1.",),
    ),
    "may_see": Exercise(
        probe=lambda attempt: first_mistake(attempt, MAY_SEE),
        hints=(
            "Two questions: is the key in the past (or here)? Whose is it?",
            "The key's owner must be the prompt (0) or the query's own; padding is -1.",
        ),
    ),
}
