"""The recorded sick runs show what notebook 05 says of them, and their faults are faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.record_sick_runs import FAULTS, half_the_time, misaligned_iou_reward, plain_string
from vcr1_lib.plots import read_log
from vcr1_lib.video import Clip

WARD = Path(__file__).parents[1] / "data_samples" / "runs" / "sick"
MAX_BYTES = 60_000


def column(name: str, key: str) -> list[float]:
    return [row[key] for row in read_log(WARD / name / "metrics.jsonl") if key in row]


def test_each_fault_is_recorded_whole_and_small() -> None:
    assert {path.name for path in WARD.iterdir()} == set(FAULTS)
    for name, fault in FAULTS.items():
        sizes = {path.name: path.stat().st_size for path in (WARD / name).iterdir()}
        assert set(sizes) == {"metrics.jsonl", "completions.jsonl", "config.json"}
        assert sum(sizes.values()) <= MAX_BYTES
        config = json.loads((WARD / name / "config.json").read_text())
        assert config["fault"] == fault.told
        assert config["machine"]["torch"]
        assert len(column(name, "loss")) == 40
        lines = (WARD / name / "completions.jsonl").read_text().splitlines()
        assert {json.loads(line)["step"] for line in lines} == {0, 10, 20, 39}


def test_each_run_shows_its_symptom() -> None:
    scores = {name: column(name, "eval_mIoU") for name in FAULTS}
    assert scores["healthy"][-1] > scores["healthy"][0] + 0.2
    assert np.mean(column("no_variance", "frac_reward_zero_std")[20:]) > 0.5
    assert np.mean(column("no_variance", "reward_std")) < 0.1
    assert scores["learning_rate"][-1] == 0
    assert max(column("learning_rate", "grad_norm")[:5]) > 10 * column("healthy", "grad_norm")[0]
    assert scores["misaligned_truth"][-1] < scores["misaligned_truth"][0] - 0.1
    assert np.mean(column("misaligned_truth", "rewards/format_reward/mean")) > 0.95
    assert np.mean(column("truncated", "completions/clipped_ratio")) > 0.99
    assert max(column("plain_prompt", "rewards/format_reward/mean")) < 0.1
    for name in ("plain_prompt", "fps_dropped"):
        assert scores[name][0] < 0.3 * scores["healthy"][0]


def test_the_faults_do_what_they_say() -> None:
    spans = [[0, 10]] * 2 + [[10, 20]] * 2
    texts = ["<answer>0 to 10</answer>"] * 2 + ["<answer>10 to 20</answer>"] * 2
    columns: dict[str, Any] = {"duration": [20.0] * 4, "num_generations": 2}
    assert misaligned_iou_reward(texts, spans, **columns) == [0] * 4
    clip = Clip(np.zeros((2, 1, 1, 3), np.uint8), np.array([0.0, 2.0]), 4.0, "x")
    assert half_the_time(clip).times_seconds.tolist() == [0, 1]
    content = [{"type": "video"}, {"type": "text", "text": "When?"}]
    assert plain_string([{"role": "user", "content": content}]) == "<video>When?"


def test_only_one_setting_differs() -> None:
    healthy = json.loads((WARD / "healthy" / "config.json").read_text())
    for name, fault in FAULTS.items():
        config = json.loads((WARD / name / "config.json").read_text())
        changed = {key for key in config if config[key] != healthy[key]} - {"name", "fault"}
        assert changed <= set(fault.options), name
        assert len(changed) <= 1


@pytest.mark.parametrize("name", FAULTS)
def test_no_answer_holds_a_path(name: str) -> None:
    text = (WARD / name / "config.json").read_text()
    assert "/" not in text
