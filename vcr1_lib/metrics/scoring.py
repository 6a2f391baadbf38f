"""Completions of any task to scores: the same parsers as the rewards, nothing left out.

A completion that cannot be read, and a video that failed (``None`` in place of a completion),
score 0, stay in the denominator, and are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vcr1_lib import answers
from vcr1_lib.answers.grammar import Reason, Span
from vcr1_lib.metrics import bootstrap_interval, grounding_scores, length_scores
from vcr1_lib.metrics import tasks as task_metrics
from vcr1_lib.metrics.baselines import blind_answers
from vcr1_lib.overlap import interval_iou
from vcr1_lib.prompts import FRAMES, QUALITY_LABELS
from vcr1_lib.rewards import gold
from vcr1_lib.rewards.grading import GOLD_COLUMNS
from vcr1_lib.rewards.judges import Judge, event_recall, word_judge

Record = Mapping[str, Any]

# The score that stands for a task: what is drawn, resampled and sorted by.
MAIN_SCORE: Final = {
    "temporal_grounding": "mIoU",
    "tracking": "AO",
    "multiple_choice": "accuracy",
    "grounded_qa": "Acc@GQA",
    "quality": "accuracy",
    "caption": "event_recall",
}
FAILED: Final = "failed_video"


class Reading(NamedTuple):
    """What was read out of one completion.

    Attributes:
        value: A span, track, letter, label or caption; ``None`` where there is none.
        reason: Why something that was asked for could not be read.
        spans: The clue of a grounded answer.
    """

    value: Any
    reason: Reason | str | None = None
    spans: list[Span] | None = None


class Scores(NamedTuple):
    """Scores of one task's answers.

    Attributes:
        values: ``(N,)``, each sample's share of the main score.
        readings: ``N``.
        table: Plain data for a file: ``task``, ``main``, ``scores``, ``interval`` of the main
            score over videos, ``num_queries``, ``num_videos``, ``unparsed`` and ``failed``
            (shares), ``reasons`` (counts) and ``groups``.
    """

    values: NDArray[np.float64]
    readings: list[Reading]
    table: dict[str, Any]


def read_answer(text: Any, record: Record, *, strict: bool = False) -> Reading:
    """Read one completion as its record's task asks for.

    Args:
        text: A string or, as rewards take it, a list of messages; ``None`` for a video that
            failed.
        record: With ``task`` and its gold; see ``vcr1_lib.rewards.grading.GOLD_COLUMNS``.
        strict: Accept the prompt's exact wording only.

    >>> record = {"task": "temporal_grounding", "span": [4, 9], "duration": 20}
    >>> read_answer("<answer>4s - 9s</answer>", record).value
    (4.0, 9.0)
    """
    task = record["task"]
    if text is None:
        return Reading(None, FAILED)
    text = answers.completion_text(text)
    if task == "temporal_grounding":
        limit = gold.check_limit(record.get("duration"), gold.check_span(record["span"]))
        span = answers.parse_span(text, strict=strict, duration_seconds=limit)
        return Reading(span.value, span.reason)
    if task == "tracking":
        count = len(gold.check_boxes(record["boxes"]))
        track = answers.parse_track(text, num_boxes=count, strict=strict)
        return Reading(track.value, track.reason)
    if task == "quality":
        labels = gold.check_labels(record.get("labels", QUALITY_LABELS))
        label = answers.parse_label(text, labels=labels, strict=strict)
        return Reading(label.value, label.reason)
    if task == "caption":
        caption = answers.extract_answer(text, strict=strict)
        return Reading(caption.value, caption.reason)
    options = gold.check_options(record["options"])
    option = answers.parse_option(text, options=options, strict=strict, frame=FRAMES[task])
    if task == "multiple_choice":
        return Reading(option.value, option.reason)
    truth = gold.check_spans(record["spans"])
    limit = gold.check_limit(record.get("duration"), [end for _, end in truth])
    clue = answers.parse_spans(text, strict=strict, duration_seconds=limit)
    return Reading(option.value, option.reason or clue.reason, clue.value)


def checked_records(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return records with usable truth, without what they lack.

    Raises:
        ValueError: If a task is unknown, or truth is missing or unusable; it names the record.
    """
    checked: list[dict[str, Any]] = []
    for i, record in enumerate(records):
        row = {key: value for key, value in record.items() if not gold.is_missing(value)}
        task = row.get("task")
        try:
            if task not in GOLD_COLUMNS:
                raise gold.GoldError(f"expected a task of {list(GOLD_COLUMNS)}, got {task!r}")
            checked.append(row | gold.check_truth(row, ("video", *GOLD_COLUMNS[task])))
        except ValueError as error:
            raise ValueError(f"record {row.get('id', i)!r}: {error}") from error
    return checked


