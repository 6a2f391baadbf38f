"""The experiment of notebook 08: its clips, its ways of looking, its rule, its recorded result."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import FAMILIES

from tools import clue_experiment as experiment
from tools.build_clue_sets import CLIPS, LONG, SECONDS, SETS, SHORT, SLOW, ask_about, draw_scene
from vcr1_lib.datasets import read_jsonl
from vcr1_lib.groups import Prompts
from vcr1_lib.inference import Asker, Find, Sight, ask_iteratively, ask_with_clues
from vcr1_lib.video import Clip, read_clip

ROOT = Path(__file__).parents[1]
RECORDS = read_jsonl(ROOT / "data_samples" / "clue_sets" / "questions.jsonl")
RESULTS = sorted((ROOT / "data_samples" / "runs" / "clues").glob("*.json"))


@dataclass(frozen=True)
class Scripted(Asker):
    """A real model and processor whose answers are given."""

    lines: list[str] = field(default_factory=list)

    def answer(self, prompts: Prompts) -> tuple[str, int]:
        return self.lines.pop(0), 1


@pytest.mark.parametrize("name", SETS)
def test_a_set_shows_what_it_says(name: str) -> None:
    for index in range(40):
        scene, target = draw_scene(name, index)
        spans = [(e.start_seconds, e.end_seconds) for e in scene.events]
        edges = [0.0, *(edge for span in spans for edge in span), SECONDS]
        gaps = np.diff(edges)[::2]
        assert gaps.min() > 0.8
        lengths = SLOW if name == "slow" else SHORT
        assert lengths[0] - 0.2 < target.end_seconds - target.start_seconds < lengths[1] + 0.2
        others = [event for event in scene.events if event is not target]
        assert all(e.end_seconds - e.start_seconds > LONG[0] - 0.2 for e in others)
        assert len(others) == (2 if name == "lookalike" else 1)
        asked = ask_about(name, index, target)
        assert asked["question"] == f"What colour is the {target.shape}?"
        assert [e.colour for e in scene.events if e.shape == target.shape] == [asked["answer"]]


def test_the_shipped_questions_are_those_of_the_seeds() -> None:
    assert len(RECORDS) == CLIPS * len(SETS)
    for record in RECORDS[:: CLIPS // 2]:
        name, index = record["set"], int(record["id"][-2:])
        expected = ask_about(name, index, draw_scene(name, index)[1])
        assert {key: record[key] for key in expected if key != "video"} == {
            key: value for key, value in expected.items() if key != "video"
        }
        assert read_clip(record["video"], num_frames=2).duration_seconds == SECONDS


@pytest.mark.parametrize("listed", ["red ring 4 to 6; blue cross 9 to 12", "nothing"])
def test_the_second_look_is_the_librarys(listed: str) -> None:
    record = RECORDS[0] | {"object": "red ring"}
    asker = Scripted(*FAMILIES["smolvlm"](), lines=[listed, "red"])
    find = Find(experiment.LIST, lambda text: experiment.clue_of(text, record, "colour"))
    reply = ask_with_clues(
        asker, record["video"], record["question"], first=Sight(12), second=Sight(12),
        pad_seconds=experiment.PAD_SECONDS, find=find,
    )  # fmt: skip
    clip, pointed = experiment.closer(
        record, experiment.clue_of(listed, record, "colour"), num_frames=12
    )
    assert pointed == (listed != "nothing")
    assert clip.times_seconds.tolist() == reply.looks[1].clip.times_seconds.tolist()


def test_passes_are_the_librarys() -> None:
    lines = ["<answer>3 to 6</answer>", "<answer>4 to 6</answer>", "<answer>4 to 6</answer>"]
    seen: list[list[float]] = []
    said = iter(lines)

    def ask(clips: list[Clip], prompts: list[str]) -> list[str]:
        seen.append(clips[0].times_seconds.tolist())
        return [next(said)]

    ((text, used),) = experiment.in_passes(ask, RECORDS[:1], 8)
    asker = Scripted(*FAMILIES["smolvlm"](), lines=list(lines))
    reply = ask_iteratively(
        asker, RECORDS[0]["video"], RECORDS[0], passes=experiment.PASSES, sight=Sight(8)
    )
    assert (text, used) == (reply.text, 8 * len(reply.looks))
    assert seen == [look.clip.times_seconds.tolist() for look in reply.looks]


def test_answers_are_scored_by_name_and_time() -> None:
    record: dict[str, Any] = {"object": "red ring", "span": [4.0, 8.0], "answer": "red"}
    listed = "red ring 4 to 6; red circle 4 to 8; blue ring 7 to 8"
    assert experiment.score(listed, record, "listed") == 0.5
    assert experiment.score("red circle 4 to 8", record, "listed") == 0
    assert experiment.score("<answer>4 to 8</answer>", record, "when") == 1
    assert experiment.score("no", record, "when") == 0
    assert [experiment.score(text, record, "colour") for text in ("red", "blue")] == [1, 0]
    assert experiment.clue_of(listed, record, "colour") == [(4, 6), (7, 8)]
    assert experiment.clue_of("blue cross 1 to 2", record, "listed") == [(1, 2)]


def test_the_rule() -> None:
    assert experiment.verdict(0.01, 0.2) == "helps"
    assert experiment.verdict(-0.2, -0.01) == "hurts"
    for low, high in ((0.0, 0.2), (-0.2, 0.0), (-0.1, 0.1)):
        assert experiment.verdict(low, high) == "no difference"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_recorded_result_holds_every_question_and_its_own_scores(path: Path) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    known = {record["id"]: record for record in RECORDS}
    keys = {(row["id"], row["question"], row["budget"]) for row in rows}
    budgets = {row["budget"] for row in rows}
    assert len(keys) == len(rows) == len(known) * len(experiment.QUESTIONS) * len(budgets)
    assert budgets <= set(experiment.BUDGETS)
    assert experiment.BUDGETS[0] in budgets
    for row in rows:
        for way, text in row.get("texts", {}).items():
            found = experiment.score(text, known[row["id"]], row["question"])
            assert row["scores"][way] == round(found, 4)
        assert row.get("passes_frames", 0) <= row["budget"]
    compared = experiment.tables(rows)
    assert len(compared) == len(budgets) * len(SETS) * (4 + 3 + 3)
    assert all(row["num"] == CLIPS for row in compared)
