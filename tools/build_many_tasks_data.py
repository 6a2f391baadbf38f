"""Film the clips of ``data_samples/many_tasks`` and write a record of every task about them.

    python -m tools.build_many_tasks_data

A split is one file of JSON lines, read by ``vcr1_lib.datasets.read_jsonl``. General questions,
some of two turns, stand in ``chat_SPLIT.jsonl``: a clip with its ``turns`` of question and answer.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vcr1_lib.toyworld import write_mp4
from vcr1_lib.toyworld.scenes import (
    DAMAGES,
    WORLDS,
    TaskSplit,
    damage,
    sample_track,
    sample_visits,
)
from vcr1_lib.toyworld.tasks import ask_any, dialogue, task_columns

# Clips of visits, damaged clips of visits, clips of tracks.
CLIPS: dict[TaskSplit, tuple[int, int, int]] = {
    "train": (64, 32, 48),
    "heldout": (64, 32, 48),
    "far": (48, 24, 32),
}
FRAMES_PER_SECOND: dict[TaskSplit, int] = {"train": 4, "heldout": 4, "far": 6}
SIZE = 64
VISIT_TASKS = ("temporal_grounding", "multiple_choice", "grounded_qa", "caption")
QUESTIONS_A_CLIP = 2
CHATS_A_CLIP = 2


def build_split(folder: Path, split: TaskSplit) -> None:
    """Write a split's clips, records and general questions."""
    seed = WORLDS[split].seeds.start
    letter = split[0].upper()
    visits, damaged, tracks = CLIPS[split]
    records: list[dict[str, Any]] = []
    chats: list[dict[str, Any]] = []

    def film(kind: str, index: int, scene: Any, **options: Any) -> dict[str, str]:
        name = f"{letter}{kind}{index:03d}"
        path = folder / "videos" / f"{name}.mp4"
        write_mp4(scene, path, fps=FRAMES_PER_SECOND[split], size=SIZE, **options)
        return {"id": name, "video": f"videos/{path.name}"}

    def record(clip: dict[str, str], task: str, place: int, columns: dict[str, Any]) -> None:
        records.append({**clip, "id": f"{clip['id']}:{task}:{place}", **columns})

    for index in range(visits):
        scene, rng = sample_visits(seed + index, split), np.random.default_rng((seed + index, 3))
        clip = film("v", index, scene)
        for task in VISIT_TASKS:
            for place in range(1 if task == "caption" else QUESTIONS_A_CLIP):
                record(clip, task, place, task_columns(task, scene, rng))
        if index < damaged:
            record(clip, "quality", 0, task_columns("quality", scene, rng))
        asked = [ask_any(scene, rng) for _ in range(CHATS_A_CLIP)]
        turns = [[(q.text, q.answer)] for q in asked] + [dialogue(scene, rng)]
        chats += [{**clip, "id": f"{clip['id']}:chat:{i}", "turns": t} for i, t in enumerate(turns)]
    for index in range(damaged):
        number = seed + visits + index
        scene, rng = sample_visits(number, split), np.random.default_rng((number, 3))
        spoil = partial(damage, kind=DAMAGES[index % len(DAMAGES)], seed=number)
        clip = film("q", index, scene, change=spoil)
        record(clip, "quality", 0, task_columns("quality", scene, rng, damaged=True))
    for index in range(tracks):
        scene, rng = sample_track(seed + index, split), np.random.default_rng((seed + index, 3))
        record(film("t", index, scene), "tracking", 0, task_columns("tracking", scene, rng))
    for name, rows in ((split, records), (f"chat_{split}", chats)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data_samples/many_tasks"))
    folder = parser.parse_args().output
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    for split in CLIPS:
        build_split(folder, split)


if __name__ == "__main__":
    main()
