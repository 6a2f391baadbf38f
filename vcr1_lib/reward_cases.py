"""The table behind :mod:`vcr1_lib.reward_bench`: answers that public video rewards pay wrongly.

Where a row names a system, it was seen to fail by running that system's public code.
"""

from __future__ import annotations

from collections.abc import Mapping
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
_BOXES = [[round(0.1 + 0.05 * i, 2), 0.2, round(0.3 + 0.05 * i, 2), 0.6] for i in range(8)]
_NARROW = [[x0, y0, x0 + 0.85 * (x1 - x0), y1] for x0, y0, x1, y1 in _BOXES]
_EVENTS = ["a man opens the door", "a dog jumps on the bed", "the woman pours some tea"]
_OPTIONS = ["clap proudly", "jump up", "dance", "sit down"]
GOLD: Final[dict[str, dict[str, Any]]] = {
    "temporal_grounding": {"span": (10.0, 20.0), "duration": 40.0},
    "tracking": {"boxes": _BOXES},
    "multiple_choice": {"options": _OPTIONS, "answer": "B"},
    "grounded_qa": {
        "options": _OPTIONS, "answer": "B", "spans": [(10.0, 20.0), (30.0, 35.0)],
        "duration": 40.0,
    },
    "caption": {"events": _EVENTS},
    "quality": {"answer": "high quality"},
}  # fmt: skip
WRONG_ANSWERS: Final = {
    "temporal_grounding": "30 to 35",
    "tracking": render_boxes([[0.9, 0.9, 1, 1]] * 8),
    "multiple_choice": "C",
    "grounded_qa": frame("C", "[(0.0, 5.0)]"),
    "caption": "Nothing of note.",
    "quality": "low quality",
}

