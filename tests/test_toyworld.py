"""The synthetic world's truth is exact, and its held-out half shares nothing with the rest."""

from __future__ import annotations

import ast
import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import tiny_model, train_tiny_model
from tools.build_data_samples import CLIPS
from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.models.loading import load_model
from vcr1_lib.toyworld import (
    COLOURS,
    EVENT_SECONDS,
    HELDOUT_PAIRS,
    MAX_AT_ONCE,
    PATTERNS,
    SEED_RANGES,
    SHAPES,
    TRAIN_PAIRS,
    Event,
    Scene,
    Split,
    query_of,
    render,
    sample_scene,
)
from vcr1_lib.toyworld.scenes import ALL_SHAPES
from vcr1_lib.video import read_clip

SAMPLES = Path(__file__).parents[1] / "data_samples" / "charades_sta"
SPLITS: tuple[Split, ...] = ("train", "heldout")
EPSILON = 1e-6

seeds = st.sampled_from(SPLITS).flatmap(
    lambda split: st.tuples(
        st.integers(SEED_RANGES[split].start, SEED_RANGES[split].stop - 1), st.just(split)
    )
)


def shipped(split: Split) -> list[tuple[str, Scene]]:
    start = SEED_RANGES[split].start
    return [
        (f"{split[0].upper()}{i:04d}", sample_scene(start + i, split)) for i in range(CLIPS[split])
    ]


@given(seeds)
def test_a_scene_keeps_the_rules(seed: tuple[int, Split]) -> None:
    scene = sample_scene(*seed)
    pairs = {"train": TRAIN_PAIRS, "heldout": HELDOUT_PAIRS}[seed[1]]
    assert scene == sample_scene(*seed)
    assert scene.pattern in PATTERNS[seed[1]]
    assert {(e.colour, e.shape) for e in scene.events} <= set(pairs)
    assert len(scene.events) == 1
    assert {e.colour for e in scene.passers} == {"grey"}
    for event in scene.events + scene.passers:
        shortest, longest = EVENT_SECONDS
        length = event.end_seconds - event.start_seconds
        assert 0 <= event.start_seconds < event.end_seconds <= scene.duration_seconds
        # Both ends are rounded to a tenth, so a length is off by at most a tenth.
        assert shortest - 0.1 - EPSILON <= length <= longest + 0.1 + EPSILON
        at_once = [
            e
            for e in scene.events + scene.passers
            if e.start_seconds <= event.start_seconds < e.end_seconds
        ]
        assert len(at_once) <= MAX_AT_ONCE


def test_other_seeds_give_other_scenes() -> None:
    assert len({sample_scene(seed) for seed in range(200)}) == 200


def test_splits_share_nothing() -> None:
    assert not set(TRAIN_PAIRS) & set(HELDOUT_PAIRS)
    assert set(TRAIN_PAIRS) | set(HELDOUT_PAIRS) == {(c, s) for c in COLOURS for s in SHAPES}
    assert not set(PATTERNS["train"]) & set(PATTERNS["heldout"])
    assert SEED_RANGES["train"].stop <= SEED_RANGES["heldout"].start
    # Each held-out colour and shape is known from other pairs; only the pair is new.
    assert {c for c, _ in HELDOUT_PAIRS} <= {c for c, _ in TRAIN_PAIRS}
    assert {s for _, s in HELDOUT_PAIRS} <= {s for _, s in TRAIN_PAIRS}


@pytest.mark.parametrize(("seed", "split"), [(10**9, "train"), (7, "heldout"), (-1, "train")])
def test_a_seed_of_the_other_split_is_refused(seed: int, split: Split) -> None:
    with pytest.raises(ValueError, match=f"expected a {split} seed"):
        sample_scene(seed, split)


def test_pretraining_sees_no_shipped_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    def record(seed: int) -> Scene:
        used.append(seed)
        return sample_scene(seed)

    monkeypatch.setattr(train_tiny_model, "sample_scene", record)
    monkeypatch.setattr(train_tiny_model, "video_prefix", lambda processor: ([0], ""))
    processor = SimpleNamespace(tokenizer=lambda text: {"input_ids": [0] * len(text)})
    batches = train_tiny_model.ClipBatches(processor, clips=8, seed=0)
    for step in range(4):
        batches(step)
    assert len(used) == 32
    assert min(used) >= CLIPS["train"], "the first seeds are the shipped training clips"
    assert all(seed in SEED_RANGES["train"] for seed in used)
    # Nowhere does the script ask for the other split, and its seeds are refused without.
    for module in (tiny_model, train_tiny_model):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        assert "heldout" not in {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}


