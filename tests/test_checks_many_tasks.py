"""Right and wrong answers to the exercises of notebook 07; ``test_checks`` tries them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def counted(completions: Any, task: Any, answer: Any, missing: Any = None) -> list[Any]:
    rewards = []
    for text, own, truth in zip(completions, task, answer, strict=True):
        rewards.append(float(text.strip() == truth) if own == "count" else missing)
    return rewards


RIGHT: dict[str, list[Callable[..., Any]]] = {
    "count_reward": [
        counted,
        lambda completions, task, answer: [
            None if t != "count" else 1.0 if c.split() == [a] else 0.0
            for c, t, a in zip(completions, task, answer, strict=True)
        ],
    ],
    "gold_mask": [
        lambda p, a, w: [0] * p + [1] * a + [0] * (w - p - a),
        lambda p, a, w: [int(p <= i < p + a) for i in range(w)],
    ],
    "lifted": [
        lambda old, new: new[0] > old[1],
        lambda old, new: min(new) - max(old) > 0,
    ],
}
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "count_reward": [
        (lambda c, t, a: counted(c, t, a, missing=0.0), "of another task gets None"),
        (
            lambda c, t, a: (
                [counted([x], [y], [z])[0] for x, y, z in zip(c, t, a, strict=True) if y == "count"]
                or [None]
            ),
            "of another task gets None",
        ),
        (lambda c, t, a: [1.0] * len(c), "a wrong number earns 0"),
        (
            lambda c, t, a: sorted(counted(c, t, a), key=lambda x: x is None),
            "in the samples' order",
        ),
        (
            lambda c, t, a: [
                None if y != "count" else float(x == z) for x, y, z in zip(c, t, a, strict=True)
            ],
            "blanks around the number",
        ),
        (
            lambda c, t, a: [
                None if y != "count" else float(z in x) for x, y, z in zip(c, t, a, strict=True)
            ],
            "a list of all numbers",
        ),
    ],
    "gold_mask": [
        (lambda p, a, w: [1] * (p + a) + [0] * (w - p - a), "three tokens of prompt"),
        (lambda p, a, w: [0] * p + [1] * (w - p), "three tokens of prompt"),
        (
            lambda p, a, w: [0] * p + [1] * (a - (w == p + a)) + [0] * (w - p - a + (w == p + a)),
            "which ends it, is learnt too",
        ),
        (
            lambda p, a, w: [0] * p + [1] * a + [int(w - p - a > 1)] * (w - p - a),
            "padding is never learnt",
        ),
        (lambda p, a, w: [0] * max(p, 1) + [1] * (a - (p == 0)) + [0] * (w - p - a), "without"),
    ],
    "lifted": [
        (lambda old, new: True, "overlap decide nothing"),
        (lambda old, new: new[0] != old[0] and not new[0] <= old[1] <= new[1], "a fall is not"),
        (lambda old, new: new[0] >= old[1], "touch are not disjoint"),
        (lambda old, new: sum(new) / 2 > old[1] and new[0] != old[1] and old[1] != 31, "the means"),
    ],
}