def score_texts(
    texts: Sequence[Any],
    records: Sequence[Record],
    *,
    strict: bool = False,
    judge: Judge = word_judge,
) -> Scores:
    """Score the completions of one task.

    Args:
        texts: ``N`` completions, as :func:`read_answer` takes them.
        records: ``N`` records of one task. ``type`` names a sample's group, if there is one.
        strict: Accept the prompt's exact wording only.
        judge: Of captions.

    Raises:
        ValueError: If there are no records, several tasks, or not one completion a record;
            if a record's truth is missing or unusable; the message names it.
    """
    return _score(texts, checked_records(records), strict=strict, judge=judge)


def _score(
    texts: Sequence[Any],
    records: Sequence[Record],
    *,
    strict: bool = False,
    judge: Judge = word_judge,
) -> Scores:
    """Score completions of records that were checked."""
    tasks = {record["task"] for record in records}
    if len(tasks) != 1 or len(texts) != len(records):
        raise ValueError(
            "expected one completion for each record of one task, "
            f"got {len(texts)} for {len(records)} of {sorted(tasks)}"
        )
    (task,) = tasks
    readings = [read_answer(text, r, strict=strict) for text, r in zip(texts, records, strict=True)]
    values, scores, groups = _task_scores(task, readings, records, judge)
    clips = [record["video"] for record in records]
    pooled, weights = values, [1] * len(records)
    if task == "tracking":  # AO pools frames, so frames are drawn with their clip
        pooled, weights = _tracking_frames(readings, records)
    owners = [clip for clip, count in zip(clips, weights, strict=True) for _ in range(count)]
    interval = bootstrap_interval(pooled, clusters=owners)
    reasons = Counter(str(reading.reason) for reading in readings if reading.reason is not None)
    table = {
        "task": task,
        "main": MAIN_SCORE[task],
        "scores": scores,
        "interval": [interval.low, interval.high],
        "num_queries": len(records),
        "num_videos": len(set(clips)),
        "unparsed": sum(reasons.values()) / len(records) - reasons[FAILED] / len(records),
        "failed": reasons[FAILED] / len(records),
        "reasons": dict(sorted(reasons.items())),
        "groups": groups,
    }
    return Scores(values, readings, table)


