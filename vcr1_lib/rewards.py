"""Rule rewards with TRL's signature, ``f(completions, **columns) -> list[float | None]``.

Completions are strings or message lists; a dataset's columns arrive as keywords, one value a
sample: ``task``, ``duration`` and the gold of each task. ``None`` says "not my task", so one
list of rewards serves a mixed dataset: the ``task`` column decides, and without one the gold
a sample has. A bad *answer* scores 0 for a named reason; bad *gold* raises ``ValueError`` with
the reward and the sample. Accuracy is read leniently (a missing thought costs the format reward
only), but what it pays is always something the format reward reads too. ``strict=True`` pays
the prompt's exact wording only. ``reasons_out`` takes a list to extend by one reason a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import Any, Final, NamedTuple

from vcr1_lib import answers, gold, overlap
from vcr1_lib.answers import Parsed, Reason
from vcr1_lib.judges import Judge, word_judge
from vcr1_lib.prompts import CLUE_TAG, FRAMES, QUALITY_LABELS

RewardFunc = Callable[..., list[float | None]]
Row = Mapping[str, Any]
Shape = Callable[[overlap.Interval, overlap.Interval], float]

IOU_THRESHOLDS: Final = (0.3, 0.5, 0.7)
BOUNDARY_SECONDS: Final = 2.0
SOFT_CHARS: Final = 2000
HARD_CHARS: Final = 4000
MAX_CAPTION_CHARS: Final = 10_000

# Without a ``task`` column, a sample belongs to the first task whose gold it has in full.
GOLD_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "temporal_grounding": ("span",),
    "grounded_qa": ("spans", "options", "answer"),
    "tracking": ("boxes",),
    "caption": ("events",),
    "multiple_choice": ("options", "answer"),
    "quality": ("answer",),
}
COLUMNS: Final = ("task", "duration", "labels", "span", "spans", "boxes", "events", "options", "answer")


class Scored(NamedTuple):
    """One sample's reward and, where the answer could not be read, the reason."""

    value: float
    reason: Reason | None = None


def score_one(reward: RewardFunc, completion: Any, **row: Any) -> Scored | None:
    """Score one completion and say why; ``None`` if the reward is not for this sample.

    >>> score_one(temporal_iou_reward, "<answer>20 to 10</answer>", span=(10, 20))
    Scored(value=0.0, reason=<Reason.REVERSED: 'reversed'>)
    """
    reasons: list[Reason | None] = []
    columns = {name: [value] for name, value in row.items()}
    (value,) = reward(completions=[completion], reasons_out=reasons, **columns)
    return None if value is None else Scored(value, reasons[0])


def configured(reward: RewardFunc, *, name: str, **settings: Any) -> RewardFunc:
    """Fix a reward's settings under a name that logs can show.

    >>> strict = configured(temporal_iou_reward, name="strict_iou_reward", strict=True)
    >>> strict.__name__, strict(["<answer>10 to 20</answer>"], span=[(10, 20)])
    ('strict_iou_reward', [0.0])
    """
    function = update_wrapper(partial(reward, **settings), reward)
    function.__name__ = name  # type: ignore[attr-defined]
    return function


def completion_text(completion: Any) -> str:
    """Return the model's text: a string, or all text of its assistant messages.

    >>> completion_text([{"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}])
    'Hi'
    """
    if isinstance(completion, str):
        return completion
    texts: list[str] = []
    for message in completion:
        if message.get("role", "assistant") == "assistant":
            content = message.get("content") or ""
            whole = isinstance(content, str)
            texts += [content] if whole else [part.get("text") or "" for part in content]
    return "".join(texts)


