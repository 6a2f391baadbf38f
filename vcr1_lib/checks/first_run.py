"""The exercises of notebook 04."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

VERDICT = [
    Case((0.27, 0.35), "learned", "an interval that lies above 0 means that it learned"),
    Case((-0.02, 0.05), "did not learn", "an interval around 0 does not rule out that nothing "
         "happened, however good its middle looks"),
    Case((-0.23, -0.13), "got worse", "an interval below 0 means that it got worse"),
    Case((0.0, 0.04), "did not learn", "an interval that touches 0 still holds no gain"),
    Case((-0.04, 0.0), "did not learn", "an interval that ends at 0 still holds no loss"),
]  # fmt: skip
FLAT = [
    Case(([[1.0, 1.0], [0.0, 1.0]],), 0.5, "one of the two groups has equal rewards"),
    Case(([[0.0, 1.0], [1.0, 0.0]],), 0.0, "groups with equal means may still differ inside; "
         "compare the answers of one group"),
    Case(([[0.0, 1.0, 0.0]],), 0.0, "look at all answers of a group, not its first and last"),
    Case(([[0.5, 0.5, 0.5]],), 1.0, "equal rewards teach nothing, good or bad"),
    Case(([[0.1, 0.1, 0.1], [0.0, 0.0, 0.1], [0.5, 0.5, 0.5], [0.2, 0.3, 0.4]],), 0.5, "two of "
         "these four groups are flat: a share, not a count, and exactly equal, since the mean of "
         "three times 0.1 is not 0.1"),
]  # fmt: skip

EXERCISES = {
    "did_it_learn": Exercise(
        probe=lambda attempt: first_mistake(attempt, VERDICT),
        hints=("Look at the ends of the interval only.", "Three cases; 0 itself is no gain."),
    ),
    "share_of_flat_groups": Exercise(
        probe=lambda attempt: first_mistake(attempt, FLAT),
        hints=(
            "A group is flat when its lowest and its highest reward are equal.",
            "The mean of a list of True and False is the share that is True.",
        ),
    ),
}
