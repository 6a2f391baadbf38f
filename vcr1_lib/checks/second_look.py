"""The exercises of notebook 08."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

CLUE_SEGMENTS = [
    Case(([(4, 6)], 20, 1), [(3, 7)], "show pad seconds more on both sides"),
    Case(([(9, 7)], 20, 1), [], "a reversed span is no clue: leave it out, do not turn it round"),
    Case(([(25, 30)], 20, 1), [], "a span that lies outside the clip is no clue"),
    Case(([(18, 40)], 20, 1), [(17, 20)], "cut the end to the clip's length"),
    Case(([(0.5, 2)], 20, 1), [(0, 3)], "padding must not reach before second 0"),
    Case(([(10, 12), (2, 4)], 20, 1), [(1, 5), (9, 13)], "put the segments in order of time"),
    Case(([(2, 4), (5, 7)], 20, 1), [(1, 8)], "segments that meet once padded become one"),
    Case(([(2, 9), (3, 4)], 20, 0), [(2, 9)], "a segment inside another must not shorten it"),
    Case(([(2, 4), (6, 8)], 20, 1), [(1, 9)], "segments that touch once padded become one too"),
    Case(([(-3, 4)], 20, 1), [(0, 5)], "a span that begins before second 0 still shows a part"),
    Case(([(5, 5)], 20, 1), [(4, 6)], "a moment without length is a clue; padding makes it one"),
    Case(([(20, 22)], 20, 1), [], "a span that begins where the clip ends shows nothing"),
    Case(([(0.2, 0.5)], 20, 1), [(0, 1.5)], "a span within the first second is inside the clip"),
]
SHARE_INSIDE = [
    Case((5.0, 20.0, 3.0), 0.5, "5 s of weight 3 beside 15 s of weight 1 are half of all"),
    Case((5.0, 20.0, 1.0), 0.25, "with density 1 frames fall everywhere alike"),
    Case((0.0, 20.0, 2.0), 0.0, "without a clue no frame lies inside"),
    Case((20.0, 20.0, 2.0), 1.0, "if the clue is the whole clip, all frames lie inside"),
]
VERDICT = [
    Case((0.02, 0.10, 24, 24), "helps", "the whole interval lies above 0"),
    Case((-0.10, -0.02, 24, 24), "hurts", "the whole interval lies below 0"),
    Case((-0.02, 0.10, 24, 24), "no difference", "the interval holds 0"),
    Case((0.0, 0.10, 24, 24), "no difference", "an interval that touches 0 decides nothing"),
    Case((-0.10, 0.0, 24, 24), "no difference", "nor does one that touches 0 from below"),
    Case((0.02, 0.10, 24, 36), "not comparable", "two looks were given more frames than one"),
    Case((0.02, 0.10, 24, 12), "not comparable", "nor are fewer frames the same budget"),
]

EXERCISES = {
    "clue_segments": Exercise(
        probe=lambda attempt: first_mistake(attempt, CLUE_SEGMENTS),
        hints=(
            "Keep spans with start <= end that begin before the clip's end; pad and cut each; "
            "then walk through them in order of time.",
            "If a segment starts no later than the last one ends, the last one's end becomes the "
            "larger of the two ends.",
        ),
    ),
    "share_inside": Exercise(
        probe=lambda attempt: first_mistake(attempt, SHARE_INSIDE),
        hints=(
            "A second inside weighs `density`, a second outside weighs 1.",
            "Divide the inside's weight by the weight of the whole clip.",
        ),
    ),
    "second_look_verdict": Exercise(
        probe=lambda attempt: first_mistake(attempt, VERDICT),
        hints=(
            "Look at the frames first: a comparison at different budgets says nothing.",
            "Then three cases of the interval: above 0, below 0, neither.",
        ),
    ),
}
