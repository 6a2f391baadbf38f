"""Ask a video, look again where the answer points, and talk about it.

Every look is one clip with its frames' true times, so a second look at seconds 40 to 46 is
seen at seconds 40 to 46. Works with every family of :mod:`vcr1_lib.models` and with adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from vcr1_lib.answers import extract_answer
from vcr1_lib.answers.grammar import Span
from vcr1_lib.groups import Prompts
from vcr1_lib.inference.asker import CLOSE, GLANCE, Asker, Look, Sight
from vcr1_lib.inference.clues import (
    DENSITY,
    PAD_SECONDS,
    Question,
    clue_prompt,
    denser_times,
    plain_prompt,
    segment_times,
    usable_segments,
)
from vcr1_lib.overlap import interval_set_iou
from vcr1_lib.prompts import THINK_TAG
from vcr1_lib.video import Clip, read_clip

__all__ = [
    "Asker",
    "Chat",
    "Decision",
    "Find",
    "Look",
    "Reply",
    "Sight",
    "ask",
    "ask_iteratively",
    "ask_with_clues",
]

SETTLED_IOU: Final = 0.95


class Decision(StrEnum):
    """Which look an answer comes from, and why."""

    ONE_LOOK = "one look"
    CLUE = "looked again where the clue points"
    NO_CLUE = "no usable clue: the first answer stands"
    UNIFORM = "no usable clue: looked again at the whole video"
    SETTLED = "the spans settled"
    ALL_PASSES = "all passes were made"


class Find(NamedTuple):
    """Another question to look for a clue with, for a model that answers it better.

    Attributes:
        prompt: Asked in the first look, instead of the question with a clue.
        read: Answer to it -> the spans it points at.
    """

    prompt: str
    read: Callable[[str], list[Span]]


class Reply(NamedTuple):
    """An answer and how it came about.

    Attributes:
        text: The completion that counts, whole.
        looks: Every pass, in order.
        decision: Which pass counts, and why.
    """

    text: str
    looks: list[Look]
    decision: Decision

    @property
    def answer(self) -> str:
        """What stands in the answer's tags; the whole text where there are none."""
        return extract_answer(self.text).value or self.text.strip()

    @property
    def thought(self) -> str | None:
        """What stands in the thought's tags."""
        return extract_answer(self.text, tag=THINK_TAG).value

    @property
    def spans(self) -> list[Span]:
        """The last parts of the video that an answer pointed at, as written."""
        return next((look.spans for look in reversed(self.looks) if look.spans), [])

    @property
    def tokens(self) -> int:
        """Prompt and answer tokens of all passes."""
        return sum(look.prompt_tokens + look.answer_tokens for look in self.looks)


def ask(asker: Asker, video: str, question: Question, *, sight: Sight = CLOSE) -> Reply:
    """Ask once, frames spread evenly over the video.

    Args:
        asker: Who answers.
        video: A video file or folder of pictures.
        question: Words, asked as they are, or a record, asked in its task's prompt.
        sight: What the look may take.

    Raises:
        FileNotFoundError: If there is no such video.
        VideoError: If it cannot be read.
    """
    look = asker.look(_evenly(video, sight), plain_prompt(question), question)
    return Reply(look.text, [look], Decision.ONE_LOOK)


def ask_with_clues(
    asker: Asker,
    video: str,
    question: Question,
    *,
    first: Sight = GLANCE,
    second: Sight = CLOSE,
    pad_seconds: float = PAD_SECONDS,
    look_anyway: bool = False,
    find: Find | None = None,
) -> Reply:
    """Ask at a glance for an answer and a clue, then again from closer where the clue points.

    VideoChat-R1's temporal clue-driven reasoning (arXiv 2504.06958, Algorithm 1). The second
    answer counts. Departures: frames keep their true times, and without a usable clue the first
    answer stands unless told otherwise; the paper says nothing about either.

    Args:
        asker: Who answers.
        video: A video file or folder of pictures.
        question: Words, or a record of temporal_grounding (whose answer is the clue),
            multiple_choice or grounded_qa.
        first: What the first look may take.
        second: What the second look may take.
        pad_seconds: Shown before and after each part the clue names.
        look_anyway: Without a usable clue, look at the whole video again.
        find: Look for the clue with a question of its own. Then the first look answers nothing
            else, so without a usable clue the whole video is looked at again.

    Raises:
        ValueError: If the question's answer cannot point at a time and there is no ``find``.
        FileNotFoundError: If there is no such video.
        VideoError: If it cannot be read.
    """
    prompt = find.prompt if find else clue_prompt(question)
    glance = asker.look(_evenly(video, first), prompt, question)
    if find:
        glance = glance._replace(spans=find.read(glance.text))
    length = glance.clip.duration_seconds
    segments = usable_segments(glance.spans, duration_seconds=length, pad_seconds=pad_seconds)
    if segments:
        times = segment_times(segments, num_frames=second.num_frames)
        again, decision = _at_times(video, times, second), Decision.CLUE
    elif look_anyway or find:
        again, decision = _evenly(video, second), Decision.UNIFORM
    else:
        return Reply(glance.text, [glance], Decision.NO_CLUE)
    look = asker.look(again, plain_prompt(question), question)
    return Reply(look.text, [glance, look], decision)


