"""Did it learn? Before against after, beside what can be had without learning."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from vcr1_lib.evaluation import Predictions
from vcr1_lib.metrics import (
    Interval,
    bootstrap_interval,
    grounding_scores,
    paired_interval,
    span_ious,
)
from vcr1_lib.metrics.baselines import apply_remap, best_remap, blind_answers
from vcr1_lib.metrics.by_task import tasks_of
from vcr1_lib.metrics.scoring import many, render_scores, score_texts

Records = Sequence[dict[str, Any]]
REMAP_NAME = "base, best fixed remap"
# Clips are drawn again for the interval; fewer have none to speak of.
FEWEST_CLIPS = 3


def _spans(records: Records) -> NDArray[np.float64]:
    return np.array([record["span"] for record in records], dtype=np.float64)


def _durations(records: Records) -> NDArray[np.float64]:
    return np.array([record["duration"] for record in records], dtype=np.float64)


def blind_baselines(records: Records, *, train_records: Records) -> dict[str, NDArray[np.float64]]:
    """Return the IoUs of answers that never look at the video, ``(N,)`` each.

    Args:
        records: What is scored.
        train_records: What the best fixed span is fitted on.
    """
    task = {"task": "temporal_grounding"}
    asked, known = [task | r for r in records], [task | r for r in train_records]
    answers = blind_answers(asked, train_records=known)
    return {name: score_texts(texts, asked).values for name, texts in answers.items()}


def compare_runs(
    before: Predictions,
    after: Predictions,
    records: Records,
    *,
    train_before: Predictions,
    train_records: Records,
) -> dict[str, Any]:
    """Score a run on held-out clips and say whether it learned.

    The verdict follows one rule: it learned if the paired bootstrap interval of the gain in
    mIoU, drawn over clips, lies above 0.

    Args:
        before: The base model's held-out answers.
        after: The tuned model's.
        records: The held-out records.
        train_before: The base model's answers on training clips, to fit the remap on.
        train_records: The training records.

    Returns:
        ``rows`` (name -> scores with ``mIoU_interval``), ``gain`` ``[value, low, high]`` and
        ``gain_over_remap``, both paired, ``remap`` in seconds, the shares ``unparsed``,
        ``learned`` and the ``verdict`` as a sentence.
    """
    clips = [record["video"] for record in records]
    remap = best_remap(train_before.spans, _spans(train_records), _durations(train_records))
    moved = apply_remap(before.spans, remap, _durations(records))
    ious = blind_baselines(records, train_records=train_records) | {
        "base": before.ious,
        REMAP_NAME: span_ious(moved, _spans(records)),
        "tuned": after.ious,
    }
    rows = {}
    for name, values in ious.items():
        interval = bootstrap_interval(values, clusters=clips)
        rows[name] = grounding_scores(values) | {"mIoU_interval": [interval.low, interval.high]}
    gain = paired_interval(before.ious, after.ious, clusters=clips)
    over_remap = paired_interval(ious[REMAP_NAME], after.ious, clusters=clips)
    return {
        "num_queries": len(records),
        "num_clips": len(set(clips)),
        "rows": rows,
        "gain": list(gain),
        "gain_over_remap": list(over_remap),
        "remap": list(remap),
        "unparsed": {
            "base": float(np.isnan(before.spans).any(-1).mean()),
            "tuned": float(np.isnan(after.spans).any(-1).mean()),
        },
        "learned": gain.low > 0 and len(set(clips)) >= FEWEST_CLIPS,
        "verdict": _verdict(rows, gain, over_remap, len(records), len(set(clips))),
    }


def compare_tasks(
    before: Sequence[str], after: Sequence[str], records: Records, *, train_records: Records
) -> dict[str, Any]:
    """Score completions of any tasks before and after a run, beside what needs no video.

    Args:
        before: The base model's held-out completions.
        after: The tuned model's.
        records: The held-out records.
        train_records: The training records, that baselines are fitted on.

    Returns:
        Task -> ``rows`` (name -> :attr:`Scores.table`), the paired ``gain`` in the main score
        ``[value, low, high]`` and ``learned``, by the rule of :func:`compare_runs`.
    """
    found = {}
    for task in tasks_of(records):
        rows = [i for i, record in enumerate(records) if record["task"] == task]
        own, clips = [records[i] for i in rows], [records[i]["video"] for i in rows]
        known = [record for record in train_records if record["task"] == task]
        said = {"base": [before[i] for i in rows], "tuned": [after[i] for i in rows]}
        answers = blind_answers(own, train_records=known) | said
        scores = {name: score_texts(texts, own) for name, texts in answers.items()}
        gain = paired_interval(scores["base"].values, scores["tuned"].values, clusters=clips)
        found[task] = {
            "rows": {name: score.table for name, score in scores.items()},
            "gain": list(gain),
            "learned": gain.low > 0 and len(set(clips)) >= FEWEST_CLIPS,
        }
    return found


def render_tasks(result: dict[str, Any]) -> str:
    """Return what :func:`compare_tasks` found as plain text, a table and a sentence a task."""
    told = []
    for task, found in result.items():
        value, low, high = (100 * x for x in found["gain"])
        main, word = found["rows"]["tuned"]["main"], "yes" if found["learned"] else "no"
        gain = f"gain in {main} {value:+.1f} ({low:+.1f} to {high:+.1f}); learned: {word}"
        told.append(f"{task}\n{render_scores(found['rows'])}\n{gain}")
    return "\n\n".join(told)


def _verdict(
    rows: dict[str, Any], gain: Interval, over_remap: Interval, queries: int, clips: int
) -> str:
    base, tuned = rows["base"]["mIoU"], rows["tuned"]["mIoU"]
    facts = (
        f"held-out mIoU went from {base:.3f} to {tuned:.3f}, a change of {gain.value:+.3f} "
        f"(95 % interval {gain.low:+.3f} to {gain.high:+.3f}, "
        f"{many(queries, 'question')}, {many(clips, 'clip')})"
    )
    if clips < FEWEST_CLIPS:
        return (
            f"Too few held-out clips to tell; hold out at least {FEWEST_CLIPS} (label more, or "
            f"raise --heldout, say --heldout 0.5): {facts}."
        )
    if gain.low <= 0:
        word = "It got worse" if gain.high < 0 else "It did not learn"
        return f"{word}: {facts}."
    remap = rows[REMAP_NAME]["mIoU"]
    if over_remap.low > 1e-9:  # rounding aside
        return f"It learned: {facts}, clear of the base's own spans shifted at best ({remap:.3f})."
    return (
        f"It learned, but perhaps without looking: {facts}; "
        f"shifting the base's own spans gives {remap:.3f}, and the paired interval between the "
        f"two, {over_remap.low:+.3f} to {over_remap.high:+.3f}, does not lie above 0."
    )


def render_table(result: dict[str, Any]) -> str:
    """Return the rows of :func:`compare_runs` as a table of plain text."""
    lines = [f"{'held-out clips':<24}{'mIoU':>6}  {'95 % interval':<16}{'R1@0.3':>7}"]
    lines[0] += f"{'R1@0.5':>8}{'R1@0.7':>8}"
    for name, row in result["rows"].items():
        low, high = row["mIoU_interval"]
        interval = f"[{low:.3f}, {high:.3f}]"
        cells = "".join(f"{row[f'R1@{m}']:>8.3f}" for m in (0.3, 0.5, 0.7))
        lines.append(f"{name:<24}{row['mIoU']:>6.3f}  {interval:<15}{cells}")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in result["unparsed"].items())
    return "\n".join([*lines, f"could not be read, and counts 0: {shares}"])


def render_examples(
    records: Records, before: Predictions, after: Predictions, *, count: int = 3
) -> str:
    """Return the same questions before and after, evenly picked, as plain text."""
    lines = []
    for i in np.linspace(0, len(records) - 1, min(count, len(records))).astype(int):
        start, end = records[i]["span"]
        lines += [
            f"{records[i]['query']} (truth: {start:g} to {end:g} s)",
            f"  before: IoU {before.ious[i]:.2f}  {before.texts[i]}",
            f"  after:  IoU {after.ious[i]:.2f}  {after.texts[i]}",
        ]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what a recorded figure was made with: versions, processor, threads."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }


def write_result(folder: str | Path, result: dict[str, Any], *, config: dict[str, Any]) -> None:
    """Write ``result.json`` and ``config.json`` with versions and machine."""
    settings = config | {"machine": machine()}
    for name, content in (("result.json", result), ("config.json", settings)):
        text = json.dumps(content, indent=1, default=str)
        (Path(folder) / name).write_text(text + "\n", encoding="utf-8")
