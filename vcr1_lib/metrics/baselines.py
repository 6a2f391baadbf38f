"""What can be had without looking: trivial answers to print beside every score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vcr1_lib.metrics import span_ious
from vcr1_lib.overlap import interval_ious
from vcr1_lib.prompts import QUALITY_LABELS, render_gold
from vcr1_lib.rewards import gold

GRID_STEPS = 48
REMAP_SECONDS = 8.0
REMAP_STEP = 0.5
THOUGHT = "I did not look."
# What is taken from training records, by task.
FITTED = {
    "temporal_grounding": "best fixed span",
    "multiple_choice": "most frequent letter",
    "grounded_qa": "best fixed span and most frequent letter",
    "quality": "most frequent label",
}

Records = Sequence[Mapping[str, Any]]


class Remap(NamedTuple):
    """A shift of a predicted span's two ends, in seconds."""

    start_seconds: float
    end_seconds: float


def whole_clip(durations: ArrayLike) -> NDArray[np.float64]:
    """Answer "from the beginning to the end" for clips of these lengths, ``(N, 2)``."""
    seconds = np.asarray(durations, dtype=np.float64)
    return np.stack([np.zeros_like(seconds), seconds], axis=-1)


def first_half(durations: ArrayLike) -> NDArray[np.float64]:
    """Answer "the first half", ``(N, 2)``. On Charades-STA test this scores mIoU 0.302."""
    return whole_clip(durations) / [1, 2]


def best_fixed_span(spans: ArrayLike, durations: ArrayLike) -> tuple[float, float]:
    """Find the span, as shares of the clip, that scores best if it is always answered.

    Args:
        spans: ``(N, 2)`` truth of the training set, seconds.
        durations: ``(N,)`` seconds.

    Returns:
        ``(start, end)`` in [0, 1], on a grid of 48 steps.
    """
    seconds = np.asarray(durations, dtype=np.float64)[:, None]
    truth = np.asarray(spans, dtype=np.float64) / seconds
    ticks = np.arange(GRID_STEPS + 1) / GRID_STEPS
    candidates = [(a, b) for a in ticks for b in ticks if a < b]
    scores = [interval_ious(np.tile(c, (len(truth), 1)), truth).mean() for c in candidates]
    start, end = candidates[int(np.argmax(scores))]
    return float(start), float(end)


def fixed_span(shares: tuple[float, float], durations: ArrayLike) -> NDArray[np.float64]:
    """Answer the same share of every clip, ``(N, 2)`` seconds."""
    return np.asarray(durations, dtype=np.float64)[:, None] * np.asarray(shares)


def apply_remap(spans: ArrayLike, remap: Remap, durations: ArrayLike) -> NDArray[np.float64]:
    """Shift predicted spans and keep them inside their clips, ``(N, 2)`` seconds.

    A span of NaN stands for an unreadable answer and stays one. A span whose ends cross
    becomes one of no length.
    """
    seconds = np.asarray(durations, dtype=np.float64)[:, None]
    moved = np.clip(np.asarray(spans, dtype=np.float64) + np.asarray(remap), 0, seconds)
    moved[:, 1] = np.maximum(moved[:, 0], moved[:, 1])
    return moved


def best_remap(preds: ArrayLike, targets: ArrayLike, durations: ArrayLike) -> Remap:
    """Find the shift of a model's own spans that scores best.

    The strongest thing that can be had from a model without looking again: a tuned model
    that beats it has learned more than "answer a little wider".

    Args:
        preds: ``(N, 2)`` the model's spans on training clips, NaN where unreadable.
        targets: ``(N, 2)`` truth.
        durations: ``(N,)`` seconds.
    """
    shifts = np.arange(-REMAP_SECONDS, REMAP_SECONDS + REMAP_STEP / 2, REMAP_STEP)
    truth = np.asarray(targets, dtype=np.float64)
    best, best_score = Remap(0.0, 0.0), -1.0
    for start in shifts:
        for end in shifts:
            remap = Remap(float(start), float(end))
            score = span_ious(apply_remap(preds, remap, durations), truth).mean()
            if score > best_score:
                best, best_score = remap, float(score)
    return best


