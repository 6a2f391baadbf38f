"""Turn a score of one answer into a TRL reward function over a mixed batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from vcr1_lib.answers import completion_text
from vcr1_lib.answers.grammar import Parsed, Reason
from vcr1_lib.rewards.gold import GoldError

T = TypeVar("T")
Rewards = list[float | None]
Column = Sequence[Any]
RewardFunc = Callable[..., Rewards]
Row = Mapping[str, Any]

# Without a ``task`` column, a sample belongs to the first task whose gold it has in full.
GOLD_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "temporal_grounding": ("span",),
    "grounded_qa": ("spans", "options", "answer"),
    "tracking": ("boxes",),
    "caption": ("events",),
    "multiple_choice": ("options", "answer"),
    "quality": ("answer",),
}
COLUMNS: Final = {name for names in GOLD_COLUMNS.values() for name in names} | {
    "task",
    "duration",
    "labels",
}


class Scored(NamedTuple):
    """One sample's reward and, where the answer could not be read, the reason."""

    value: float
    reason: Reason | None = None


def score_one(reward: RewardFunc, completion: Any, **row: Any) -> Scored | None:
    """Score one completion and say why; ``None`` if the reward is not for this sample.

    >>> from vcr1_lib.rewards import temporal_iou_reward
    >>> score_one(temporal_iou_reward, "<answer>20 to 10</answer>", span=(10, 20))
    Scored(value=0.0, reason=<Reason.REVERSED: 'reversed'>)
    """
    reasons: list[Reason | None] = []
    columns = {name: [value] for name, value in row.items()}
    (value,) = reward(completions=[completion], reasons_out=reasons, **columns)
    return None if value is None else Scored(value, reasons[0])


class _Configured:
    """A reward with settings. TRL logs a ``functools.partial`` under the plain reward's name."""

    def __init__(self, reward: RewardFunc, name: str, settings: Mapping[str, Any]) -> None:
        self.__name__, self._reward, self._settings = name, reward, settings
        self.__wrapped__ = reward  # where ``inspect.signature`` finds the columns it needs

    def __call__(self, completions: Column, *gold: Column, **columns: Any) -> Rewards:
        return self._reward(completions, *gold, **self._settings, **columns)


def configured(reward: RewardFunc, *, name: str, **settings: Any) -> RewardFunc:
    """Fix a reward's settings under a name that logs can show; the result can be pickled.

    >>> from vcr1_lib.rewards import temporal_iou_reward
    >>> strict = configured(temporal_iou_reward, name="strict_iou_reward", strict=True)
    >>> strict.__name__, strict(["<answer>10 to 20</answer>"], span=[(10, 20)])
    ('strict_iou_reward', [0.0])
    """
    return _Configured(reward, name, settings)


def grade(
    name: str,
    tasks: Iterable[str],
    score: Callable[[str, Row, str], Scored],
    completions: Column,
    columns: Row,
) -> Rewards:
    """Score the samples of some tasks; ``score`` takes the text, its row of gold and its task."""
    present = [key for key in COLUMNS if columns.get(key) is not None]
    scores: list[Scored | None] = []
    for i, completion in enumerate(completions):
        row = {key: columns[key][i] for key in present if columns[key][i] is not None}
        task: str = row.get("task", _task_of(row))
        try:
            known = task in tasks
            scores.append(score(completion_text(completion), row, task) if known else None)
        except GoldError as error:
            raise ValueError(f"{name}: sample {i}: {error}") from error
    reasons = [None if scored is None else scored.reason for scored in scores]
    if columns.get("reasons_out") is not None:
        columns["reasons_out"].extend(reasons)
    if "log_extra" in columns:  # TRL's table of completions
        columns["log_extra"](f"{name}_reason", [reason or "" for reason in reasons])
    return [None if scored is None else scored.value for scored in scores]


def pay(parsed: Parsed[T], value_of: Callable[[T], float]) -> Scored:
    """Score what could be read; what could not is worth 0."""
    return Scored(0.0 if parsed.value is None else value_of(parsed.value), parsed.reason)


def _task_of(row: Row) -> str:
    for task, names in GOLD_COLUMNS.items():
        if all(name in row for name in names):
            return task
    return ""