def test_the_base_is_trained_from_nothing_by_one_command(tmp_path: Path) -> None:
    arguments = {"steps": 1, "vision_steps": 1, "clips": 2, "lr": 1e-3, "seed": 0}
    train_tiny_model.train(Namespace(output=tmp_path, **arguments))
    _, processor = load_model(tmp_path)
    shipped_folder = SAMPLES.parent / "tiny_model"
    _, shipped_processor = load_model(shipped_folder)
    configs = [(folder / "config.json").read_text() for folder in (tmp_path, shipped_folder)]
    assert configs[0] == configs[1]
    assert processor.tokenizer.get_vocab() == shipped_processor.tokenizer.get_vocab()
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["arguments"] == arguments


@given(seeds)
def test_an_object_shows_exactly_from_start_to_end(seed: tuple[int, Split]) -> None:
    scene = sample_scene(*seed)
    for event in scene.events:
        alone = replace(scene, events=(event,), passers=())
        start, end = event.start_seconds, event.end_seconds
        times = [start - EPSILON, start, end - EPSILON, end]
        empty = render(replace(scene, events=(), passers=()), [0.0], 32)[0]
        seen = [not np.array_equal(frame, empty) for frame in render(alone, times, 32)]
        assert seen == [False, True, True, False]
        assert [alone.visible_at(t) != [] for t in times] == seen


def test_rendering_a_time_does_not_depend_on_the_others() -> None:
    scene = sample_scene(3)
    times = np.arange(0, 24, 1.5).tolist()
    assert np.array_equal(render(scene, times, 24)[5:6], render(scene, times[5:6], 24))


@pytest.mark.parametrize("split", SPLITS)
def test_shipped_annotations_are_the_scenes_events(split: Split) -> None:
    records = read_charades_sta(
        SAMPLES / f"toyworld_sta_{split}.txt", SAMPLES / f"toyworld_v1_{split}.csv", ""
    )
    expected = [
        (name, query_of(event), [event.start_seconds, event.end_seconds], scene.duration_seconds)
        for name, scene in shipped(split)
        for event in scene.events
    ]
    assert [
        (Path(r["video"]).stem, r["query"], r["span"], r["duration"]) for r in records
    ] == expected


def test_no_heldout_query_is_asked_in_training() -> None:
    train, heldout = (
        {query_of(event) for _, scene in shipped(split) for event in scene.events}
        for split in SPLITS
    )
    assert not train & heldout
    assert len(heldout) == len(HELDOUT_PAIRS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("index", [0, 17, 63])
def test_a_shipped_clip_shows_its_scene(split: Split, index: int) -> None:
    name, scene = shipped(split)[index]
    clip = read_clip(SAMPLES / "videos" / f"{name}.mp4", fps=8.0)
    assert clip.duration_seconds == pytest.approx(scene.duration_seconds)
    assert clip.times_seconds.tolist() == pytest.approx(np.arange(192) / 8)
    drawn = render(scene, clip.times_seconds.tolist(), clip.frames.shape[1])
    # H.264 is off by two or three levels of 255. An object on screen one frame too long or too
    # short is off by its area, 7 % of the picture, times its contrast of about a hundred.
    assert np.abs(clip.frames.astype(int) - drawn).mean((1, 2, 3)).max() < 3


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_a_tight_box_ends_where_the_shape_does(shape: str) -> None:
    event = Event("white", shape, 0.0, 2.0, (0.4, 0.5), (0.5, 0.6), 0.2)
    (frame,) = render(Scene(2.0, "plain", (0, 0, 0), (event,)), [1.0], 400)
    rows, columns = (np.flatnonzero(frame[..., 0].max(axis) > 100) / 400 for axis in (1, 0))
    seen = columns[0], rows[0], columns[-1] + 1 / 400, rows[-1] + 1 / 400
    assert event.box_at(1.0, tight=True) == pytest.approx(seen, abs=0.004)
    assert event.box_at(1.0) == pytest.approx((0.25, 0.35, 0.65, 0.75))