def _task_scores(
    task: str, readings: list[Reading], records: Sequence[Record], judge: Judge
) -> tuple[NDArray[np.float64], dict[str, float], dict[str, Any]]:
    """Return each sample's value, the task's scores, and scores by group."""
    found = [reading.value for reading in readings]
    if task == "temporal_grounding":
        spans = [record["span"] for record in records]
        pairs = zip(found, spans, strict=True)
        ious = np.array([0.0 if span is None else interval_iou(span, true) for span, true in pairs])
        return ious, grounding_scores(ious), length_scores(ious, spans)
    if task == "tracking":
        tracks = [record["boxes"] for record in records]
        frames, counts = _tracking_frames(readings, records)
        pieces = np.split(frames, np.cumsum(counts)[:-1])
        values = np.array([piece.mean() if len(piece) else 0.0 for piece in pieces])
        scores = task_metrics.got10k_scores(frames)
        return values, scores | task_metrics.videochat_tracking_scores(found, tracks), {}
    if task == "caption":
        pairs = zip(found, (r["events"] for r in records), strict=True)
        recalls = [0.0 if c is None else event_recall(c, e, judge=judge) for c, e in pairs]
        return np.array(recalls), {"event_recall": float(np.mean(recalls))}, {}
    right = np.array([_is_right(a, r) for a, r in zip(found, records, strict=True)])
    named = all(record.get("type") is not None for record in records)
    choice = task_metrics.choice_scores(
        right.tolist(), groups=[record["type"] for record in records] if named else None
    )
    groups = choice.pop("groups") if named else {}
    if task != "grounded_qa":
        return right.astype(float), choice if named else {"accuracy": choice["accuracy"]}, groups
    clues, truth = [reading.spans for reading in readings], [r["spans"] for r in records]
    firsts = [clue[0] if clue else None for clue in clues]
    iop = [task_metrics.best_iop_and_iou(*pair)[0] for pair in zip(firsts, truth, strict=True)]
    values = (right & (np.array(iop) >= task_metrics.GROUNDED_IOP)).astype(float)
    return values, task_metrics.nextgqa_scores(clues, truth, right.tolist()), groups


def _tracking_frames(
    readings: list[Reading], records: Sequence[Record]
) -> tuple[NDArray[np.float64], list[int]]:
    """Return the pooled IoUs of frames, and how many each track holds."""
    tracks = [record["boxes"] for record in records]
    shown = [record.get("visible") or [True] * len(record["boxes"]) for record in records]
    found = [reading.value for reading in readings]
    return (
        task_metrics.frame_ious(found, tracks, visible=shown),
        [sum(map(bool, visible[1:])) for visible in shown],
    )


def _is_right(answer: str | None, record: Record) -> bool:
    if record["task"] == "quality":
        return answer == gold.check_label(record["answer"], record.get("labels", QUALITY_LABELS))
    return answer == gold.check_option(record["answer"], record["options"])


def score_beside_baselines(
    texts: Sequence[str | None],
    records: Sequence[Record],
    *,
    train_records: Sequence[Record] = (),
    name: str = "model",
) -> dict[str, Scores]:
    """Score one task's completions leniently and strictly, below what needs no video.

    Args:
        texts: ``N`` completions.
        records: ``N`` records of one task.
        train_records: Others of that task, for the baselines that are fitted; left out without.
        name: What the model's rows are called.

    Returns:
        Row name -> scores, the model's last: ``name`` and ``name, strict parsing``.
    """
    records, train_records = checked_records(records), checked_records(train_records)
    blind = blind_answers(records, train_records=train_records)
    rows = {label: _score(chosen, records) for label, chosen in blind.items()}
    rows[name] = _score(texts, records)
    rows[f"{name}, strict parsing"] = _score(texts, records, strict=True)
    return rows


def many(count: int, what: str) -> str:
    """Write a number of things: ``1 clip``, ``2 clips``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def render_scores(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of one task as plain text, in per cent, the unreadable share in every row.

    Args:
        tables: Row name -> :attr:`Scores.table`.
    """
    first = next(iter(tables.values()))
    width = max(map(len, tables)) + 2
    names = list(first["scores"])
    head = "".join(f"{name:>{max(8, len(name) + 2)}}" for name in names)
    heading = f"{first['main']} interval"
    lines = [f"{'per cent':<{width}}{head}  {heading:<18}{'unparsed':>9}{'failed':>8}"]
    for label, table in tables.items():
        cells = "".join(
            f"{100 * table['scores'][name]:>{max(8, len(name) + 2)}.1f}" for name in names
        )
        low, high = (100 * bound for bound in table["interval"])
        lines.append(
            f"{label:<{width}}{cells}  {f'{low:.1f} to {high:.1f}':<18}"
            f"{100 * table['unparsed']:>9.1f}{100 * table['failed']:>8.1f}"
        )
    return "\n".join(lines)
