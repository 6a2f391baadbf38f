"""Turn a score of one answer into a TRL reward function over a mixed batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from inspect import Parameter, signature
from typing import Any, Final, NamedTuple, TypeVar

from vcr1_lib.answers import completion_text
from vcr1_lib.answers.grammar import Parsed, Reason, fold
from vcr1_lib.prompts import QUALITY_LABELS
from vcr1_lib.rewards.gold import GoldError, is_missing

log = logging.getLogger(__name__)

T = TypeVar("T")
Rewards = list[float | None]
Column = Sequence[Any]
RewardFunc = Callable[..., Rewards]
Row = Mapping[str, Any]

# Without a ``task`` column, a sample belongs to the first task whose gold it has in full; an
# ``answer`` alone is a quality only beside ``labels``, or where it is one of ours.
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
        if columns.get("log_extra") is not None:  # TRL takes a column of its table once
            columns["log_extra"] = self._under_its_name(columns["log_extra"])
        return self._reward(completions, *gold, **self._settings, **columns)

    def _under_its_name(self, log_extra: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
        plain = getattr(self._reward, "__name__", "")
        return lambda column, values: log_extra(column.replace(plain, self.__name__, 1), values)


def configured(reward: RewardFunc, *, name: str, **settings: Any) -> RewardFunc:
    """Fix a reward's settings under a name that logs can show; the result can be pickled.

    Raises:
        ValueError: If the reward has no setting of that name.

    >>> from vcr1_lib.rewards import temporal_iou_reward
    >>> strict = configured(temporal_iou_reward, name="strict_iou_reward", strict=True)
    >>> strict.__name__, strict(["<answer>10 to 20</answer>"], span=[(10, 20)])
    ('strict_iou_reward', [0.0])
    """
    named = signature(reward).parameters.values()
    known = [p.name for p in named if p.default is not Parameter.empty]
    if unknown := sorted(settings.keys() - set(known)):
        raise ValueError(f"{name}: expected settings of {known}, got {', '.join(unknown)}")
    return _Configured(reward, name, settings)


def grade(
    name: str,
    tasks: Iterable[str],
    score: Callable[[str, Row, str], Scored],
    completions: Column,
    columns: Row,
    own: Row | None = None,
) -> Rewards:
    """Score the samples of some tasks; ``score`` takes the text, its row of gold and its task.

    Raises:
        ValueError: If a column is not one value a sample, a completion is no text, truth is
            unusable, or a sample has the reward's ``own`` truth but no task can be told.
    """
    own = own or {}
    texts = _listed(name, "completions", completions)
    scores: list[Scored | None] = []
    rows = _rows(name, len(texts), {**columns, **own})
    for i, (completion, row) in enumerate(zip(texts, rows, strict=True)):
        try:
            task = _checked_task(row, own)
            known = task in tasks
            scores.append(score(completion_text(completion), row, task) if known else None)
        except ValueError as error:
            raise ValueError(f"{name}: sample {i}: {error}") from error
    tell(name, [None if scored is None else scored.reason for scored in scores], columns)
    return [None if scored is None else scored.value for scored in scores]


def tell(name: str, reasons: list[Reason | None], columns: Row) -> None:
    """Hand a reward's reasons to whoever asks: ``reasons_out``, and TRL's table of completions."""
    if columns.get("reasons_out") is not None:
        columns["reasons_out"].extend(reasons)
    if columns.get("log_extra") is not None:
        columns["log_extra"](f"{name}_reason", [reason or "" for reason in reasons])


def pay(parsed: Parsed[T], value_of: Callable[[T], float]) -> Scored:
    """Score what could be read; what could not is worth 0."""
    return Scored(0.0 if parsed.value is None else value_of(parsed.value), parsed.reason)


def _rows(name: str, count: int, columns: Row) -> list[dict[str, Any]]:
    """Return the gold of each sample, without what it lacks."""
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for key in COLUMNS:
        if columns.get(key) is not None:
            for row, value in zip(rows, _listed(name, key, columns[key], count), strict=True):
                if not is_missing(value) and not (key == "task" and value == ""):
                    row[key] = value
    return rows


def _listed(name: str, key: str, column: Any, count: int | None = None) -> list[Any]:
    """Return a column's values by place; a pandas column would be looked up by label."""
    single = isinstance(column, str | bytes | Mapping) or not isinstance(column, Iterable)
    values = [] if single else list(column)
    if single or count not in (None, len(values)):
        wanted = "a list" if count is None else f"one value for each of {count} completions"
        got = f"{column!r:.80}" if single else f"{len(values)}"
        raise ValueError(f"{name}: column {key!r}: expected {wanted}, got {got}")
    return values


def _checked_task(row: Row, own: Row) -> str:
    task = row.get("task") or _task_of(row)
    if not isinstance(task, str):
        raise GoldError(f"expected a task of {list(GOLD_COLUMNS)}, got {task!r}")
    if not task and own and own.keys() <= row.keys():
        raise GoldError(
            f"expected a column 'task', or the truth of one, got only {sorted(row)}; "
            f"add a column 'task' with one of {list(GOLD_COLUMNS)}"
        )
    if task and task not in GOLD_COLUMNS:
        _warn_unknown(task)
    return task


@cache
def _warn_unknown(task: str) -> None:
    log.warning("task %r has no reward here: known are %s", task, ", ".join(GOLD_COLUMNS))


def _task_of(row: Row) -> str:
    held = {name for name, value in row.items() if not _is_empty(value)}
    is_quality = "labels" in held or fold(str(row.get("answer"))) in QUALITY_LABELS
    for task, names in GOLD_COLUMNS.items():
        if held.issuperset(names) and (task != "quality" or is_quality):
            return task
    return ""


def _is_empty(value: Any) -> bool:
    return getattr(value, "shape", None) == (0,) or (isinstance(value, Sequence) and not value)