def most_frequent(answers: Sequence[str]) -> str:
    """Return the commonest answer of the training set, the first in the alphabet of several.

    >>> most_frequent(["C", "A", "C"])
    'C'
    """
    if not answers:
        raise ValueError("expected at least one training answer, got none")
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def longest_option(options: Sequence[str]) -> str:
    """Return the letter of the longest option: writers explain the right one.

    >>> longest_option(["run", "walk slowly", "sit"])
    'B'
    """
    longest = max(range(len(options)), key=lambda i: len(options[i]))
    return ascii_uppercase[longest]


def blind_answers(records: Records, *, train_records: Records) -> dict[str, list[str]]:
    """Answer every record without its video, in the format its prompt asks for.

    The answers are completions, so they pass through the same parser and scorer as a model's.

    Args:
        records: Records of one task.
        train_records: Records of the same task that the best fixed span and the most frequent
            answer are taken from.

    Returns:
        Name of the baseline -> a completion for each record. Captions have none. Those that
        need training records or the clips' lengths are left out without them.
    """
    task = records[0]["task"]
    spans, letters = _blind_spans(task, records, train_records), dict[str, list[str]]()
    if task in ("multiple_choice", "grounded_qa"):
        right = [gold.check_option(r["answer"], r["options"]) for r in train_records]
        if right:
            letters["most frequent letter"] = [most_frequent(right)] * len(records)
        letters["longest option"] = [longest_option(r["options"]) for r in records]
    filled: dict[str, list[dict[str, Any]]] = {}
    if task == "temporal_grounding":
        filled = {name: [{"span": span} for span in rows] for name, rows in spans.items()}
    elif task == "grounded_qa":
        filled = {
            f"{letter}, {name}": [
                {"answer": a, "spans": [s]} for a, s in zip(chosen, rows, strict=True)
            ]
            for letter, chosen in letters.items()
            for name, rows in spans.items()
        }
    elif task == "multiple_choice":
        filled = {name: [{"answer": a} for a in chosen] for name, chosen in letters.items()}
    elif task == "tracking":
        copied = [{"boxes": [r["boxes"][0]] * len(r["boxes"])} for r in records]
        filled = {"copy the first box": copied}
    elif task == "quality" and train_records:
        labels = [
            gold.check_label(r["answer"], r.get("labels", QUALITY_LABELS)) for r in train_records
        ]
        filled = {"most frequent label": [{"answer": most_frequent(labels)}] * len(records)}
    return {
        name: [render_gold(task, row, thought=THOUGHT) for row in rows]
        for name, rows in filled.items()
    }


def missing_baselines(records: Records, *, train_records: Records) -> str:
    """Say which answers :func:`blind_answers` cannot give, and what would bring them.

    Args:
        records: As :func:`blind_answers` takes them.
        train_records: As :func:`blind_answers` takes them.

    Returns:
        One sentence, empty if there are all.

    >>> missing_baselines([{"task": "quality"}], train_records=[])
    'Without most frequent label: it is taken from training records, --train_annotations.'
    """
    task = records[0]["task"]
    asks_when = task in ("temporal_grounding", "grounded_qa")
    untold = sum(record.get("duration") is None for record in records)
    if asks_when and untold:
        return (
            "Without whole clip, first half and best fixed span: add 'duration', the clip's "
            f"length in seconds, to every record (lacking: {untold} of {len(records)})."
        )
    fitted = FITTED.get(task)
    if fitted and not train_records:
        return f"Without {fitted}: it is taken from training records, --train_annotations."
    if asks_when and all(record.get("duration") is None for record in train_records):
        return "Without best fixed span: add 'duration', the clip's length, to training records."
    return ""


def _blind_spans(
    task: str, records: Records, train_records: Records
) -> dict[str, list[list[float]]]:
    """Return spans that never look; empty for a task without spans, or clips of unknown length."""
    durations = [float(r["duration"]) for r in records if r.get("duration") is not None]
    if task not in ("temporal_grounding", "grounded_qa") or len(durations) < len(records):
        return {}
    found = {"whole clip": whole_clip(durations), "first half": first_half(durations)}
    lengths: list[float] = []
    truth: list[list[float]] = []
    for record in (r for r in train_records if r.get("duration") is not None):
        moments = [record["span"]] if task == "temporal_grounding" else record["spans"]
        truth += moments
        lengths += [record["duration"]] * len(moments)
    if truth:
        shares = best_fixed_span(truth, lengths)
        found["best fixed span"] = fixed_span(shares, durations)
    return {name: rows.tolist() for name, rows in found.items()}