# fmt: off
_SPAN_CASES: tuple[tuple[Any, ...], ...] = (
    *((text, READ, "VideoChat-R1: format 1, IoU 0") for text in (
        "10.0s to 20.0s", "10.0 - 20.0", "[10.0, 20.0]", "00:10 to 00:20", "10.0\nto\n20.0")),
    ("-10 to 20", UNPAID, "VideoChat-R1: 1.0, the sign dropped"),
    ("10 to -20", UNPAID, "a sign at the other end"),
    ("1,010.0 to 20.0", UNPAID, "VideoChat-R1: 1.0, read as 010.0"),
    ("10,0 to 20,0", UNPAID, "a decimal comma is a guess"),
    ("0 to 5, 5 to 9, 10 to 20", UNPAID, "VideoChat-R1: 1.0, the last guess wins"),
    ("10 to 20, 0 to 5", UNPAID, "the first guess wins"),
    ("<think>Hm.</think><answer>0 to 5</answer><answer>10 to 20</answer>", REFUSED,
     "VideoChat-R1: format 1 and one of the two"),
    ("<think>Hm.</think><answer>10 to 20</answer><answer>0 to 5</answer>", REFUSED, "the same"),
    ("<think>Hm. <answer>10 to 20</answer></think>", REFUSED, "answered inside the thought"),
    ("<think>Hm. <answer>10 to 20</answer></think><answer>0 to 5</answer>", REFUSED, "the same"),
    ("<think></think><answer></answer>", REFUSED, "VideoChat-R1: format 1 for empty tags"),
    ("<think> \n</think><answer>\t</answer>", REFUSED, "blanks are empty"),
    ("<think>Hm.</think><answer>10 to 20", REFUSED, "never closed"),
    ("5 to 5", UNPAID, "no length, like the truth: VideoChat-R1 and TimeZero crash or pay the "
     "last sample's IoU", {"span": (5.0, 5.0)}),
    ("10 to 20", WRONG, "truth of no length", {"span": (15.0, 15.0)}),
    ("10 to " + "9" * 400, UNPAID, "Time-R1: NaN"),
    ("nan to nan", UNPAID, "Video-R1 pays nan as a number"),
    ("-inf to inf", UNPAID, "everything"),
    ("20 to 10", UNPAID, "reversed"),
    ("0 to 4000", (Outcome((0, 0.0025), (0, 1)),), "Time-R1: -0.18; plain IoU is 10 / 4000"),
    ("10 to 20", WRONG, "98 s early: Open-o3-Video pays 1.0, abs() missing",
     {"span": (108.0, 118.0), "duration": 150.0}),
    ("108 to 118", WRONG, "98 s late", {"duration": 150.0}),
    ("5 to 25", (Outcome((0, 0.75), (1, 1)),), "twice too long; plain IoU is 10 / 20"),
    ("the whole video", UNPAID, "no numbers"),
    ("__import__('builtins').print(10) or 20", UNPAID, "code"),
    ("1" * 4_000, UNPAID, "a long run of digits"),
    ("<answer>" * 1_000, REFUSED, "a long run of tags"),
    ("\ud800\x00\u202e", UNPAID, "half a character, a null, right to left"),
)
_TRACK_CASES: tuple[tuple[Any, ...], ...] = (
    ("[[0, 0, 1e999, 0], " + render_boxes(_BOXES[1:])[1:], UNPAID, "VideoChat-R1: NaN"),
    (str([["a", "b", "c", "d"]] * 8), REFUSED, "VideoChat-R1: format 1 for strings"),
    (render_boxes(_BOXES[:1]), (Outcome((0, 0.125), (0, 1)),), "OneThinker: .975 for one frame"),
    (render_boxes(_NARROW), (Outcome((0.849, 0.851), (1, 1)),), "OneThinker: .85 for eight"),
    (render_boxes(_BOXES * 2), UNPAID, "sixteen boxes"),
    ("[[0.1, 0.2, 0.3, 0.6] for _ in range(8)]", UNPAID, "VideoChat-R1.5 would run this",
     {"boxes": _BOXES[:1] * 8}),
    (render_boxes([[x1, y1, x0, y0] for x0, y0, x1, y1 in _BOXES]), UNPAID, "corners swapped"),
    (render_boxes([[0, 0, 0, 0]] * 8), UNPAID, "boxes of no area"),
    (render_boxes([[1000 * x for x in box] for box in _BOXES]), UNPAID, "pixels"),
)
_LETTER_CASES: tuple[tuple[Any, ...], ...] = (
    ("Because it is D", UNPAID, "VideoChat-R1: the first capital, B"),
    ("Because it is D", RIGHT + UNPAID, "stated, in a sentence", {"answer": "D"}),
    ("Answer: C", UNPAID, "VideoChat-R1: A", {"answer": "A"}),
    ("Answer: C", READ, "the stated option", {"answer": "C"}),
    ("Dance", UNPAID, "VideoChat-R1: D", {"answer": "D"}),
    ("Dance", READ, "the text of C", {"answer": "C"}),
    ("a", READ, "VideoChat-R1: none", {"answer": "A"}),
    ("(B) jump up", READ, "letter and text agree"),
    ("B. dance", UNPAID, "letter and text disagree"),
    ("A, B, C, D", UNPAID, "every letter"),
    ("B or C", UNPAID, "two letters"),
    ("hmm", UNPAID, "VideoChat-R1: 1.0, both without a letter", {"answer": "none of them"}, True),
    ("nan", UNPAID, "Video-R1: 1.0 for a number"),
)
_GQA_CASES: tuple[tuple[Any, ...], ...] = (
    *((frame("B", clue), READ, "VideoChat-R1: 0, tuples only") for clue in (
        "[[10,20], [30,35]]", " [(10, 20), (30, 35)]", "[(10, 20) ,(30, 35)]")),
    (frame("B", "[(10, 20), (30, 35)]").replace("clue>", "glue>"), READ, "the authors' tag"),
    (frame("C", "[(10, 35)]"), (Outcome((0, 0.6), (1, 1)),), "gaps count: 15 / 25"),
    (frame("C", "[(10, 11), (34, 35)]"), (Outcome((0, 2 / 15), (1, 1)),), "hull as union: 1.0"),
    (frame("B", "[]"), (Outcome((0, 1), (0, 0)),), "no clue"),
)
_CAPTION_CASES: tuple[tuple[Any, ...], ...] = (
    (" ".join(_EVENTS), (Outcome((0, 0.7), (1, 1)),), "every word in one sentence"),
    ("A man opens the door. " * 3, (Outcome((0, 0.34), (1, 1)),), "one event three times"),
    ("Everything happens.", WRONG, "true of every video"),
)
_LABEL_CASES: tuple[tuple[Any, ...], ...] = (
    ("not high quality", UNPAID, "the label inside its denial"),
    (" or ".join(QUALITY_LABELS), UNPAID, "both labels"),
    ("High quality.", READ, "case and full stop"),
    ("nan", UNPAID, "Video-R1: 1.0 for a number"),
)
# fmt: on


def cases(task: str) -> list[Case]:
    """Return a task's table; the first case is the truth itself, in the required format.

    >>> cases("quality")[0].completion
    '<think>I watched it.</think><answer>high quality</answer>'
    """
    table = {
        "temporal_grounding": _SPAN_CASES,
        "tracking": _TRACK_CASES,
        "multiple_choice": _LETTER_CASES,
        "grounded_qa": _GQA_CASES,
        "caption": _CAPTION_CASES,
        "quality": _LABEL_CASES,
    }[task]
    gold = Case(task, render_gold(task, GOLD[task], thought="I watched it."), RIGHT, "the truth")
    wrong = Case(task, WRONG_ANSWERS[task], WRONG, "wrong, well-formed")
    return [gold, wrong, *(Case(task, *row) for row in table)]


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
