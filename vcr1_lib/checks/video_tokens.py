"""The exercises of notebook 01."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

SAMPLE_MOMENTS = [
    Case((4, 1, 10), [0.0, 1.0, 2.0, 3.0], "start at 0, step 1 / fps, stop before the end"),
    Case((2, 2, 10), [0.0, 0.5, 1.0, 1.5], "fps is moments per second, so the step is 1 / fps"),
    Case(
        (2.8, 1, 5), [0.0, 1.0, 2.0], "the last second has a moment, though it is not a whole one"
    ),
    Case((2.8, 1, 3), [0.0, 1.0, 2.0], "exactly max_frames moments are not too many"),
    Case(
        (1, 10, 20),
        [i / 10 for i in range(10)],
        "ten times 0.1, added up, stay below 1: count "
        "the moments and divide, or rounding makes one too many",
    ),
    Case((10, 2, 5), [0.0, 2.0, 4.0, 6.0, 8.0], "when there are too many, spread them evenly"),
    Case((9, 4, 4), [0.0, 2.25, 4.5, 6.75], "spread over the whole clip, not to a whole second"),
]

VISUAL_TOKENS = [
    Case((2, 28, 28), 1, "two frames of one 28 by 28 cell are one token"),
    Case((4, 56, 84), 12, "steps in time x rows of cells x columns of cells"),
    Case((5, 28, 28), 3, "an odd last frame still fills a step: round up"),
    Case((1, 280, 140), 50, "one frame is one step"),
]

TIME_POSITIONS = [
    Case((4, 2), [0, 2, 4, 6], "at 2 fps a step of two frames lasts one second: two positions"),
    Case((4, 1), [0, 4, 8, 12], "the step's seconds depend on fps; dropping it is the bug"),
    Case((4, 4), [0, 1, 2, 3], "a step is two frames, so it lasts 2 / fps seconds"),
    Case((5, 3), [0, 1, 2, 4, 5], "positions are integers, rounded down once, at the end"),
]

EXERCISES = {
    "sample_moments": Exercise(
        probe=lambda attempt: first_mistake(attempt, SAMPLE_MOMENTS),
        hints=(
            "How many multiples of 1 / fps lie before the end?",
            "Above max_frames, moment i is i * duration / max_frames.",
        ),
    ),
    "visual_tokens": Exercise(
        probe=lambda attempt: first_mistake(attempt, VISUAL_TOKENS),
        hints=(
            "Count the cells of 28 by 28 pixels in one picture.",
            "Then multiply by the steps in time: num_frames / 2, rounded up.",
        ),
    ),
    "step_positions": Exercise(
        probe=lambda attempt: first_mistake(attempt, TIME_POSITIONS),
        hints=(
            "Step number i starts at i * 2 / fps seconds.",
            "Two positions a second, then round down.",
        ),
    ),
}
