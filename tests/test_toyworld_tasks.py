"""The many-tasks world: its truth earns the most, its splits share nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import build_many_tasks_data
from vcr1_lib.datasets import read_jsonl
from vcr1_lib.datasets.records import checked
from vcr1_lib.prompts import QUALITY_LABELS, TEMPLATES, render_gold, render_question
from vcr1_lib.rewards import PRESETS
from vcr1_lib.toyworld import COLOURS, HELDOUT_PAIRS, TRAIN_PAIRS, Scene, render
from vcr1_lib.toyworld.scenes import (
    DAMAGES,
    FAR_PAIRS,
    GAP_SECONDS,
    MAX_VISITS,
    NUM_BOXES,
    VISIT_SECONDS,
    WORLDS,
    Damage,
    TaskSplit,
    box_in,
    box_times,
    damage,
    sample_track,
    sample_visits,
)
from vcr1_lib.toyworld.tasks import (
    QUESTION_KINDS,
    QuestionKind,
    ask,
    dialogue,
    event_sentence,
    options_of,
    task_columns,
)
from vcr1_lib.video import read_clip

SAMPLES = Path(__file__).parents[1] / "data_samples" / "many_tasks"
SPLITS: tuple[TaskSplit, ...] = tuple(WORLDS)
seeds = st.sampled_from(SPLITS).flatmap(
    lambda split: st.tuples(
        st.integers(WORLDS[split].seeds.start, WORLDS[split].seeds.stop - 1), st.just(split)
    )
)
Seed = tuple[int, TaskSplit]


def pairs_of(scene: Scene) -> set[tuple[str, str]]:
    return {(event.colour, event.shape) for event in scene.events}


@given(seeds)
def test_visits_come_one_after_the_other(seed: Seed) -> None:
    scene = sample_visits(*seed)
    assert scene == sample_visits(*seed)
    assert pairs_of(scene) <= set(WORLDS[seed[1]].pairs)
    assert len(pairs_of(scene)) == len(scene.events) <= MAX_VISITS
    assert scene.pattern in WORLDS[seed[1]].patterns
    last = -GAP_SECONDS
    for event in scene.events:
        # Starts and ends are rounded to a tenth.
        assert event.start_seconds >= last + GAP_SECONDS - 0.11
        length = event.end_seconds - event.start_seconds
        assert VISIT_SECONDS[0] - 0.11 <= length <= VISIT_SECONDS[1] + 0.11
        assert event.end_seconds <= scene.duration_seconds
        last = event.end_seconds


@given(seeds)
def test_a_track_is_whole_and_unbroken(seed: Seed) -> None:
    scene = sample_track(*seed)
    assert scene == sample_track(*seed)
    assert len(pairs_of(scene)) == 1
    assert scene.events[0].start_seconds == 0
    assert scene.events[-1].end_seconds == scene.duration_seconds
    for before, after in zip(scene.events, scene.events[1:], strict=False):
        assert (before.end_xy, before.end_seconds) == (after.start_xy, after.start_seconds)
    times = box_times(scene.duration_seconds)
    assert len(times) == NUM_BOXES
    assert all(box_in(scene, time) is not None for time in times)


def test_the_splits_share_no_seed_and_no_object_that_matters() -> None:
    for a in SPLITS:
        for b in SPLITS:
            if a != b:
                assert not range(
                    max(WORLDS[a].seeds.start, WORLDS[b].seeds.start),
                    min(WORLDS[a].seeds.stop, WORLDS[b].seeds.stop),
                )
    assert set(WORLDS["heldout"].pairs) == set(HELDOUT_PAIRS)
    assert not set(HELDOUT_PAIRS) & set(WORLDS["train"].pairs)
    # A base that had never named a pair would say another: it must know all of them.
    assert {*TRAIN_PAIRS, *HELDOUT_PAIRS, *FAR_PAIRS} == set(WORLDS["base"].pairs)
    assert not set(FAR_PAIRS) & set(WORLDS["train"].pairs)
    assert set(TRAIN_PAIRS) == set(WORLDS["train"].pairs)
    shown = {p for split in ("base", "train") for p in WORLDS[split].patterns}
    assert not shown & {*WORLDS["heldout"].patterns, *WORLDS["far"].patterns}


def test_a_seed_of_another_split_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a heldout seed"):
        sample_visits(5, "heldout")
    with pytest.raises(ValueError, match="expected a train seed"):
        sample_track(10**9, "train")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("task", TEMPLATES)
@given(seed=seeds)
def test_the_truth_earns_the_most(task: str, strict: bool, seed: Seed) -> None:
    scene = sample_track(*seed) if task == "tracking" else sample_visits(*seed)
    columns = task_columns(task, scene, np.random.default_rng(seed[0]))
    record = checked(columns | {"id": "x", "video": "x.mp4"})
    assert record["task"] == task
    assert render_question(record)
    text = render_gold(task, record, thought="I look.")
    for reward, _ in PRESETS[task]:
        paid = reward([text], strict=strict, **{k: [v] for k, v in record.items()})
        assert paid == [1.0], (reward.__name__, text)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(KeyError, match="expected a task of"):
        task_columns("dancing", sample_visits(0, "train"), np.random.default_rng(0))


@given(seeds, st.sampled_from(QUESTION_KINDS))
def test_a_question_has_one_right_answer(seed: Seed, kind: QuestionKind) -> None:
    scene, rng = sample_visits(*seed), np.random.default_rng(seed[0])
    question = ask(scene, kind, rng)
    if question is None:
        values = [getattr(e, "shape" if kind == "colour" else "colour") for e in scene.events]
        assert all(values.count(value) > 1 for value in values)
        return
    assert question.answer not in question.wrong
    options, letter = options_of(question, rng)
    assert len(set(options)) == 4
    assert options["ABCD".index(letter)] == question.answer
    visits = [(e.start_seconds, e.end_seconds) for e in scene.events]
    assert set(question.spans) <= set(visits)
    if kind == "count":
        assert question.answer == str(len(visits))
        assert question.spans == visits
    elif kind == "order":
        event = scene.events[0 if "first" in question.text else -1]
        assert question.answer == event.name
    else:
        shown = next(e for e in scene.events if (e.start_seconds, e.end_seconds) in question.spans)
        assert question.answer == getattr(shown, kind)


@given(seeds)
def test_the_second_turn_depends_on_the_first(seed: Seed) -> None:
    scene = sample_visits(*seed)
    names = [event.name for event in scene.events]
    (_, first), (_, second) = dialogue(scene, np.random.default_rng(seed[0]))
    if second == "nothing":
        assert names == [first]
    else:
        assert abs(names.index(first) - names.index(second)) == 1


def test_letters_of_right_answers_are_balanced() -> None:
    rng = np.random.default_rng(0)
    letters = [
        task_columns("multiple_choice", sample_visits(seed, "train"), rng)["answer"]
        for seed in range(800)
    ]
    # 800 draws of 1 in 4: 200, standard deviation 12.2.
    assert all(abs(letters.count(letter) - 200) < 50 for letter in "ABCD")


def test_a_wrong_object_is_another_event() -> None:
    """One wrong word of "a red circle appears" must not pass for the event."""
    reward = dict(PRESETS["caption"]).keys()
    (recall,) = (r for r in reward if r.__name__ == "event_recall_reward")
    event = event_sentence(sample_visits(3, "train").events[0])
    colour, shape = event.split()[1:3]
    for told in (event.replace(colour, "grey"), event.replace(shape, "star")):
        assert recall([f"<answer>{told}.</answer>"], events=[[event]], task=["caption"]) == [0.0]


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("size", [32, 64])
def test_damage_shows_and_repeats(kind: Damage, size: int) -> None:
    scene = sample_visits(0, "train")
    frames = render(scene, np.arange(6) * 3.0, size)
    spoiled = damage(frames, kind, seed=1)
    assert (spoiled == damage(frames, kind, seed=1)).all()
    assert spoiled.shape == frames.shape
    assert np.abs(spoiled.astype(float) - frames).mean() > 2
    assert (
        task_columns("quality", scene, np.random.default_rng(0), damaged=True)["answer"]
        == (QUALITY_LABELS[0])
    )


def test_the_shipped_records_are_those_the_tool_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_many_tasks_data, "write_mp4", lambda *args, **options: None)
    for split in build_many_tasks_data.CLIPS:
        build_many_tasks_data.build_split(tmp_path, split)
        for name in (f"{split}.jsonl", f"chat_{split}.jsonl"):
            assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes()
        records = read_jsonl(SAMPLES / f"{split}.jsonl")
        assert {record["task"] for record in records} == set(TEMPLATES)
        assert all(Path(record["video"]).is_file() for record in records)
        right = [record["answer"] for record in records if record["task"] == "quality"]
        assert right.count(QUALITY_LABELS[0]) == right.count(QUALITY_LABELS[1])


def test_a_shipped_track_shows_its_object_in_its_boxes() -> None:
    """decord's pictures at the boxes' times hold the object's colour in the middle of each box."""
    records = [r for r in read_jsonl(SAMPLES / "heldout.jsonl") if r["task"] == "tracking"]
    for record in records[:6]:
        clip = read_clip(record["video"], times_seconds=record["times"])
        assert len(clip.frames) == NUM_BOXES
        # Boxes belong to their moment, pictures to the last one shown by then: 1/4 s at most.
        assert np.abs(clip.times_seconds - record["times"]).max() <= 0.25
        colour = np.array(COLOURS[record["object"].split()[0]])
        for picture, (x0, y0, x1, y1) in zip(clip.frames, record["boxes"], strict=True):
            column, row = (int(32 * (low + high)) for low, high in ((x0, x1), (y0, y1)))
            assert np.abs(picture[row, column] - colour).max() < 60
