"""Rule rewards with TRL's signature, ``f(completions, **columns) -> list[float | None]``.

Completions are ``N`` strings or message lists; a dataset's columns arrive as keywords, one value
a sample: ``task``, ``duration`` (seconds) and the gold of each task. What comes back is ``N``
rewards in [0, 1], higher is better. ``None`` says "not my task", so one list of rewards serves
a mixed dataset: the ``task`` column decides, and without one the gold that a sample has.

A bad *answer* scores 0 for a named reason; bad *gold* raises ``ValueError`` with the reward and
the sample. Accuracy is read leniently (a missing thought costs the format reward only), but
what it pays is always something the format reward reads too. Every reward also takes
``strict=True``, pay the prompt's exact wording only, and ``reasons_out``, a list that is extended
by a reason a sample, ``None`` where there is nothing to explain; see
:func:`vcr1_lib.rewards.grading.score_one`.

Reference: VideoChat-R1 (arXiv 2504.06958), section 3; departures are named where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from vcr1_lib import answers, overlap
from vcr1_lib.answers.grammar import Parsed, Reason
from vcr1_lib.prompts import CLUE_TAG, FRAMES, QUALITY_LABELS
from vcr1_lib.rewards import gold
from vcr1_lib.rewards.grading import (
    Column,
    RewardFunc,
    Rewards,
    Row,
    Scored,
    configured,
    grade,
    pay,
    tell,
)
from vcr1_lib.rewards.judges import Judge, event_recall, word_judge

Shape = Callable[[overlap.Interval, overlap.Interval], float]

MAX_CAPTION_CHARS: Final = 10_000


def _read(text: str, row: Row, task: str, strict: bool) -> Parsed[Any]:
    """Read all that a task asks for, without looking at what is right."""
    if task == "temporal_grounding":
        return answers.parse_span(text, strict=strict)
    if task == "tracking":
        num_boxes = len(gold.check_boxes(row.get("boxes")))
        return answers.parse_track(text, num_boxes=num_boxes, strict=strict)
    if task == "quality":
        labels = gold.check_labels(row.get("labels", QUALITY_LABELS))
        return answers.parse_label(text, labels=labels, strict=strict)
    if task == "caption":
        return answers.extract_answer(text, strict=strict)
    option = _read_option(text, row, task, strict)
    if task == "multiple_choice" or not option.ok:
        return option
    return answers.parse_spans(text, strict=strict)


def _read_option(text: str, row: Row, task: str, strict: bool) -> Parsed[str]:
    options = gold.check_options(row.get("options"))
    return answers.parse_option(text, options=options, strict=strict, frame=FRAMES[task])


def format_reward(completions: Column, *, strict: bool = False, **columns: Any) -> Rewards:
    """Pay 1 for a completion in its task's format, right or wrong, else 0.

    The tags once each, in order, filled, nothing around them; inside them something that reads
    as what the task asks for: a span, a track, an option. A sample that shows neither gold nor
    task is judged by its tags alone.

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

    return grade("format_reward", ("", *FRAMES), score, completions, columns)


def temporal_iou_reward(
    completions: Column,
    span: Column,
    *,
    shape: Shape = overlap.interval_iou,
    strict: bool = False,
    **columns: Any,
) -> Rewards:
    """Pay the overlap of the one answered span with the true one.

    Args:
        completions: ``N``.
        span: ``N`` of ``(start, end)`` seconds.
        shape: Score of two spans in [0, 1]: the IoU, or one of :mod:`vcr1_lib.rewards.shaping`.
        **columns: With ``duration``, a span that leaves the clip scores 0.

    >>> temporal_iou_reward(["<answer>10s - 20s</answer>", "<answer>-10 to 20</answer>"],
    ...                     span=[(10, 20), (10, 20)])
    [1.0, 0.0]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_span(row.get("span"))
        limit = gold.check_limit(row.get("duration"), truth)
        parsed = answers.parse_span(text, strict=strict, duration_seconds=limit)
        return pay(parsed, lambda pred: shape(pred, truth))

    own, tasks = {"span": span}, ("temporal_grounding",)
    return grade("temporal_iou_reward", tasks, score, completions, columns, own)


def interval_set_iou_reward(
    completions: Column, spans: Column, *, strict: bool = False, **columns: Any
) -> Rewards:
    """Pay the overlap of the clue spans, as a set, with the true ones.

    Args:
        completions: ``N``.
        spans: ``N`` lists of ``(start, end)`` seconds; beside no option they need a ``task``.
        **columns: With ``duration``, a span that leaves the clip scores 0.

    >>> interval_set_iou_reward(["<clue>[(0, 2), (4, 6)]</clue>"], spans=[[(0, 6)]],
    ...                         task=["grounded_qa"])
    [0.6666666666666666]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_spans(row.get("spans"))
        limit = gold.check_limit(row.get("duration"), [end for _, end in truth])
        parsed = answers.parse_spans(text, strict=strict, duration_seconds=limit)
        return pay(parsed, lambda preds: overlap.interval_set_iou(preds, truth))

    own, tasks = {"spans": spans}, ("grounded_qa",)
    return grade("interval_set_iou_reward", tasks, score, completions, columns, own)