def ask_iteratively(
    asker: Asker,
    video: str,
    question: Question,
    *,
    passes: int = 3,
    sight: Sight = CLOSE,
    density: float = DENSITY,
) -> Reply:
    """Ask several times, each time with more of the same frames where the last answer pointed.

    VideoChat-R1.5's iterative perception: the number of frames stays, they stand ``density``
    times as dense inside the spans. Departures from its code: true times for every frame, spans
    cut to the video and joined, and an answer without a clue makes the next look even again.
    Stops early when the spans settle (IoU of the sets at least 0.95).

    Args:
        asker: Who answers.
        video: A video file or folder of pictures.
        question: As for :func:`ask_with_clues`.
        passes: At most this many.
        sight: What each look may take.
        density: Inside the spans against outside.

    Raises:
        ValueError: If ``passes`` is below 1, or the question's answer cannot point at a time.
        FileNotFoundError: If there is no such video.
        VideoError: If it cannot be read.
    """
    if passes < 1:
        raise ValueError(f"expected passes >= 1, got {passes}")
    prompt = clue_prompt(question)
    looks = [asker.look(_evenly(video, sight), prompt, question)]
    while len(looks) < passes:
        length = looks[-1].clip.duration_seconds
        before = usable_segments(looks[-1].spans, duration_seconds=length, pad_seconds=0)
        times = denser_times(
            before, duration_seconds=length, num_frames=sight.num_frames, density=density
        )
        looks.append(asker.look(_at_times(video, times, sight), prompt, question))
        if before and interval_set_iou(before, looks[-1].spans) >= SETTLED_IOU:
            return Reply(looks[-1].text, looks, Decision.SETTLED)
    return Reply(looks[-1].text, looks, Decision.ALL_PASSES)


def _evenly(video: str, sight: Sight) -> Callable[[], Clip]:
    return lambda: read_clip(video, num_frames=sight.num_frames, max_pixels=sight.max_pixels)


def _at_times(video: str, times: list[float], sight: Sight) -> Callable[[], Clip]:
    def read() -> Clip:
        clip = read_clip(video, times_seconds=times, max_pixels=sight.max_pixels)
        _, kept = np.unique(clip.times_seconds, return_index=True)  # a frame is shown once
        return clip._replace(frames=clip.frames[kept], times_seconds=clip.times_seconds[kept])

    return read


@dataclass
class Chat:
    """Talk about one video: it is encoded once, and every turn sees the whole dialogue.

    Only a turn that consults clues looks, and so encodes, again.

    Args:
        asker: Who answers.
        video: A video file or folder of pictures.
        sight: What is taken of it.
    """

    asker: Asker
    video: str
    sight: Sight = CLOSE
    turns: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clip = _evenly(self.video, self.sight)()
        self._encoded: Prompts | None = None

    def say(self, question: str, *, clues: bool = False) -> str:
        """Answer the next question.

        Args:
            question: What is said.
            clues: Answer it with :func:`ask_with_clues`, without the dialogue before it; the
                answer then joins the dialogue.
        """
        turns = [*self.turns, question]
        if clues:
            text = ask_with_clues(
                self.asker, self.video, question, first=self.sight, second=self.sight
            ).text
        elif self._encoded is None:
            self._encoded = self.asker.encode(self.clip, *turns)
            text, _ = self.asker.answer(self._encoded)
        else:
            text, _ = self.asker.answer(self.asker.append(self._encoded, self.clip, *turns))
        self.turns = [*turns, text]
        return text
