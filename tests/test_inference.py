"""Asking a video: what each look saw, which answer counts, and that a chat encodes once."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from tiny import FAMILIES

from vcr1_lib.groups import Prompts, encode_prompts, score_groups
from vcr1_lib.groups.separate_rows import score_rows
from vcr1_lib.inference import (
    Asker,
    Chat,
    Decision,
    Find,
    Sight,
    ask,
    ask_iteratively,
    ask_with_clues,
)
from vcr1_lib.inference.clues import Question
from vcr1_lib.models import collate_prompts, family_of
from vcr1_lib.models.loading import load_model
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.prompts import render_question
from vcr1_lib.video import read_clip

SAMPLES = Path(__file__).parents[1] / "data_samples"
VIDEO = str(SAMPLES / "clips" / "rate12.mp4")
UNEVEN = str(SAMPLES / "clips" / "variable.mp4")
GROUNDING = {"task": "temporal_grounding", "query": "a square is on screen."}
QUESTION = "What falls?"
SMALL = Sight(8)


@dataclass(frozen=True)
class Scripted(Asker):
    """A real model and processor whose answers are given."""

    lines: list[str] = field(default_factory=list)

    def answer(self, prompts: Prompts) -> tuple[str, int]:
        return self.lines.pop(0), 1


def scripted(*lines: str, family: str = "smolvlm") -> Scripted:
    return Scripted(*FAMILIES[family](), lines=list(lines))


def container_times(video: str) -> list[float]:
    with av.open(video) as container:
        (stream,) = container.streams.video
        stamps = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
        return [float((stamp - stamps[0]) * stream.time_base) for stamp in stamps]


def clue(*spans: tuple[float, float]) -> str:
    return f"<think>Look.</think><answer>B</answer><clue>{list(spans)}</clue>"


def test_one_look() -> None:
    reply = ask(scripted("<think>Seen.</think><answer>B</answer>"), VIDEO, QUESTION, sight=SMALL)
    assert (reply.answer, reply.thought, reply.spans) == ("B", "Seen.", [])
    assert reply.decision is Decision.ONE_LOOK
    assert len(reply.looks[0].clip.frames) == 8
    assert reply.tokens == reply.looks[0].prompt_tokens + 1


def test_an_answer_without_tags_is_the_answer() -> None:
    reply = ask(scripted(" A cup. "), VIDEO, QUESTION, sight=SMALL)
    assert (reply.answer, reply.thought) == ("A cup.", None)


def test_the_second_look_stays_where_the_clue_points() -> None:
    asker = scripted(clue((1, 1.5)), "<answer>A</answer>")
    reply = ask_with_clues(asker, VIDEO, QUESTION, first=SMALL, second=SMALL, pad_seconds=0.25)
    assert (reply.answer, reply.decision) == ("A", Decision.CLUE)
    assert reply.spans == [(1.0, 1.5)]
    seen = reply.looks[1].clip.times_seconds
    # The frame on screen at 0.75 s may have started a twelfth of a second before.
    assert seen.min() >= 0.75 - 1 / 12
    assert seen.max() <= 1.75
    assert "<clue>" in reply.looks[0].prompt
    assert reply.looks[1].prompt == QUESTION


@pytest.mark.parametrize(
    "useless", [clue(), clue((9, 7)), clue((500, 600)), "no tags at all", "", clue() + clue()]
)
def test_without_a_usable_clue(useless: str) -> None:
    reply = ask_with_clues(scripted(useless), VIDEO, QUESTION, first=SMALL, second=SMALL)
    assert (reply.text, len(reply.looks), reply.decision) == (useless, 1, Decision.NO_CLUE)
    asker = scripted(useless, "<answer>A</answer>")
    reply = ask_with_clues(asker, VIDEO, QUESTION, first=SMALL, second=Sight(4), look_anyway=True)
    assert (reply.answer, reply.decision) == ("A", Decision.UNIFORM)
    assert len(reply.looks[1].clip.frames) == 4


def test_a_clue_may_be_looked_for_with_another_question() -> None:
    find = Find("List every visit.", lambda text: [(1.0, 1.5)] if "square" in text else [])
    for said, decision in (("a square", Decision.CLUE), ("nothing", Decision.UNIFORM)):
        reply = ask_with_clues(
            scripted(said, "red"), VIDEO, {"task": "caption"}, first=SMALL, second=SMALL, find=find
        )
        assert (reply.answer, reply.decision) == ("red", decision)
        assert reply.looks[0].prompt == "List every visit."
        assert reply.looks[1].prompt == render_question({"task": "caption"})


def test_hundreds_of_spans_are_bounded() -> None:
    many = clue(*[(i / 100, i / 100 + 0.001) for i in range(0, 30)])
    asker = scripted(many, "<answer>A</answer>")
    reply = ask_with_clues(asker, VIDEO, QUESTION, first=SMALL, second=SMALL)
    assert len(reply.looks[-1].clip.frames) <= 8


def test_passes_stop_when_the_spans_settle() -> None:
    lines = ["<answer>1 to 2</answer>", "<answer>1 to 3</answer>", "<answer>1 to 3</answer>", "no"]
    asker = scripted(*lines)
    reply = ask_iteratively(asker, VIDEO, GROUNDING, passes=9, sight=SMALL)
    assert (len(reply.looks), reply.decision) == (3, Decision.SETTLED)
    assert {len(look.clip.frames) for look in reply.looks} == {8}
    inside = [((t >= 1) & (t < 2)).mean() for t in (x.clip.times_seconds for x in reply.looks[:2])]
    assert inside[1] > inside[0]


def test_a_lost_clue_is_not_kept() -> None:
    asker = scripted("<answer>1 to 2</answer>", "gone", "<answer>0 to 1</answer>")
    reply = ask_iteratively(asker, VIDEO, GROUNDING, passes=3, sight=SMALL)
    assert reply.decision is Decision.ALL_PASSES
    even = reply.looks[0].clip.times_seconds
    assert reply.looks[1].clip.times_seconds.tolist() != even.tolist()
    assert reply.looks[2].clip.times_seconds.tolist() == even.tolist()


def test_passes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="passes >= 1"):
        ask_iteratively(scripted(), VIDEO, GROUNDING, passes=0)


def true_steps(video: str, times: np.ndarray, together: int) -> list[float]:
    """Each temporal step's second, from the container's own stamps."""
    stamps = container_times(video)
    shown = [min(stamps, key=lambda stamp: abs(stamp - time)) for time in times]
    assert np.abs(np.array(shown) - times).max() < 1e-3
    return shown[::together]


@pytest.mark.parametrize("video", [VIDEO, UNEVEN])
@pytest.mark.parametrize("way", ["uniform", "a part", "two parts"])
def test_qwens_positions_are_the_containers_times(video: str, way: str) -> None:
    asker = Asker(*FAMILIES["qwen2_5_vl"]())
    options: dict[str, Any] = {
        "uniform": {"num_frames": 6},
        "a part": {"times_seconds": [1.0, 1.25, 1.5, 1.75]},
        "two parts": {"times_seconds": [0.5, 0.75, 2.5, 3.0]},
    }[way]
    clip = read_clip(video, **options)
    prompts = asker.encode(clip, QUESTION)
    seen = prompts.input_ids[0] == asker.model.config.video_token_id
    temporal = prompts.position_ids[0, 0][seen]
    steps = true_steps(video, clip.times_seconds, together=2)
    per_step = int(seen.sum()) // len(steps)
    first = int(seen.nonzero()[0])  # the text before it counts from 0
    found = (temporal.reshape(len(steps), per_step)[:, 0] - first).tolist()
    if way == "uniform":  # the model's own rule: one step, floored
        step = 2 / (len(clip.frames) / (clip.metadata()["total_num_frames"] / 1000))
        assert found == [int(2 * step * i) for i in range(len(steps))]
    else:
        assert found == [int(2 * second) for second in steps]


@pytest.mark.parametrize("video", [VIDEO, UNEVEN])
def test_smolvlms_stamps_are_the_containers_times(video: str) -> None:
    asker = Asker(*FAMILIES["smolvlm"]())
    clip = read_clip(video, times_seconds=[0.5, 1.0, 2.5, 3.0])
    text = asker.processor.tokenizer.decode(asker.encode(clip, QUESTION).input_ids[0])
    stamps = [int(h) * 60 + int(m) for h, m in re.findall(r"(\d\d):(\d\d)", text)]
    steps = true_steps(video, clip.times_seconds, together=1)
    assert stamps[-len(steps) :] == [int(second) for second in steps]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_turn_encodes_nothing_and_answers_the_same(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = FAMILIES[family]()
    calls: list[object] = []
    for part in family_of(model).tower(model):
        part.register_forward_hook(lambda module, *_: calls.append(module))
    chat = Chat(Asker(model, processor, max_completion_length=6), VIDEO, SMALL)
    first = chat.say("What is it?")
    encoded = len(calls)
    assert encoded > 0
    second = chat.say("And then?")
    assert len(calls) == encoded
    fresh = chat.asker.encode(chat.clip, "What is it?", first, "And then?")
    assert chat.asker.answer(fresh)[0] == second
    assert chat.turns == ["What is it?", first, "And then?", second]


def test_a_chat_may_consult_clues() -> None:
    asker = scripted(clue((1, 2)), "<answer>A cup.</answer>", "Yes.")
    chat = Chat(asker, VIDEO, SMALL)
    assert chat.say(QUESTION, clues=True) == "<answer>A cup.</answer>"
    assert chat.say("Sure?") == "Yes."
    assert len(chat.turns) == 4


def test_text_streams_and_time_is_counted() -> None:
    pieces: list[str] = []
    ticks = itertools.count()
    model, processor = load_model(SAMPLES / "tiny_model")
    asker = Asker(model, processor, 48, on_text=pieces.append, clock=lambda: float(next(ticks)))
    reply = ask(asker, VIDEO, GROUNDING, sight=Sight(24))
    assert "".join(pieces) == reply.text
    assert len(pieces) > 5
    assert reply.looks[0].seconds == 1
    assert not model.training


def test_an_adapted_model_answers() -> None:
    from peft import LoraConfig, get_peft_model

    model, processor = FAMILIES["smolvlm"]()
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"])).train()
    asker = Asker(adapted, processor, max_completion_length=4)
    assert len(ask(asker, VIDEO, QUESTION, sight=SMALL).looks) == 1
    assert adapted.training  # as it was


def test_a_missing_video_is_named() -> None:
    question: Question = QUESTION
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        ask(scripted(), "none.mp4", question)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_about_an_uneven_clip_shares_its_prompt(family: str) -> None:
    model, processor = FAMILIES[family]()
    clip = read_clip(VIDEO, times_seconds=[0.5, 0.75, 2.5, 3.0])
    inputs = prompt_inputs(processor, clip, QUESTION)
    batch = collate_prompts([inputs], family_of(model), processor.tokenizer.pad_token_id)
    tokens = torch.randint(97, 120, (1, 3, 5))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    packed = score_groups(model, encode_prompts(model, batch), tokens, mask)
    torch.testing.assert_close(packed, score_rows(model, batch, tokens, mask), atol=1e-5, rtol=0)
