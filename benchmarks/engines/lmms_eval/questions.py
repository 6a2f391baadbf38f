"""Write the local tasks' questions about shipped clips: `tasks/when.jsonl`, `tasks/choice.jsonl`.

    python benchmarks/engines/lmms_eval/questions.py

"When" asks about held-out clips, as the library's own evaluation does. "Choice" asks about
training clips: the embedded model cannot name the held-out pairs of colour and shape.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vcr1_lib.datasets.benchmarks import read_benchmark

COUNT, NUM_OPTIONS = 24, 4
KEYS = ("id", "video", "query", "span", "duration")


def choices(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    shown = [r["query"].removeprefix("a ").removesuffix(" is on screen.") for r in records]
    kinds = sorted(set(shown))
    rows = []
    for i, (record, name) in enumerate(zip(records, shown, strict=True)):
        others = [kind for kind in kinds if kind != name]
        options = [others[(i + k) % len(others)] for k in range(NUM_OPTIONS - 1)]
        options.insert(i % NUM_OPTIONS, name)
        question = f"What is on screen at 00:{int(sum(record['span']) / 2):02d}?"
        row = {"id": record["id"], "video": record["video"], "question": question}
        rows.append(row | {"options": options, "answer": "ABCD"[i % NUM_OPTIONS]})
    return rows


def main() -> None:
    held_out, train = read_benchmark("toyworld")
    when = [{key: record[key] for key in KEYS} for record in held_out[:COUNT]]
    for name, rows in (("when", when), ("choice", choices(train[:COUNT]))):
        path = Path(__file__).parent / "tasks" / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
