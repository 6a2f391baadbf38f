"""The exercises of notebook 05."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

RECALL_AT = [
    Case(([0.2, 0.6, 0.9, 0.6], 0.5), 0.75, "count the answers that reach the threshold"),
    Case(([0.5, 0.1], 0.5), 0.5, "moments count an IoU equal to the threshold: use >="),
    Case(
        ([0.8, None, None, 0.2], 0.5),
        0.25,
        "an unreadable answer (None) stays in the denominator",
    ),
    Case(([None, None], 0.5), 0.0, "with no readable answer at all the score is 0"),
    Case(([None, 0.3], 0.0), 0.5, "an unreadable answer never reaches a threshold, not even 0"),
]
SUCCESS_RATE = [
    Case(([[1.0, 0.6, 0.4], [1.0, 0.7, 0.8]], 0.5), 0.75, "leave each track's first box out"),
    Case(([[1.0, 0.5, 0.6]], 0.5), 0.5, "tracking counts frames above the threshold: use >"),
    Case(
        ([[1.0, 0.9], [1.0, 0.1, 0.1, 0.1]], 0.5),
        0.25,
        "pool the frames of all tracks; a mean of means weighs short tracks too much",
    ),
    Case(([[1.0, 0.0], [1.0, 0.0]], 0.5), 0.0, "frames without overlap stay in the denominator"),
]
_SOUND = {
    "completions/clipped_ratio": 0.0,
    "rewards/format_reward/mean": 0.98,
    "frac_reward_zero_std": 0.0,
}
DIAGNOSE = [
    Case((_SOUND,), "sound", "nothing is wrong with this row"),
    Case(
        (_SOUND | {"completions/clipped_ratio": 0.7, "rewards/format_reward/mean": 0.3},),
        "truncated",
        "answers that are cut off lose their format too, so look at the length first",
    ),
    Case(
        (_SOUND | {"rewards/format_reward/mean": 0.1},),
        "format",
        "whole answers in the wrong format: look at the prompt",
    ),
    Case(
        (_SOUND | {"rewards/format_reward/mean": 0.0, "frac_reward_zero_std": 1.0},),
        "format",
        "rewards are equal because all are 0: the format comes first",
    ),
    Case(
        (_SOUND | {"frac_reward_zero_std": 0.8},),
        "no variance",
        "most groups have nothing to compare",
    ),
]

EXERCISES = {
    "recall_at": Exercise(
        probe=lambda attempt: first_mistake(attempt, RECALL_AT),
        hints=(
            "Walk through all answers and count those that are not None and reach m.",
            "Divide by len(ious), never by the number of readable ones.",
        ),
    ),
    "success_rate": Exercise(
        probe=lambda attempt: first_mistake(attempt, SUCCESS_RATE),
        hints=(
            "First make one long list of the IoUs track[1:] of every track.",
            "Then the share of that list above t.",
        ),
    ),
    "diagnose": Exercise(
        probe=lambda attempt: first_mistake(attempt, DIAGNOSE),
        hints=(
            "A fault upstream causes the symptoms downstream: ask in the order length, format, "
            "variance.",
            "Three ifs and a last return; each if compares one number with 0.5.",
        ),
    ),
}
