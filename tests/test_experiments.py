"""The recorded comparisons of notebook 07: tables from raw scores, logs from saved answers."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tools import experiment_tables, experiments
from vcr1_lib.plots import read_log
from vcr1_lib.rewards.panel import RewardPanel

JOINT = experiments.RUNS / "joint-seed0"


def test_a_verdict_follows_the_intervals() -> None:
    low, high = ({"mean": m, "low": m - 5, "high": m + 5} for m in (40.0, 60.0))
    near = {"mean": 45.0, "low": 41.0, "high": 51.0}
    yes, no = "reproduced in miniature", "not reproduced"
    for before, after, rises, told in (
        (low, high, True, yes), (low, near, True, no), (high, low, True, no),
        (low, near, False, yes), (low, high, False, yes), (high, low, False, no),
        (low, None, True, "cannot be tested here"),
    ):  # fmt: skip
        assert experiment_tables.verdict(before, after, rises=rises) == told


def test_the_tables_are_what_the_recorded_scores_give() -> None:
    text = json.dumps(experiment_tables.tables(), indent=1) + "\n"
    assert experiment_tables.TABLES.read_text(encoding="utf-8") == text


def test_every_recorded_run_is_in_the_queue_and_says_how_it_was_made() -> None:
    queued = {run.folder.name: run for run in experiments.queue()}
    recorded = [p.parent for p in experiments.RUNS.glob("*/scores.json") if p.parent.name != "base"]
    assert recorded
    for folder in recorded:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        run = queued[folder.name]
        assert {k: settings[k] for k in ("steps", "learning_rate", "method", "think", "seed")} == {
            "steps": run.steps,
            "learning_rate": run.learning_rate,
            "method": run.method,
            "think": run.think,
            "seed": run.seed,
        }
        assert settings["machine"]["torch"]


def test_rewards_per_task_in_the_log_equal_a_recomputation_from_the_answers() -> None:
    records = {row["id"]: row for row in experiments.read_split("train")}
    log = [row for row in read_log(JOINT / "metrics.jsonl") if "reward" in row]
    panel = RewardPanel(experiments.REWARDS)
    lines = (JOINT / "completions.jsonl").read_text(encoding="utf-8").splitlines()
    checked = 0
    for step, group in groupby(map(json.loads, lines), key=lambda row: row["step"]):
        rows = list(group)
        for task in {records[row["id"]]["task"] for row in rows}:
            own = [row for row in rows if records[row["id"]]["task"] == task]
            graded = panel([r["completion"] for r in own], [records[r["id"]] for r in own])
            mean = float(graded.rewards.nan_to_num().sum(-1).mean())
            assert log[step][f"reward/{task}"] == pytest.approx(mean, abs=1e-3)
            checked += 1
    assert checked >= 60


def test_a_run_leaves_scores_of_every_question_it_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, chat = experiments.read_split, experiments.read_chat

    def few(split: str, tasks: tuple[str, ...] = experiments.ALL) -> list[dict[str, Any]]:
        rows = whole(split, tasks)
        return rows if split == "train" else [rows[i] for i in range(0, len(rows), 40)]

    monkeypatch.setattr(experiments, "RUNS", tmp_path)
    monkeypatch.setattr(experiments, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(experiments, "read_split", few)
    monkeypatch.setattr(experiments, "read_chat", lambda split: chat(split)[:8])
    for run in (
        experiments.Run("a", steps=1, questions=2, think=False),
        experiments.Run("b", steps=1, questions=2, method="sft"),
    ):
        experiments.do(run)
        scores = json.loads((run.folder / "scores.json").read_text(encoding="utf-8"))
        asked = {row["id"] for row in few("heldout")}
        assert {name for task in scores["heldout"].values() for name in task} == asked
        assert set(scores["grey"]) == {experiments.GROUNDING}
        assert len(scores["chat"]) == 8
        assert (run.folder / "metrics.jsonl").exists()
        assert (tmp_path / "kept" / run.folder.name / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "truth", "right"),
    [
        ("blue", "blue", True),
        ("<think>I look.</think><answer>Blue.</answer>", "blue", True),
        ("<think>blue</think><answer>red</answer>", "blue", False),
        ("not blue", "blue", False),
    ],
)
def test_general_questions_are_read_with_tags_or_without(
    text: str, truth: str, right: bool
) -> None:
    assert experiments.says(text, truth) is right
