"""The exercises of notebook 05: right and wrong answers, and its folded solutions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from vcr1_lib.checks import check
from vcr1_lib.checks.measure import EXERCISES
from vcr1_lib.metrics.tasks import got10k_scores

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "05_measure_and_diagnose.ipynb"
CLIPPED, FORMAT, FLAT = (
    "completions/clipped_ratio",
    "rewards/format_reward/mean",
    "frac_reward_zero_std",
)


def recall(ious: Any, m: float) -> float:
    return sum(iou is not None and iou >= m for iou in ious) / len(ious)


def recall_by_numpy(ious: Any, m: float) -> float:
    return float((np.array([-1.0 if iou is None else iou for iou in ious]) >= m).mean())


def rate(tracks: Any, t: float) -> float:
    frames = [iou for track in tracks for iou in track[1:]]
    return sum(iou > t for iou in frames) / len(frames)


def diagnosis(row: Any) -> str:
    if row[CLIPPED] > 0.5:
        return "truncated"
    if row[FORMAT] < 0.5:
        return "format"
    return "no variance" if row[FLAT] > 0.5 else "sound"


def diagnosis_by_list(row: Any) -> str:
    found = [
        ("truncated", row[CLIPPED] > 0.5),
        ("format", row[FORMAT] < 0.5),
        ("no variance", row[FLAT] > 0.5),
        ("sound", True),
    ]
    return next(name for name, holds in found if holds)


def variance_first(row: Any) -> str:
    return "no variance" if row[FLAT] > 0.5 else diagnosis(row)


RIGHT: dict[str, list[Callable[..., Any]]] = {
    "recall_at": [recall, recall_by_numpy],
    "success_rate": [
        rate,
        lambda tracks, t: got10k_scores(np.concatenate([x[1:] for x in tracks]))[f"SR@{t}"],
    ],
    "diagnose": [diagnosis, diagnosis_by_list],
}
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "recall_at": [
        (lambda ious, m: recall([i for i in ious if i is not None] or [0], m), "denominator"),
        (lambda ious, m: sum(i is not None and i > m for i in ious) / len(ious), "use >="),
        (lambda ious, m: sum(i or 0 for i in ious) / len(ious), "count the answers"),
        (lambda ious, m: recall([i or 0 for i in ious], m), "not even 0"),
        (lambda ious, m: sum(i >= m for i in ious) / len(ious), "TypeError"),
    ],
    "success_rate": [
        (lambda tracks, t: rate([[1, *x] for x in tracks], t), "first box out"),
        (lambda tracks, t: np.mean([i >= t for x in tracks for i in x[1:]]), "use >"),
        (lambda tracks, t: np.mean([rate([x], t) for x in tracks]), "pool the frames"),
        (lambda tracks, t: rate([[1, *filter(None, x[1:])] for x in tracks], t), "Zero"),
    ],
    "diagnose": [
        (variance_first, "the format comes first"),
        (lambda row: "format" if row[FORMAT] < 0.5 else diagnosis(row), "length first"),
        (lambda row: "sound", "length first"),
        (lambda row: "sound" if row[FORMAT] > 0.5 else diagnosis(row), "nothing to compare"),
    ],
}


def solutions() -> dict[str, str]:
    """Find the folded solutions of the notebook: name of the function -> code."""
    cells = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    folded = re.findall(r"<details>.*?</details>", prose, flags=re.DOTALL)
    code = [c for text in folded for c in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    return {name: c for c in code for name in re.findall(r"^def (\w+)", c, re.MULTILINE)}


@pytest.mark.skipif(not NOTEBOOK.exists(), reason="the notebook is not there")
def test_every_folded_solution_passes() -> None:
    found = solutions()
    assert set(found) == set(EXERCISES)
    for name, code in found.items():
        scope: dict[str, Any] = {}
        exec(code, scope)
        assert check(name, scope[name]).passed is True, check(name, scope[name]).message
