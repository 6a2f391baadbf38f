"""Write records as ms-swift's JSON Lines: the question, its video, and the columns of truth.

python benchmarks/engines/ms_swift/dataset.py ANNOTATIONS VIDEOS OUTPUT.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vcr1_lib.datasets import read_records
from vcr1_lib.prompts import render_question
from vcr1_lib.rewards.grading import COLUMNS
from vcr1_lib.training.callbacks import write_rows


def swift_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row: ``<video>`` in the text stands where the clip goes."""
    question = {"role": "user", "content": f"<video>{render_question(record)}"}
    truth = {name: record[name] for name in sorted(COLUMNS & record.keys())}
    return {"messages": [question], "videos": [str(Path(record["video"]).resolve())], **truth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations")
    parser.add_argument("videos")
    parser.add_argument("output", type=Path)
    parser.add_argument("--lengths", help="Charades-STA's table of clip lengths")
    told = parser.parse_args()
    options = {"lengths": told.lengths} if told.lengths else {}
    write_rows(told.output, map(swift_row, read_records(told.annotations, told.videos, **options)))


if __name__ == "__main__":
    main()
