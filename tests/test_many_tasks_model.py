"""The many-tasks base: what its lessons say, and that one command trains it from nothing."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SmolVLMProcessor

from tools import many_tasks, train_many_tasks_model
from tools.lessons import (
    ALL_TOGETHER,
    BY_NAME,
    IN_ORDER,
    TRACK_KINDS,
    Stage,
    View,
    frame_times,
    lesson,
)
from tools.many_tasks import build_processor
from tools.train_many_tasks_model import Lessons, draw_view, seen_in
from vcr1_lib.datasets import read_jsonl
from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import load_model
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.prompts import TEMPLATES, render_prompt
from vcr1_lib.rewards import format_reward
from vcr1_lib.toyworld.scenes import WORLDS, box_times, sample_track, sample_visits
from vcr1_lib.video import Clip

SAMPLES = Path(__file__).parents[1] / "data_samples"


@pytest.fixture(scope="module")
def processor() -> SmolVLMProcessor:
    return build_processor()


def view_of(seed: int, *, track: bool = False, offset: int = 0) -> View:
    sample = sample_track if track else sample_visits
    scene = sample(WORLDS["base"].seeds.start + seed, "base")
    return View(scene, np.array(box_times(scene.duration_seconds)), offset, False)


def test_a_lesson_shows_what_the_processor_would_show(processor: SmolVLMProcessor) -> None:
    view = view_of(1, offset=7)
    frames = np.full((len(view.times), 32, 32, 3), 90, np.uint8)
    clip = Clip(frames, view.times + view.offset, view.end, "x.mp4")
    expected = prompt_inputs(processor, clip, "What?")["input_ids"][0].tolist()
    own = f"{view.prefix()}What?{many_tasks.EOS}\nAssistant:"
    assert processor.tokenizer(own)["input_ids"] == expected
    visual = expected.count(processor.image_token_id)
    assert visual == len(view.times)
    # Three marks a frame beside its visual token, and some thirty tokens for all the rest.
    assert len(expected) < 4 * visual + 30


def test_the_fixed_wording_is_one_token_and_any_text_survives(processor: SmolVLMProcessor) -> None:
    tokenizer = processor.tokenizer
    fields = {"query": "q", "num_boxes": "8", "object": "o", "first_box": "b", "question": "q",
              "options": "o", "labels": "l"}  # fmt: skip
    for task in TEMPLATES:
        prompt = render_prompt(task, **fields)
        assert len(tokenizer(prompt)["input_ids"]) < 14
    for text in ("Any words, naïve or 漢字!", "3.75 to 12.5", "[[0.1, 0.25, 0.5, 1.0]]"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_frames_keep_their_order_and_do_not_tell_time_by_their_number() -> None:
    rng = np.random.default_rng(0)
    drawn = [frame_times(rng, 20.0, 12) for _ in range(200)]
    for times in drawn:
        assert (np.diff(times) > 0).all()
        assert 0 <= times[0] <= times[-1] <= 20
    # A frame's number says little about its second: the sixth is up to half a clip off.
    assert np.ptp([times[5] for times in drawn]) > 4


@pytest.mark.parametrize("kind", [*dict.fromkeys(ALL_TOGETHER.kinds), "where", "tracking"])
def test_plain_questions_are_answered_truthfully_and_tasks_loosely(kind: str) -> None:
    rng = np.random.default_rng(0)
    view = view_of(3, track=kind in ("where", "tracking"))
    told = {lesson(kind, view, rng)[1] for _ in range(40)}
    if kind in TEMPLATES:
        assert kind == "quality" or len(told) > 1
    elif kind == "list":
        assert len(told) == 1
    elif kind == "when":
        truth = {(round(e.start_seconds), round(e.end_seconds)) for e in view.scene.events}
        assert told == {f"{start} to {end}" for start, end in truth}
    if kind == "temporal_grounding":
        spans = [text.partition("<answer>")[2].partition("</answer>")[0] for text in told]
        assert len(set(spans)) > 5


def test_a_batch_is_a_function_of_seed_and_step(processor: SmolVLMProcessor) -> None:
    lessons = Lessons(processor, ALL_TOGETHER, clips=3, seed=0)
    for step, kinds in ((0, ALL_TOGETHER.kinds), (3, TRACK_KINDS)):
        one, two = lessons(step), lessons(step)
        assert one.kinds == kinds
        assert torch.equal(one.tokens, two.tokens)
        assert torch.equal(one.video, two.video)
        assert one.tokens.shape[:2] == (3, len(kinds))
        assert (one.target <= one.mask).all()
        images = (one.prefix == processor.image_token_id).sum(-1)
        assert (images == one.video.shape[1]).all()
    assert not torch.equal(lessons(0).video, lessons(1).video)


def test_later_stages_have_something_to_look_up() -> None:
    rng = np.random.default_rng(0)

    def visits(stage: Stage) -> list[int]:
        counts = [int(rng.choice(stage.frame_counts)) for _ in range(200)]
        return [len(draw_view(rng, n, stage, track=False).scene.events) for n in counts]

    assert np.mean(np.array(visits(IN_ORDER)) > 1) < 0.6
    for stage in (BY_NAME, ALL_TOGETHER):
        assert np.mean(np.array(visits(stage)) > 1) > 0.95


def test_the_probe_is_told_what_a_frame_shows() -> None:
    view = draw_view(np.random.default_rng(5), 12, IN_ORDER, track=False)
    labels = seen_in(view)
    for time, row in zip(view.times, labels, strict=True):
        shown = view.scene.visible_at(time)
        assert row[:-3].sum() == 2 * len(shown)
        assert (row[-2:] >= 0).all() == bool(shown)


def test_the_base_is_trained_from_nothing_by_one_command(tmp_path: Path) -> None:
    arguments = {
        "steps": 3,
        "by_name_steps": 2,
        "all_together_steps": 1,
        "vision_steps": 1,
        "clips": 2,
        "lr": 1e-3,
        "seed": 0,
        "bf16": False,
    }
    train_many_tasks_model.train(Namespace(output=tmp_path / "a", start_from=None, **arguments))
    _, processor = load_model(tmp_path / "a")
    record = json.loads((tmp_path / "a" / "training.json").read_text())
    assert (record["arguments"], record["start_from"]) == (arguments, None)
    assert record["command"] == "python -m tools.train_many_tasks_model"

    arguments |= {"vision_steps": 0, "seed": 1}
    train_many_tasks_model.train(
        Namespace(output=tmp_path / "b", start_from=tmp_path / "a", **arguments)
    )
    _, again = load_model(tmp_path / "b")
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert json.loads((tmp_path / "b" / "training.json").read_text())["start_from"]


def test_the_shipped_base_answers_every_task_in_its_form() -> None:
    model, shipped = load_model(SAMPLES / "many_tasks_model")
    rows = read_jsonl(SAMPLES / "many_tasks" / "heldout.jsonl")
    asked = [next(r for r in rows[i:] if r["task"] == task) for task in TEMPLATES for i in (0, 99)]
    loader = PromptLoader(shipped, fps=1, max_frames=24)
    texts = answer_greedily(model, loader, asked, max_completion_length=72)
    columns = {key: [row.get(key) for row in asked] for row in asked for key in row}
    paid = format_reward(texts, **columns)
    assert sum(paid) >= 0.8 * len(asked), list(zip(texts, paid, strict=True))
