"""Where to look again: any clue becomes a bounded set of moments inside the video."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib.inference.clues import (
    clue_prompt,
    denser_times,
    plain_prompt,
    read_clue,
    segment_times,
    usable_segments,
)
from vcr1_lib.prompts import render_question

LENGTH = 20.0
CHOICE = {"task": "multiple_choice", "question": "What falls?", "options": ["a cup", "a hat"]}
seconds = st.floats(-50, 70)
spans = st.lists(st.tuples(seconds, seconds), max_size=300)


@pytest.mark.parametrize(
    ("clue", "expected"),
    [
        ([], []),
        ([(9, 7)], []),  # reversed
        ([(25, 30)], []),  # outside
        ([(-9, -4)], []),
        ([(float("nan"), 4)], []),
        ([(18, 40)], [(17, 20)]),  # cut to the video
        ([(4, 8), (2, 5), (8.5, 9)], [(1, 10)]),  # they meet once padded
        ([(6, 6)], [(5, 7)]),  # a point
        ([(0, 20)], [(0, 20)]),
        ([(12, 13), (2, 3)], [(1, 4), (11, 14)]),
    ],
)
def test_a_clue_becomes_segments(clue: list[tuple[float, float]], expected: list[object]) -> None:
    assert usable_segments(clue, duration_seconds=LENGTH) == expected


def test_padding_longer_than_the_clip_shows_all_of_it() -> None:
    assert usable_segments([(0.2, 0.3)], duration_seconds=0.5, pad_seconds=9) == [(0, 0.5)]


def test_the_longest_of_many_parts_stay() -> None:
    clue = [(4.0 * i, 4.0 * i + i / 100) for i in range(200)]
    kept = usable_segments(clue, duration_seconds=900, pad_seconds=0.5, max_segments=2)
    assert kept == [(791.5, 794.48), (795.5, 798.49)]


@given(spans, st.floats(0, 5), st.integers(1, 6), st.integers(2, 40))
def test_any_clue_gives_times_inside_its_segments(
    clue: list[tuple[float, float]], pad: float, most: int, num_frames: int
) -> None:
    segments = usable_segments(clue, duration_seconds=LENGTH, pad_seconds=pad, max_segments=most)
    assert len(segments) <= most
    assert all(0 <= start < end <= LENGTH for start, end in segments)
    assert all(one[1] < other[0] for one, other in pairwise(segments))
    if not segments:
        return
    times = segment_times(segments, num_frames=num_frames)
    assert len(times) == num_frames // 2 * 2
    assert times == sorted(times)
    owners = [[start <= time < end for start, end in segments].index(True) for time in times]
    assert all(owners.count(owner) % 2 == 0 for owner in owners)


@given(st.lists(st.tuples(st.floats(0, 19), st.floats(0.01, 1)), max_size=5), st.integers(1, 60))
def test_denser_times_keep_their_number(parts: list[tuple[float, float]], num_frames: int) -> None:
    segments = usable_segments(
        [(start, start + length) for start, length in parts], duration_seconds=LENGTH, pad_seconds=0
    )
    times = denser_times(segments, duration_seconds=LENGTH, num_frames=num_frames)
    assert len(times) == num_frames
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] < LENGTH


def test_frames_stand_denser_inside() -> None:
    # 12 s outside and 8 x 1.5 = 12 s inside: half of the frames each.
    times = np.array(denser_times([(4, 12)], duration_seconds=20, num_frames=120))
    assert ((times >= 4) & (times < 12)).sum() == 60
    even = denser_times([], duration_seconds=20, num_frames=4)
    assert even == [0, 5, 10, 15]


@pytest.mark.parametrize("arguments", [([], 8), ([(0, 4)], 1)])
def test_nothing_to_look_at_is_refused(arguments: tuple[list[tuple[float, float]], int]) -> None:
    with pytest.raises(ValueError, match="at least 1 segment and 2 frames"):
        segment_times(arguments[0], num_frames=arguments[1])


def test_impossible_passes_are_refused() -> None:
    with pytest.raises(ValueError, match="density > 0"):
        denser_times([], duration_seconds=9, num_frames=4, density=0)


def test_options_are_asked_for_a_clue_and_then_without() -> None:
    assert "<clue>" in clue_prompt(CHOICE)
    assert "(B) a hat" in clue_prompt(CHOICE)
    assert plain_prompt(CHOICE) == render_question(CHOICE)
    assert "<clue>" not in plain_prompt(CHOICE)


def test_a_task_that_points_at_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="task 'caption'"):
        clue_prompt({"task": "caption"})


def test_a_grounding_answer_is_its_own_clue() -> None:
    record = {"task": "temporal_grounding", "query": "it falls"}
    assert read_clue("<answer>3 to 5</answer>", record) == [(3, 5)]
    assert read_clue("<answer>5 to 3</answer>", record) == []
    assert read_clue("<answer>B</answer><clue>none</clue>", CHOICE) == []
