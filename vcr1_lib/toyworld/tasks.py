"""Questions about toyworld clips with exact truth: records of every task, chat, dialogues."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from string import ascii_uppercase
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from vcr1_lib.prompts import QUALITY_LABELS, TEMPLATES
from vcr1_lib.toyworld import COLOURS, SHAPES, Event, Scene, query_of
from vcr1_lib.toyworld.scenes import ALL_SHAPES, MAX_VISITS, box_in, box_times

QuestionKind = Literal["colour", "shape", "count", "order"]

QUESTION_KINDS: Final[tuple[QuestionKind, ...]] = ("colour", "shape", "count", "order")
NUM_OPTIONS: Final = 4


class Question(NamedTuple):
    """A question about a clip.

    Attributes:
        kind: What it is about.
        text: The question, without options.
        answer: The right answer, as words.
        wrong: What else could be answered, none of it right.
        spans: The visits that show it, seconds.
    """

    kind: QuestionKind
    text: str
    answer: str
    wrong: list[str]
    spans: list[tuple[float, float]]


def ask(scene: Scene, kind: QuestionKind, rng: np.random.Generator) -> Question | None:
    """Ask about a clip of visits; ``None`` if it has no such question with one right answer.

    Args:
        scene: From ``sample_visits``.
        kind: What to ask about.
        rng: Chooses among the questions there are, and the wrong answers.
    """
    events = list(scene.events)
    if kind == "count":
        told = "How many coloured objects come by?"
        return _question(kind, told, [str(n + 1) for n in range(MAX_VISITS)], len(events), events)
    if kind == "order":
        which, event = ("first", events[0]) if rng.random() < 0.5 else ("last", events[-1])
        # Wrong answers are the other visits; then objects that never came.
        seen = _shuffled(rng, [e.name for e in events])
        unseen = _shuffled(rng, [f"{c} {s}" for c, s in product(COLOURS, SHAPES)])
        names = list(dict.fromkeys(seen + unseen))
        return _question(kind, f"Which object comes {which}?", names, event.name, [event])
    values = _shuffled(rng, COLOURS if kind == "colour" else ALL_SHAPES)
    given = "shape" if kind == "colour" else "colour"
    known = [getattr(e, given) for e in events]
    alone = [e for e in events if known.count(getattr(e, given)) == 1]
    if not alone:
        return None
    event = alone[int(rng.integers(len(alone)))]
    named = event.shape if kind == "colour" else f"{event.colour} object"
    right = getattr(event, kind)
    return _question(kind, f"What {kind} is the {named}?", values, right, [event])


def ask_any(scene: Scene, rng: np.random.Generator) -> Question:
    """Ask a question of a kind drawn at random among those that the clip allows."""
    asked = [ask(scene, kind, rng) for kind in QUESTION_KINDS]
    possible = [question for question in asked if question is not None]
    return possible[int(rng.integers(len(possible)))]


def _shuffled(rng: np.random.Generator, values: Iterable[str]) -> list[str]:
    return [str(value) for value in rng.permutation(list(values))]


def _question(
    kind: QuestionKind, text: str, values: list[str], answer: Any, events: list[Event]
) -> Question:
    wrong = [value for value in values if value != str(answer)]
    spans = [(e.start_seconds, e.end_seconds) for e in events]
    return Question(kind, text, str(answer), wrong, spans)


def dialogue(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return a talk of two turns about a clip; the second question needs the first."""
    names = [event.name for event in scene.events]
    after = names[1] if len(names) > 1 else "nothing"
    if rng.random() < 0.5:
        return [("Which object comes first?", names[0]), ("And which one comes next?", after)]
    before = names[-2] if len(names) > 1 else "nothing"
    return [("Which object comes last?", names[-1]), ("And which one before it?", before)]


def options_of(question: Question, rng: np.random.Generator) -> tuple[list[str], str]:
    """Return four options in random order and the letter of the right one."""
    options = _shuffled(rng, [question.answer, *question.wrong[: NUM_OPTIONS - 1]])
    return options, ascii_uppercase[options.index(question.answer)]


def event_sentence(event: Event) -> str:
    """Return a visit as a caption tells it.

    >>> from vcr1_lib.toyworld.scenes import sample_visits
    >>> event_sentence(sample_visits(3, "train").events[0])
    'a cyan triangle appears'
    """
    return f"a {event.name} appears"


def task_columns(
    task: str, scene: Scene, rng: np.random.Generator, *, damaged: bool = False
) -> dict[str, Any]:
    """Return what a record of a task asks about a scene, and its truth.

    Args:
        task: A key of ``TEMPLATES``.
        scene: From ``sample_track`` for ``"tracking"``, else from ``sample_visits``.
        rng: Chooses what is asked about.
        damaged: Whether the clip's pictures went through ``damage``.

    Raises:
        KeyError: If the task is unknown.
    """
    columns: dict[str, Any] = {"task": task, "duration": scene.duration_seconds}
    if task == "temporal_grounding":
        event = scene.events[int(rng.integers(len(scene.events)))]
        return columns | {
            "query": query_of(event),
            "span": [event.start_seconds, event.end_seconds],
        }
    if task == "tracking":
        times = box_times(scene.duration_seconds)
        boxes = [box_in(scene, time) for time in times]
        return columns | {"object": scene.events[0].name, "boxes": boxes, "times": times}
    if task == "caption":
        return columns | {"events": [event_sentence(event) for event in scene.events]}
    if task == "quality":
        return columns | {"labels": list(QUALITY_LABELS), "answer": QUALITY_LABELS[not damaged]}
    if task not in ("multiple_choice", "grounded_qa"):
        raise KeyError(f"expected a task of {sorted(TEMPLATES)}, got {task!r}")
    question = ask_any(scene, rng)
    options, letter = options_of(question, rng)
    columns |= {"question": question.text, "options": options, "answer": letter}
    columns["type"] = question.kind
    if task == "grounded_qa":
        columns["spans"] = [list(span) for span in question.spans]
    return columns