def _grade(
    name: str,
    tasks: Iterable[str],
    score: Callable[[str, Row, str], Scored],
    completions: Sequence[Any],
    columns: Row,
    reasons_out: list[Any] | None,
) -> list[float | None]:
    """Score the samples of some tasks; ``score`` takes the text, its row of gold and its task."""
    present = [key for key in COLUMNS if columns.get(key) is not None]
    scores: list[Scored | None] = []
    for i, completion in enumerate(completions):
        row = {key: columns[key][i] for key in present if columns[key][i] is not None}
        task = row.get("task", _task_of(row))
        try:
            known = task in tasks
            scores.append(score(completion_text(completion), row, task) if known else None)
        except gold.GoldError as error:
            raise ValueError(f"{name}: sample {i}: {error}") from error
    reasons = [scored and scored.reason for scored in scores]
    if reasons_out is not None:
        reasons_out.extend(reasons)
    if "log_extra" in columns:  # TRL's table of completions
        columns["log_extra"](f"{name}_reason", [reason or "" for reason in reasons])
    return [None if scored is None else scored.value for scored in scores]


def _task_of(row: Row) -> str:
    for task, names in GOLD_COLUMNS.items():
        if all(name in row for name in names):
            return task
    return ""


def _read(text: str, row: Row, task: str, strict: bool) -> Parsed[Any]:
    """Read all that a task asks for, without looking at what is right."""
    if task == "temporal_grounding":
        return answers.parse_span(text, strict=strict)
    if task == "tracking":
        num_boxes = len(gold.check_boxes(row.get("boxes")))
        return answers.parse_track(text, num_boxes=num_boxes, strict=strict)
    if task == "quality":
        return answers.parse_label(text, labels=row.get("labels", QUALITY_LABELS), strict=strict)
    if task == "caption":
        return answers.parse_events(text, strict=strict)
    option = _read_option(text, row, task, strict)
    if task == "multiple_choice" or not option.ok:
        return option
    return answers.parse_spans(text, strict=strict)


def _read_option(text: str, row: Row, task: str, strict: bool) -> Parsed[str]:
    options = gold.check_options(row.get("options"))
    return answers.parse_option(text, options=options, strict=strict, frame=FRAMES[task])


