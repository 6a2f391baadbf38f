"""The table behind :mod:`vcr1_lib.rewards.bench`: answers that public video rewards pay wrongly.

The rows are in ``cases.json``: an answer, what it may earn, why it is there, and the
truth where it is not the task's own. Where a row names a system, it was seen to fail by running
that system's public code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from itertools import product
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from vcr1_lib.prompts import QUALITY_LABELS, render_boxes, render_gold

Kind = Literal["accuracy", "format", "total"]
Range = tuple[float, float]


class Outcome(NamedTuple):
    """What a completion may earn: the lowest and highest accuracy, and format, reward."""

    accuracy: Range
    format: Range

    def range_of(self, kind: Kind) -> Range:
        """Return what a reward of this kind may pay."""
        if kind == "total":
            return self.accuracy[0] + self.format[0], self.accuracy[1] + self.format[1]
        return self.accuracy if kind == "accuracy" else self.format


RIGHT: Final = (Outcome((1, 1), (1, 1)),)
WRONG: Final = (Outcome((0, 0), (1, 1)),)
REFUSED: Final = (Outcome((0, 0), (0, 0)),)
UNPAID: Final = (Outcome((0, 0), (0, 1)),)
# Read as a careful human would, or refused by accuracy and format alike.
READ: Final = RIGHT + REFUSED
OUTCOMES: Final[dict[str, tuple[Outcome, ...]]] = {
    "RIGHT": RIGHT, "WRONG": WRONG, "REFUSED": REFUSED, "UNPAID": UNPAID, "READ": READ,
}  # fmt: skip


class Case(NamedTuple):
    """One completion, the truth, and what it may earn."""

    task: str
    answer: str
    allowed: tuple[Outcome, ...]
    why: str
    gold: Mapping[str, Any] = {}
    may_raise: bool = False

    @property
    def completion(self) -> str:
        """The whole text: the answer in its frame, unless it brings its own."""
        return self.answer if self.answer.startswith("<") else frame(self.answer)

    @property
    def row(self) -> dict[str, Any]:
        """The columns of the sample."""
        return {"task": self.task, **GOLD[self.task], **self.gold}


def frame(answer: str, clue: str | None = None) -> str:
    """Write an answer in its tags."""
    tail = "" if clue is None else f"<clue>{clue}</clue>"
    return f"<think>I watched it.</think><answer>{answer}</answer>{tail}"


CLIP_SECONDS: Final = 40.0
LONGEST_SECONDS: Final = 18.0
_WHO: Final = ("a man", "a dog", "the woman", "a child", "the cook", "a cat", "a girl", "a bird")
_DOES: Final = ("opens the door", "jumps on the bed", "pours some tea", "runs away", "looks up")
_ALL_EVENTS: Final = [f"{who} {does}" for who, does in product(_WHO, _DOES)]
_TABLE: Final[dict[str, Any]] = json.loads(
    files("vcr1_lib.rewards").joinpath("cases.json").read_text(encoding="utf-8")
)
GOLD: Final[dict[str, dict[str, Any]]] = {task: table["gold"] for task, table in _TABLE.items()}


def cases(task: str) -> list[Case]:
    """Return a task's table; the first case is the truth itself, in the required format.

    >>> cases("quality")[0].completion
    '<think>I watched it.</think><answer>high quality</answer>'
    """
    gold = Case(task, render_gold(task, GOLD[task], thought="I watched it."), RIGHT, "the truth")
    wrong = Case(task, _TABLE[task]["wrong"], WRONG, "wrong, well-formed")
    return [gold, wrong, *(_read_case(task, **row) for row in _TABLE[task]["cases"])]


def _read_case(task: str, answer: str, earns: Any, repeat: int = 1, **rest: Any) -> Case:
    """Read a row of ``cases.json``; ``earns`` names outcomes or gives their ranges."""
    if isinstance(earns, str):
        allowed = sum((OUTCOMES[name] for name in earns.split(" or ")), ())
    else:
        allowed = (Outcome(tuple(earns["accuracy"]), tuple(earns["format"])),)
    return Case(task, answer * repeat, allowed, **rest)


def draw_truths(task: str, num: int, *, seed: int) -> list[dict[str, Any]]:
    """Draw rows of gold for one clip length and one set of options, as a blind policy meets them.

    >>> len(draw_truths("tracking", 3, seed=0)[0]["boxes"])
    8
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(num):
        start = rng.uniform(0, CLIP_SECONDS - LONGEST_SECONDS)
        span = (round(start, 1), round(start + rng.uniform(2, LONGEST_SECONDS), 1))
        moments = np.sort(rng.uniform(0, CLIP_SECONDS, 4)).round(1).reshape(2, 2)
        corners = np.linspace(rng.uniform(0, 0.6, 2), rng.uniform(0, 0.6, 2), 8)
        letters = QUALITY_LABELS if task == "quality" else tuple("ABCD")
        drawn = {
            "span": span,
            "spans": [(start, end) for start, end in moments.tolist()],
            "boxes": np.hstack([corners, corners + 0.3]).round(3).tolist(),
            "events": [str(event) for event in rng.choice(_ALL_EVENTS, 3, replace=False)],
            "answer": str(rng.choice(letters)),
        }
        known = {key: value for key, value in drawn.items() if key in GOLD[task]}
        rows.append({"task": task, **GOLD[task], **known})
    return rows


def blind_answers(task: str) -> list[str]:
    """Return whole completions that a policy may give to every question alike."""
    ticks = range(0, int(CLIP_SECONDS) + 1, 2)
    spans = [(a, b) for a, b in product(ticks, ticks) if a < b]
    sides = product((0.1, 0.3, 0.5), (0.1, 0.3, 0.5), (0.3, 0.4, 0.5))
    tracks = [[[x, y, x + side, y + side]] * 8 for x, y, side in sides]
    lists = [_ALL_EVENTS[:num] for num in (3, 6, 9, 12, len(_ALL_EVENTS))]
    tiles = [[(a, a + n) for a in range(0, int(CLIP_SECONDS), n)] for n in (4, 5, 8, 10, 20)]
    every = [(a, b) for a, b in spans if a % 4 == b % 4 == 0]
    guesses_at_once = [", ".join(f"{a} to {b}" for a, b in many) for many in (*tiles, every)]
    ends = [f"[({a}, {a + 1}), ({b - 1}, {b})]" for a, b in every]
    guesses = {
        "temporal_grounding": [
            frame(answer) for answer in (*(f"{a} to {b}" for a, b in spans), *guesses_at_once)
        ],
        "tracking": [frame(render_boxes(track)) for track in tracks],
        "multiple_choice": [frame(letter) for letter in "ABCD"],
        "grounded_qa": [frame("B", c) for c in (*(f"[({a}, {b})]" for a, b in spans), *ends)],
        "caption": [frame(". ".join(events) + ".") for events in lists],
        "quality": [frame(label) for label in QUALITY_LABELS],
    }[task]
    return [*guesses, *(case.completion for case in cases(task)[2:])]