def track_iou_reward(
    completions: Column,
    boxes: Column,
    *,
    skip_first: bool = False,
    strict: bool = False,
    **columns: Any,
) -> Rewards:
    """Pay the mean box IoU of a track; a box too few or too many scores 0.

    Args:
        completions: ``N``.
        boxes: ``N`` lists of ``F`` boxes ``(x0, y0, x1, y1)``, shares of the picture.
        skip_first: Leave out the first box, which the prompt gives. The paper counts it.

    >>> track_iou_reward(["<answer>[0, 0, 1, .5]</answer>"], boxes=[[(0, 0, 1, 1)]])
    [0.5]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_boxes(row.get("boxes"), least=1 + skip_first)
        parsed = answers.parse_track(text, num_boxes=len(truth), strict=strict)
        return pay(parsed, lambda b: overlap.track_iou(b, truth, skip_first=skip_first))

    own, tasks = {"boxes": boxes}, ("tracking",)
    return grade("track_iou_reward", tasks, score, completions, columns, own)


later_track_iou_reward = configured(
    track_iou_reward, name="later_track_iou_reward", skip_first=True
)


def option_reward(
    completions: Column, options: Column, answer: Column, *, strict: bool = False, **columns: Any
) -> Rewards:
    """Pay 1 for the right option, stated as letter or text, else 0.

    Args:
        completions: ``N``.
        options: ``N`` lists of letters or texts.
        answer: ``N`` letters or texts.

    >>> option_reward(["<answer>(B) jump</answer>", "<answer>Because</answer>"],
    ...               options=[["wave", "jump"]] * 2, answer=["B", "B"])
    [1.0, 0.0]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_option(row.get("answer"), row.get("options"))
        return pay(_read_option(text, row, task, strict), lambda letter: float(letter == truth))

    own, tasks = {"options": options, "answer": answer}, ("multiple_choice", "grounded_qa")
    return grade("option_reward", tasks, score, completions, columns, own)


def label_reward(
    completions: Column, answer: Column, *, strict: bool = False, **columns: Any
) -> Rewards:
    """Pay 1 for the right label, else 0.

    Args:
        completions: ``N``.
        answer: ``N`` labels.
        **columns: With ``labels``, what may be answered; else low and high quality.

    >>> label_reward(["<answer>High quality</answer>"], answer=["high quality"])
    [1.0]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_label(row.get("answer"), row.get("labels", QUALITY_LABELS))
        return pay(_read(text, row, task, strict), lambda label: float(label == truth))

    own, tasks = {"answer": answer}, ("quality",)
    return grade("label_reward", tasks, score, completions, columns, own)


def grounded_qa_reward(completions: Column, *, strict: bool = False, **columns: Any) -> Rewards:
    """Pay the mean of the right option and the overlap of its clue: the two terms as one.

    The paper adds them, as ``PRESETS["grounded_qa"]`` does; a mean stays in [0, 1].

    >>> grounded_qa_reward(["<answer>A</answer><clue>[(0, 5)]</clue>"], options=[["A", "B"]],
    ...                    answer=["A"], spans=[[(0, 10)]])
    [0.75]
    """
    asked = {key: columns.pop(key, None) for key in ("reasons_out", "log_extra")}
    whys: list[list[Any]] = [[], []]
    right = option_reward(completions, strict=strict, reasons_out=whys[0], **columns)
    shown = interval_set_iou_reward(completions, strict=strict, reasons_out=whys[1], **columns)
    tell("grounded_qa_reward", [a or b for a, b in zip(*whys, strict=True)], asked)
    pairs = zip(right, shown, strict=True)
    return [None if r is None or s is None else (r + s) / 2 for r, s in pairs]


def event_recall_reward(
    completions: Column,
    events: Column,
    *,
    judge: Judge = word_judge,
    max_chars: int = MAX_CAPTION_CHARS,
    strict: bool = False,
    **columns: Any,
) -> Rewards:
    """Pay the share of the true events that a caption tells.

    Args:
        completions: ``N``.
        events: ``N`` lists of sentences.
        judge: Decides; see :mod:`vcr1_lib.rewards.judges`. The paper's judge was never released.
        max_chars: A longer caption scores 0.

    >>> event_recall_reward(["<answer>A man sits. He barks.</answer>"],
    ...                     events=[["a man sits", "a dog barks"]])
    [0.5]
    """

    def score(text: str, row: Row, task: str) -> Scored:
        truth = gold.check_events(row.get("events"))
        content = answers.extract_answer(text, strict=strict)
        if content.value is not None and len(content.value) > max_chars:
            return Scored(0.0, Reason.TOO_LONG)
        return pay(content, lambda caption: event_recall(caption, truth, judge=judge))

    own, tasks = {"events": events}, ("caption",)
    return grade("event_recall_reward", tasks, score, completions, columns, own)


PRESETS: Final[dict[str, tuple[tuple[RewardFunc, float], ...]]] = {
    "temporal_grounding": ((format_reward, 1.0), (temporal_iou_reward, 1.0)),
    "tracking": ((format_reward, 1.0), (track_iou_reward, 1.0)),
    "multiple_choice": ((format_reward, 1.0), (option_reward, 1.0)),
    "grounded_qa": (
        (format_reward, 1.0),
        (interval_set_iou_reward, 1.0),
        (option_reward, 1.0),
    ),
    "caption": ((format_reward, 1.0), (event_recall_reward, 1.0)),
    "quality": ((format_reward, 1.0), (label_reward, 1.0)),
}


def preset_rewards(tasks: Iterable[str]) -> list[RewardFunc]:
    """Return the rewards that tasks need, each once: the paper's, all of weight 1.

    >>> [reward.__name__ for reward in preset_rewards(["caption", "multiple_choice"])]
    ['format_reward', 'event_recall_reward', 'option_reward']
    """
    names = list(tasks)
    if isinstance(tasks, str) or not PRESETS.keys() >= set(names):
        raise ValueError(f"expected a list of tasks out of {list(PRESETS)}, got {tasks!r}")
    return list(dict.fromkeys(reward for task in names for reward, _ in PRESETS[task]))