def format_reward(
    completions: Sequence[Any],
    *,
    strict: bool = False,
    reasons_out: list[Any] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Pay 1 for a completion in its task's format, right or wrong, else 0.

    The tags once each, in order, filled, nothing around them; inside them something that reads
    as what the task asks for: a span, a track, an option.

    Args:
        completions: ``N`` strings or message lists.
        strict: See the module; so is ``reasons_out``.
        reasons_out: Extended by ``N`` reasons, ``None`` where there is nothing to explain.
        **columns: The dataset's. A sample without gold or task is judged by its tags alone.

    Returns:
        ``N`` of 0.0 or 1.0, ``None`` for a task this library does not know.

    Reference: VideoChat-R1 (arXiv 2504.06958), section 3.

    >>> format_reward(["<think>Seen.</think><answer>4 to 9</answer>", "4 to 9"])
    [1.0, 0.0]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        tags = FRAMES.get(task, FRAMES["temporal_grounding"])
        if CLUE_TAG in tags and not strict:
            tags = (*tags[:-1], answers.clue_tag(text))
        reason = answers.check_format(text, tags=tags)
        if reason is None and task:
            reason = _read(text, row, task, strict).reason
        return Scored(float(reason is None), reason)

    return _grade("format_reward", ("", *FRAMES), score, completions, columns, reasons_out)


def temporal_iou_reward(
    completions: Sequence[Any],
    span: Sequence[Any],
    *,
    shape: Shape = overlap.interval_iou,
    strict: bool = False,
    reasons_out: list[Any] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Pay the overlap of the one answered span with the true one.

    Args:
        completions: ``N`` strings or message lists.
        span: ``N`` of ``(start, end)`` seconds.
        shape: Score of two spans in [0, 1]: :func:`vcr1_lib.overlap.interval_iou`,
            :func:`threshold_iou`, :func:`boundary_iou` or :func:`scaled_giou`.
        strict: See the module; so is ``reasons_out``.
        reasons_out: Extended by ``N`` reasons.
        **columns: The dataset's; with ``duration``, a span that leaves the clip scores 0.

    Returns:
        ``N`` in [0, 1], higher is better, or ``None``.

    Reference: VideoChat-R1 (arXiv 2504.06958), section 3.

    >>> temporal_iou_reward(["<answer>10s - 20s</answer>", "<answer>-10 to 20</answer>"],
    ...                     span=[(10, 20), (10, 20)])
    [1.0, 0.0]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_span(row.get("span"))
        limit = gold.check_limit(row.get("duration"), truth)
        parsed = answers.parse_span(text, strict=strict, duration_seconds=limit)
        return Scored(0.0 if parsed.value is None else shape(parsed.value, truth), parsed.reason)

    columns, tasks = {**columns, "span": span}, ("temporal_grounding",)
    return _grade("temporal_iou_reward", tasks, score, completions, columns, reasons_out)


def threshold_iou(pred: overlap.Interval, target: overlap.Interval) -> float:
    """Return the share of the thresholds 0.3, 0.5, 0.7 that the IoU reaches, in [0, 1].

    >>> threshold_iou((10, 20), (10, 16))
    0.6666666666666666
    """
    iou = overlap.interval_iou(pred, target)
    return sum(iou >= threshold for threshold in IOU_THRESHOLDS) / len(IOU_THRESHOLDS)


def boundary_iou(pred: overlap.Interval, target: overlap.Interval) -> float:
    """Return the mean of the IoU and of how near both ends are, 0 for ends 2 s off; in [0, 1].

    Ends count only where the spans overlap: a near miss of a short event is still a miss.

    >>> boundary_iou((10, 20), (11, 20))
    0.825
    """
    iou = overlap.interval_iou(pred, target)
    near = [max(0.0, 1 - abs(p - t) / BOUNDARY_SECONDS) for p, t in zip(pred, target, strict=True)]
    return (iou + sum(near) / 2) / 2 if iou > 0 else 0.0


def scaled_giou(pred: overlap.Interval, target: overlap.Interval) -> float:
    """Return ``(1 + gIoU) / 2``, in [0, 1]; a slope everywhere, and pay for spans that miss.

    >>> scaled_giou((0, 5), (5, 10))
    0.5
    """
    hull = max(*pred, *target) - min(*pred, *target)
    return (1 + overlap.interval_giou(pred, target)) / 2 if hull > 0 else 0.0


threshold_iou_reward = configured(
    temporal_iou_reward, name="threshold_iou_reward", shape=threshold_iou
)
boundary_iou_reward = configured(
    temporal_iou_reward, name="boundary_iou_reward", shape=boundary_iou
)
giou_reward = configured(temporal_iou_reward, name="giou_reward", shape=scaled_giou)


def soft_length_reward(
    completions: Sequence[Any],
    *,
    soft_chars: int = SOFT_CHARS,
    hard_chars: int = HARD_CHARS,
    reasons_out: list[Any] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Pay a well-formed completion by its length: 1 up to ``soft_chars``, 0 from ``hard_chars``.

    In between it falls in a straight line. Malformed text earns nothing by being short.

    Returns:
        ``N`` in [0, 1], higher is better, or ``None``.

    Reference: after the overlong penalty of DAPO (arXiv 2503.14476), section 3.4, which counts
    tokens, lies in [-1, 0] and does not ask for the format.

    >>> soft_length_reward(["<think>Seen.</think><answer>4 to 9</answer>"], hard_chars=44,
    ...                    soft_chars=42)
    [0.5]
    """
    if not 0 <= soft_chars < hard_chars:
        raise ValueError(f"expected 0 <= soft_chars < hard_chars, got {soft_chars}, {hard_chars}")
    formed = format_reward(completions, reasons_out=reasons_out, **columns)
    width = hard_chars - soft_chars
    return [
        None if f is None else f * min(1.0, max(0.0, (hard_chars - len(completion_text(c))) / width))
        for f, c in zip(formed, completions, strict=True)
    ]


def interval_set_iou_reward(
    completions: Sequence[Any],
    spans: Sequence[Any],
    *,
    strict: bool = False,
    reasons_out: list[Any] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Pay the overlap of the clue spans, as a set, with the true ones.

    Args:
        completions: ``N`` strings or message lists.
        spans: ``N`` lists of ``(start, end)`` seconds.
        strict: See the module; so is ``reasons_out``.
        reasons_out: Extended by ``N`` reasons.
        **columns: The dataset's; with ``duration``, a span that leaves the clip scores 0.

    Returns:
        ``N`` in [0, 1], higher is better, or ``None``.

    >>> interval_set_iou_reward(["<clue>[(0, 2), (4, 6)]</clue>"], spans=[[(0, 6)]],
    ...                         task=["grounded_qa"])
    [0.6666666666666666]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_spans(row.get("spans"))
        limit = gold.check_limit(row.get("duration"), [end for _, end in truth])
        parsed = answers.parse_spans(text, strict=strict, duration_seconds=limit)
        if parsed.value is None:
            return Scored(0.0, parsed.reason)
        return Scored(overlap.interval_set_iou(parsed.value, truth))

    columns, tasks = {**columns, "spans": spans}, ("grounded_qa",)
    return _grade("interval_set_iou_reward", tasks, score, completions, columns, reasons_out)


def track_iou_reward(
    completions: Sequence[Any],
    boxes: Sequence[Any],
    *,
    skip_first: bool = False,
    strict: bool = False,
    reasons_out: list[Any] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Pay the mean box IoU of a track; one box too few or too many scores 0.

    Args:
        completions: ``N`` strings or message lists.
        boxes: ``N`` lists of ``F`` boxes ``(x0, y0, x1, y1)``, shares of the picture.
        skip_first: Leave out the first box, which the prompt gives. The paper counts it.
        strict: See the module; so is ``reasons_out``.
        reasons_out: Extended by ``N`` reasons.
        **columns: The dataset's.

    Returns:
        ``N`` in [0, 1], higher is better, or ``None``.

    >>> track_iou_reward(["<answer>[0, 0, 1, .5]</answer>"], boxes=[[(0, 0, 1, 1)]])
    [0.5]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_boxes(row.get("boxes"))
        parsed = answers.parse_track(text, num_boxes=len(truth), strict=strict)
        if parsed.value is None:
            return Scored(0.0, parsed.reason)
        return Scored(overlap.track_iou(parsed.value, truth, skip_first=skip_first))

    columns, tasks = {**columns, "boxes": boxes}, ("tracking",)
    return _grade("track_iou_reward", tasks, score, completions, columns, reasons_out)


later_track_iou_reward = configured(
    track_iou_reward, name="later_track_iou_reward", skip_first=True
)


def option_reward(
    completions: Sequence[Any],
    options: Sequence[Any],
    answer: Sequence[Any],
    *,
    strict: bool = False,
    reasons_out: list[Any] | None = None,
    **columns: Any,
) -> list[float | None]:
    """Pay 1 for the right option, stated as letter or text, else 0.

    Args:
        completions: ``N`` strings or message lists.
        options: ``N`` lists of letters or texts.
        answer: ``N`` letters or texts.
        strict: See the module; so is ``reasons_out``.
        reasons_out: Extended by ``N`` reasons.
        **columns: The dataset's.

    >>> option_reward(["<answer>(B) jump</answer>", "<answer>Because</answer>"],
    ...               options=[["wave", "jump"]] * 2, answer=["B", "B"])
    [1.0, 0.0]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_option(row.get("answer"), row.get("options"))
        parsed = _read_option(text, row, task, strict)
        return Scored(float(parsed.value == truth), parsed.reason)

    columns = {**columns, "options": options, "answer": answer}
    tasks = ("multiple_choice", "grounded_qa")
    return _grade("option_reward", tasks, score, completions, columns, reasons_out)
