"""Where to look again: from a model's own clue to the moments of a second look.

VideoChat-R1 (arXiv 2504.06958, Algorithm 1) answers once at low cost, cuts out the parts of
the video its answer points to, and answers again from those, closer. The paper gives neither
padding nor limits nor a way out when there is no clue; what is decided here stands in each
docstring. Times are seconds from the video's first frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from vcr1_lib.answers import parse_span, parse_spans
from vcr1_lib.answers.grammar import Span
from vcr1_lib.overlap import Interval, merge_intervals
from vcr1_lib.prompts import CLUE_TEMPLATE, render_question

# A question as it is, or a record (see vcr1_lib.datasets) whose task's prompt is used.
Question = str | Mapping[str, Any]
# Start and end of a part of a video.
Segment = tuple[float, float]

PAD_SECONDS: Final = 1.0
MAX_SEGMENTS: Final = 4
# Families that merge neighbouring frames merge two: a pair must not straddle a cut.
FRAMES_TOGETHER: Final = 2
# VideoChat-R1.5's factor, inside the spans.
DENSITY: Final = 1.5
_POINTS_AT_TIME: Final = ("temporal_grounding", "grounded_qa")


def plain_prompt(question: Question) -> str:
    """Return the prompt that asks for an answer.

    >>> plain_prompt("What happens?")
    'What happens?'
    """
    return question if isinstance(question, str) else render_question(question)


def clue_prompt(question: Question) -> str:
    r"""Return the prompt that asks for an answer and the parts of the video that show it.

    Raises:
        ValueError: If a record's task has no answer that points at a time.

    >>> clue_prompt("What falls?")[:23]
    'What falls?\nReason betw'
    """
    if isinstance(question, str):
        return CLUE_TEMPLATE.format(question=question)
    if question["task"] == "multiple_choice":
        return render_question({**question, "task": "grounded_qa"})
    if question["task"] not in _POINTS_AT_TIME:
        raise ValueError(
            f"expected a question, or a record of multiple_choice or {_POINTS_AT_TIME}, got "
            f"task {question['task']!r}: its answers do not point at a part of the video"
        )
    return render_question(question)


def read_clue(text: str, question: Question) -> list[Span]:
    """Return the spans an answer to :func:`clue_prompt` points at; none if they are unreadable.

    >>> read_clue("<answer>B</answer><clue>[(3, 5)]</clue>", "What falls?")
    [(3.0, 5.0)]
    """
    if not isinstance(question, str) and question["task"] == "temporal_grounding":
        span = parse_span(text).value
        return [] if span is None else [span]
    return parse_spans(text).value or []


def usable_segments(
    spans: Iterable[Interval],
    *,
    duration_seconds: float,
    pad_seconds: float = PAD_SECONDS,
    max_segments: int = MAX_SEGMENTS,
) -> list[Segment]:
    """Turn a clue into the parts of a video to look at again.

    A reversed span is no clue. The others are cut to the video (one that lies outside is no
    clue either), padded on both sides, cut again and joined where they meet. Of more than
    ``max_segments`` the longest stay. Points count: padding gives them length.

    Args:
        spans: ``(start, end)`` each, in any order and number.
        duration_seconds: Of the video.
        pad_seconds: What is shown before and after each.
        max_segments: At most this many.

    Returns:
        Disjoint segments of positive length in order of time; none if there is no usable clue.

    >>> usable_segments([(9, 7), (3, 4), (4.5, 30)], duration_seconds=12)
    [(2.0, 12.0)]
    """
    padded = [
        (max(0.0, start - pad_seconds), min(float(duration_seconds), end + pad_seconds))
        for start, end in spans
        if start <= end and start < duration_seconds and end >= 0
    ]
    merged = [(start, end) for start, end in merge_intervals(padded) if start < end]
    longest = sorted(merged, key=lambda segment: segment[0] - segment[1])[:max_segments]
    return sorted(longest)


def segment_times(segments: Sequence[Segment], *, num_frames: int) -> list[float]:
    """Spread frames over segments by their length, two at least each, evenly within each.

    Frames come in pairs, since some families merge two: with an odd ``num_frames`` one fewer
    is taken, and with fewer than two a segment the shortest segments are left out.

    Args:
        segments: Disjoint, of positive length, in order of time.
        num_frames: At most this many, 2 or more.

    Returns:
        Increasing seconds.

    Raises:
        ValueError: If there is no segment or too few frames.

    >>> segment_times([(0, 2), (10, 16)], num_frames=8)
    [0.0, 1.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    """
    pairs = num_frames // FRAMES_TOGETHER
    if pairs < 1 or not segments:
        raise ValueError(
            f"expected at least 1 segment and {FRAMES_TOGETHER} frames, "
            f"got {len(segments)} and {num_frames}"
        )
    kept = sorted(sorted(segments, key=lambda segment: segment[0] - segment[1])[:pairs])
    lengths = np.array([end - start for start, end in kept])
    counts = np.ones(len(kept), dtype=int)
    for _ in range(pairs - len(kept)):
        counts[np.argmax(lengths / counts)] += 1  # where frames are farthest apart
    return [
        float(time)
        for (start, end), count in zip(kept, counts * FRAMES_TOGETHER, strict=True)
        for time in np.linspace(start, end, count, endpoint=False)
    ]


def denser_times(
    segments: Sequence[Segment],
    *,
    duration_seconds: float,
    num_frames: int,
    density: float = DENSITY,
) -> list[float]:
    """Spread frames over a whole video, ``density`` times as dense inside the segments.

    What VideoChat-R1.5 does between its passes, with the frames' true times kept.

    Args:
        segments: Disjoint, in order of time; none spreads them evenly.
        duration_seconds: Of the video.
        num_frames: Exactly this many.
        density: Above 0.

    Returns:
        Increasing seconds, the first 0.

    Raises:
        ValueError: If ``num_frames`` or ``density`` is not positive.

    >>> denser_times([(2, 4)], duration_seconds=8, num_frames=5, density=2)
    [0.0, 2.0, 3.0, 4.0, 6.0]
    """
    if num_frames < 1 or density <= 0:
        raise ValueError(f"expected num_frames >= 1 and density > 0, got {num_frames}, {density}")
    edges = np.array([0.0, *(edge for segment in segments for edge in segment), duration_seconds])
    weights = np.array([density if i % 2 else 1.0 for i in range(len(edges) - 1)])
    filled = np.concatenate([[0.0], np.cumsum(np.diff(edges) * weights)])
    wanted = np.arange(num_frames) * filled[-1] / num_frames
    return [float(time) for time in np.interp(wanted, filled, edges)]
