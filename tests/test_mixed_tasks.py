"""Every task's shipped samples: their truth earns the most, and one run trains on all of them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from test_formats import READERS

from vcr1_lib.models.loading import load_model
from vcr1_lib.prompts import render_gold
from vcr1_lib.rewards import PRESETS, track_iou_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.callbacks import COMPLETIONS_FILE
from vcr1_lib.training.config import VideoGRPOConfig

SAMPLES = Path(__file__).parents[1] / "data_samples"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", READERS)
def test_the_truth_of_every_shipped_sample_earns_the_most(name: str, strict: bool) -> None:
    read, task, _ = READERS[name]
    for record in read():
        text = render_gold(task, record, thought="I saw it.")
        columns = {key: [value] for key, value in record.items()}
        for reward, _ in PRESETS[task]:
            assert reward([text], strict=strict, **columns) == [1.0], (reward.__name__, text)


def test_one_run_trains_on_rows_of_every_task(tmp_path: Path) -> None:
    records = {task: read()[0] for read, task, _ in READERS.values()}
    assert set(records) == set(PRESETS)
    rewards = list({reward.__name__: reward for p in PRESETS.values() for reward, _ in p}.values())
    model, processor = load_model(SAMPLES / "tiny_model")
    config = VideoGRPOConfig(
        output_dir=str(tmp_path), max_steps=2, num_generations=2, max_completion_length=8, fps=1,
        max_frames=8, use_cpu=True, disable_tqdm=True, save_strategy="no", log_completions=True,
        per_device_train_batch_size=3,
    )  # fmt: skip
    trainer = VideoGRPOTrainer(model, rewards, config, list(records.values()), None, processor)
    trainer.train()

    rows = [json.loads(line) for line in (tmp_path / COMPLETIONS_FILE).read_text().splitlines()]
    task_of = {record["id"]: task for task, record in records.items()}
    scored = defaultdict(set)
    for row in rows:
        names = {name for name, value in row["rewards"].items() if value is not None}
        scored[task_of[row["id"]]] |= names
        # The base answers "when" only: what it says of other tasks is told apart by reason.
        if row["rewards"]["format_reward"] == 0:
            assert row["format_reward_reason"]
    expected: dict[str, Any] = {
        task: {reward.__name__ for reward, _ in preset} for task, preset in PRESETS.items()
    }
    assert dict(scored) == expected
    assert track_iou_reward.__name__ in trainer.rewards.names
