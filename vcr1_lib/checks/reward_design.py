"""The exercises of notebook 02."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

INTERVAL_IOU = [
    Case(((2, 6), (2, 6)), 1.0, "a span equal to the truth scores 1"),
    Case(((0, 4), (6, 9)), 0.0, "spans that do not touch share nothing; clip the overlap at 0"),
    Case(((0, 4), (2, 6)), 1 / 3, "divide by the union, which counts the shared part once"),
    Case(((0, 10), (4, 6)), 0.2, "a span around the truth pays for its extra length"),
    Case(((4, 6), (0, 10)), 0.2, "a span inside the truth pays for what it misses"),
    Case(((3, 3), (3, 3)), 0.0, "two spans without length have no union; return 0"),
]

EXERCISES = {
    "interval_iou": Exercise(
        probe=lambda attempt: first_mistake(attempt, INTERVAL_IOU),
        hints=(
            "What is shared is from the later start to the earlier end, if there is any.",
            "The union is both lengths minus what is shared.",
        ),
    ),
}
