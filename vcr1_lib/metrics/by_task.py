"""A mixed run, task by task: what may be mixed, and its figures under each task's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vcr1_lib.metrics.scoring import Scores, score_texts
from vcr1_lib.prompts import TEMPLATES

Records = Sequence[dict[str, Any]]


def tasks_of(records: Records) -> list[str]:
    """Return the tasks of records in the order of the alphabet, the same on every process.

    Raises:
        ValueError: If a record's task has no prompt; the message names the record.

    >>> tasks_of([{"task": "tracking"}, {"task": "caption"}, {"task": "tracking"}])
    ['caption', 'tracking']
    """
    for record in records:
        if record.get("task") not in TEMPLATES:
            raise ValueError(
                f"expected a task of {sorted(TEMPLATES)}, got {record.get('task')!r} "
                f"in record {record.get('id')!r}; correct it or leave such records out"
            )
    return sorted({record["task"] for record in records})


def scores_by_task(texts: Sequence[str | None], records: Records) -> dict[str, Scores]:
    """Score completions of several tasks, each task's by its own scores.

    Args:
        texts: ``N`` completions.
        records: ``N`` records of any tasks.

    Returns:
        Task -> scores, in the order of the alphabet.
    """
    tasks = tasks_of(records)
    parts: dict[str, list[tuple[str | None, dict[str, Any]]]] = defaultdict(list)
    for text, record in zip(texts, records, strict=True):
        parts[record["task"]].append((text, record))
    return {
        task: score_texts([text for text, _ in parts[task]], [row for _, row in parts[task]])
        for task in tasks
    }


def figures_by_task(texts: Sequence[str | None], records: Records) -> dict[str, float]:
    """Return each task's main score and its interval as flat figures for a log.

    >>> record = {"task": "quality", "id": "q", "video": "v", "answer": "low quality"}
    >>> figures = figures_by_task(["<answer>low quality</answer>"], [record])
    >>> figures["quality/accuracy"], figures["quality/unparsed"]
    (1.0, 0.0)
    """
    figures: dict[str, float] = {}
    for task, scores in scores_by_task(texts, records).items():
        name = f"{task}/{scores.table['main']}"
        figures[name] = scores.table["scores"][scores.table["main"]]
        figures[f"{name}_low"], figures[f"{name}_high"] = scores.table["interval"]
        figures[f"{task}/unparsed"] = scores.table["unparsed"]
    return figures
