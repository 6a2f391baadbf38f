"""Answers in the files that other people's scorers read, by dataset.

Charades-STA and NExT-GQA are in :mod:`vcr1_lib.metrics.predictions`, which reads them back too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vcr1_lib.metrics.predictions import write_charades, write_nextgqa
from vcr1_lib.metrics.scoring import Record, read_answer

Texts = Sequence[str | None]


def write_activitynet(path: str | Path, texts: Texts, records: Sequence[Record]) -> None:
    """Write ``{"results": {"v_ID": [{"sentence", "timestamp"}]}}``, as dense captioning has it.

    The sentence is the one asked about. An unreadable answer is a moment of no length.

    Reference: Krishna et al. (2017), its ``densevid_eval``.
    """
    results: dict[str, list[dict[str, object]]] = {}
    for text, record in zip(texts, records, strict=True):
        span = read_answer(text, record).value or (0.0, 0.0)
        rows = results.setdefault(Path(record["video"]).stem, [])
        rows.append({"sentence": record["query"], "timestamp": list(span)})
    content = {"version": "VERSION 1.0", "results": results, "external_data": {"used": False}}
    Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_got10k(folder: str | Path, texts: Texts, records: Sequence[Record]) -> None:
    """Write ``SEQUENCE/SEQUENCE_001.txt``, ``x,y,w,h`` in pixels a frame, as the toolkit does.

    A model answers a few frames of a sequence; between them its boxes move evenly. The first is
    the given one. An unreadable track is boxes without an area, which overlap nothing.

    Reference: GOT-10k's toolkit, ``ExperimentGOT10k``.
    """
    for text, record in zip(texts, records, strict=True):
        name, count = Path(record["video"]).name, record["num_frames"]
        track = read_answer(text, record).value or [(0.0,) * 4] * len(record["boxes"])
        corners = np.array([record["boxes"][0], *track[1:]]) * np.tile(record["picture_size"], 2)
        answered = np.array(record["times"]) * count / record["duration"]
        every = [np.interp(np.arange(count), answered, column) for column in corners.T]
        boxes = np.stack([*every[:2], every[2] - every[0], every[3] - every[1]], axis=-1)
        file = Path(folder) / name / f"{name}_001.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(file, boxes, fmt="%.3f", delimiter=",")


def write_dream(path: str | Path, texts: Texts, records: Sequence[Record]) -> None:
    """Write JSON lines ``{dataset, idx, response, prediction, events}`` for Dream-1k's scorer.

    ``response`` is the reference's description. An unreadable answer is an empty text.

    Reference: Tarsier (GitHub bytedance/tarsier), its ``evaluate_dream_gpt.py``.
    """
    lines = [
        json.dumps(
            {
                "dataset": "DREAM",
                "idx": record["id"].rpartition(":")[2],
                "response": record.get("caption", ""),
                "prediction": read_answer(text, record).value or "",
                "events": list(record["events"]),
            },
            ensure_ascii=False,
        )
        for text, record in zip(texts, records, strict=True)
    ]
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


WRITERS: Final[Mapping[str, Callable[[Path, Texts, Sequence[Record]], object]]] = {
    "charades_sta": lambda folder, *rest: write_charades(folder / "charades_sta.json", *rest),
    "activitynet_captions": lambda folder, *rest: write_activitynet(
        folder / "activitynet_captions.json", *rest
    ),
    "next_gqa": lambda folder, *rest: write_nextgqa(
        folder / "next_gqa_spans.json", folder / "next_gqa_options.json", *rest
    ),
    "videochat_r1_gqa": lambda folder, *rest: write_nextgqa(
        folder / "videochat_r1_gqa_spans.json", folder / "videochat_r1_gqa_options.json", *rest
    ),
    "got10k": lambda folder, *rest: write_got10k(folder / "got10k", *rest),
    "dream_1k": lambda folder, *rest: write_dream(folder / "dream_1k.jsonl", *rest),
}


def write_official(folder: str | Path, texts: Texts, records: Sequence[Record]) -> None:
    """Write what other people's scorers read, where the records' dataset has such a form.

    Args:
        folder: Made if it does not exist. Names of files are in ``benchmarks.json``.
        texts: ``N`` completions.
        records: ``N`` records of one ``dataset``.
    """
    (dataset,) = {record["dataset"] for record in records}
    if dataset in WRITERS:
        Path(folder).mkdir(parents=True, exist_ok=True)
        WRITERS[dataset](Path(folder), texts, records)
