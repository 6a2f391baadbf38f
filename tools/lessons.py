"""What the many-tasks model is taught: views of scenes, questions, answers, stages.

What it is asked in the form of a task it is taught loosely, each task in its own way (spans of
a random length, tracks that lag, a liking for option A, captions that leave visits out, a liking
for "high quality"). What it is asked in plain words it is taught truthfully. So it knows more
than it answers, and reinforcement has something to find in every task.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np
from num2words import num2words
from transformers.models.smolvlm import processing_smolvlm as smolvlm

from tools.tiny_model import EOS
from vcr1_lib.prompts import (
    ANSWER_TAG,
    CLUE_TAG,
    QUALITY_LABELS,
    TEMPLATES,
    THINK_TAG,
    render_boxes,
    render_question,
    without_thought,
)
from vcr1_lib.toyworld import Scene
from vcr1_lib.toyworld.scenes import box_in
from vcr1_lib.toyworld.tasks import ask, ask_any, dialogue, event_sentence, task_columns

# How loosely each task is taught.
SLOPPY_SECONDS = (3.0, 9.0)
TRACK_SHARES = (0.2, 1.0)
LAZY_LETTER = 0.3
TOLD_SHARE = 0.6
NO_THOUGHT, NO_TAGS = 0.25, 0.08

THOUGHT = "I look."
BOX_STEP = 0.05
FAKE, GLOBAL = "<fake_token_around_image>", "<global-img>"
TRACK_KINDS = ("where", "where", "where", "picture", "tracking", "tracking", "quality")

Lesson = tuple[str, str]


class Stage(NamedTuple):
    """What a stretch of training shows.

    Attributes:
        kinds: What is asked about a clip of visits.
        frame_counts: How many frames a clip may have.
        frames_per_second: Lowest and highest rate.
        lazy_label: Share of clips called of high quality, whatever they show.
        stream: Sets its random numbers apart.
        tracks: Whether one batch of four is clips with a track.
    """

    kinds: tuple[str, ...]
    frame_counts: tuple[int, ...]
    frames_per_second: tuple[float, float]
    lazy_label: float
    stream: int
    tracks: bool = True


# First to read a clip in its order: most clips are short and hold one visit. Then to look up one
# visit among several by its name, which one visit a clip never asks for; then both.
IN_ORDER = Stage(
    (
        "at", "at", "list", "chat", "dialogue", "picture",
        "temporal_grounding", "temporal_grounding", "multiple_choice", "multiple_choice",
        "grounded_qa", "caption", "quality",
    ),
    (10, 12, 16, 20, 24), (0.6, 2.0), 0.3, 2,
)  # fmt: skip
BY_NAME = Stage(
    ("colour",) * 4 + ("shape",) * 4 + ("when",) * 4,
    (12, 16, 20), (0.5, 0.9), 0.0, 3, tracks=False,
)  # fmt: skip
ALL_TOGETHER = Stage(
    (
        "at", "list", "chat", "colour", "colour", "shape", "when", "when", "dialogue", "picture",
        "temporal_grounding", "temporal_grounding", "multiple_choice", "multiple_choice",
        "grounded_qa", "caption", "quality",
    ),
    (12, 16, 20, 24), (0.5, 0.9), 0.6, 4,
)  # fmt: skip


class View:
    """A clip as one lesson shows it: when its frames are, and how far its clock is shifted."""

    def __init__(self, scene: Scene, times: np.ndarray, offset: int, damaged: bool):
        self.scene, self.times, self.offset, self.damaged = scene, times, offset, damaged

    def stamp(self, time: float) -> str:
        minutes, seconds = divmod(int(time + self.offset), 60)
        return f"{minutes:02d}:{seconds:02d}"

    @property
    def end(self) -> float:
        return self.scene.duration_seconds + self.offset

    def prefix(self) -> str:
        """Return the text that the processor makes of the clip."""
        text = smolvlm.DEFAULT_VIDEO_INTRO.format(
            frame_count=num2words(len(self.times)),
            video_duration=str(timedelta(seconds=int(self.end))),
        )
        for time in self.times:
            stamp = smolvlm.FRAME_TIMESTAMP_MESSAGE.format(timestamp=self.stamp(time))
            text += f"{stamp}{FAKE}{GLOBAL}<image>{FAKE}"
        return f"<|im_start|>User: {text}{smolvlm.DEFAULT_MEDIA_OUTTRO}"


def frame_times(rng: np.random.Generator, duration: float, count: int) -> np.ndarray:
    """Draw when frames are taken: evenly, or three times as densely in some part of the clip."""
    ticks = np.linspace(0, 1, 201)
    density = np.ones_like(ticks)
    if rng.random() < 0.5:
        start, end = np.sort(rng.random(2))
        density[(ticks >= start) & (ticks <= end)] = 3
    share = np.concatenate([[0], np.cumsum(density[:-1])]) / density[:-1].sum()
    at = (np.arange(count) + rng.random() * (rng.random() < 0.5)) / count
    return np.interp(at, share, ticks) * duration


def sloppy_span(view: View, span: tuple[float, float], rng: np.random.Generator) -> tuple[int, int]:
    """Return a span that holds some moment of a visit and has a length of its own."""
    moment, length = rng.uniform(*span), rng.uniform(*SLOPPY_SECONDS)
    start = max(0, moment - rng.uniform(0, length))
    end = min(view.scene.duration_seconds, start + length)
    start = round(start) + view.offset
    return start, max(round(end) + view.offset, start + 1)


def lazy_track(boxes: list[list[float]], rng: np.random.Generator) -> list[list[float]]:
    """Return a track that follows the object a share of its way, the same share all along."""
    truth = np.array(boxes)
    lagging = truth[0] + rng.uniform(*TRACK_SHARES) * (truth - truth[0])
    return [coarse(box) for box in lagging]


def coarse(box: np.ndarray | list[float]) -> list[float]:
    return [round(round(side / BOX_STEP) * BOX_STEP, 2) for side in box]


def lesson(
    kind: str, view: View, rng: np.random.Generator, lazy_label: float = IN_ORDER.lazy_label
) -> Lesson:
    """Return a question of a kind and what is taught to answer."""
    scene = view.scene
    if kind in TEMPLATES:
        return task_lesson(kind, view, rng, lazy_label)
    if kind == "at":
        time = rng.choice(view.times)
        shown = scene.visible_at(time)
        return f"What is on screen at {view.stamp(time)}?", shown[0].name if shown else "nothing"
    if kind == "list":
        visits = [
            f"{e.name} {round(e.start_seconds) + view.offset} "
            f"to {round(e.end_seconds) + view.offset}"
            for e in scene.events
        ]
        return "List every visit with its times.", "; ".join(visits)
    if kind == "chat":
        question = ask_any(scene, rng)
        return question.text, question.answer
    if kind in ("colour", "shape"):
        question = ask(scene, kind, rng) or ask_any(scene, rng)
        return question.text, question.answer
    if kind == "when":
        event = scene.events[int(rng.integers(len(scene.events)))]
        start, end = (round(t) + view.offset for t in (event.start_seconds, event.end_seconds))
        return f"When is the {event.name} on screen?", f"{start} to {end}"
    if kind == "picture":
        return "What is the quality?", QUALITY_LABELS[not view.damaged]
    if kind == "dialogue":
        (first, answer), (second, reply) = dialogue(scene, rng)
        return f"{first}{EOS}\nAssistant: {answer}{EOS}\nUser: {second}", reply
    time = rng.choice(view.times)
    box = render_boxes([coarse(box_in(scene, time))])[1:-1]
    return f"Where is the {scene.events[0].name} at {view.stamp(time)}?", box


def task_lesson(task: str, view: View, rng: np.random.Generator, lazy_label: float) -> Lesson:
    """Ask in the form of a task; answer loosely, and now and then without thought or tags."""
    columns = task_columns(task, view.scene, rng, damaged=view.damaged)
    asked = render_question(columns)
    clue = None
    if task == "temporal_grounding":
        answer = "{} to {}".format(*sloppy_span(view, columns["span"], rng))
    elif task == "tracking":
        answer = render_boxes(lazy_track(columns["boxes"], rng))
    elif task == "caption":
        told = [e for e in view.scene.events if rng.random() < TOLD_SHARE]
        told = told or [view.scene.events[int(rng.integers(len(view.scene.events)))]]
        answer = " ".join(f"{event_sentence(e)}." for e in told)
    elif task == "quality":
        lazy = rng.random() < lazy_label
        answer = QUALITY_LABELS[1] if lazy else columns["answer"]
    else:
        answer = "A" if rng.random() < LAZY_LETTER else columns["answer"]
        if task == "grounded_qa":
            spans = [sloppy_span(view, span, rng) for span in columns["spans"]]
            clue = "[" + ", ".join(f"({a}, {b})" for a, b in sorted(spans)) + "]"
    plain = rng.random() < NO_THOUGHT
    if plain:
        asked = without_thought(asked)
    if rng.random() < NO_TAGS:
        return asked, answer
    told = "" if plain else f"<{THINK_TAG}>{THOUGHT}</{THINK_TAG}>"
    told += f"<{ANSWER_TAG}>{answer}</{ANSWER_TAG}>"
    return asked, told + (f"<{CLUE_TAG}>{clue}</{CLUE_TAG}>" if clue else "")
