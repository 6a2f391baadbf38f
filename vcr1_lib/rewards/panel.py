"""Ask several reward functions about the same answers, and keep what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import signature
from math import isfinite, isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vcr1_lib.rewards.grading import RewardFunc


class Graded(NamedTuple):
    """The rewards of ``N`` answers.

    Attributes:
        names: ``F`` names of the functions.
        ids: ``N`` names of the samples.
        rewards: ``(N, F)``, NaN where a function does not apply to the sample.
        extra: Columns that functions wrote by ``log_extra``, such as the reason why an
            answer could not be read.
    """

    names: list[str]
    ids: list[Any]
    rewards: Tensor
    extra: dict[str, list[Any]]


class RewardPanel:
    """Reward functions with TRL's signature, their names and weights.

    Args:
        functions: One or several ``f(completions, **columns) -> list[float | None]``.
        weights: One a function; ``None`` for all 1.
        columns: Names of the whole dataset's columns. Every function gets all of them and those
            it cannot do without, with ``None`` where a sample lacks one, whatever a batch or
            the dataset happens to hold.

    Raises:
        ValueError: If the numbers of functions and weights differ.
    """

    def __init__(
        self,
        functions: RewardFunc | Sequence[RewardFunc],
        weights: Sequence[float] | None = None,
        columns: Iterable[str] = (),
    ) -> None:
        self.functions = [functions] if callable(functions) else list(functions)
        self.names = [getattr(f, "__name__", type(f).__name__) for f in self.functions]
        chosen = [1.0] * len(self.functions) if weights is None else list(weights)
        if len(chosen) != len(self.functions):
            raise ValueError(
                f"expected {len(self.functions)} reward_weights, one a reward function, "
                f"got {len(chosen)}"
            )
        self.weights = torch.tensor(chosen)
        self.columns = set(columns).union(*map(_needed_columns, self.functions))

    def __call__(self, completions: list[str], records: Sequence[dict[str, Any]]) -> Graded:
        """Score answers; the first ``N / len(records)`` belong to the first record, and so on.

        Raises:
            ValueError: If a function returns too few rewards, or one that is not finite; if
                none applies to a sample.
        """
        group = len(completions) // len(records)
        rows = [record for record in records for _ in range(group)]
        keys = self.columns | {key for record in records for key in record}
        columns = {key: [row.get(key) for row in rows] for key in sorted(keys)}
        extra: dict[str, list[Any]] = {}
        scores = []
        for name, function in zip(self.names, self.functions, strict=True):
            values = function(completions=completions, log_extra=extra.__setitem__, **columns)
            _check(name, values, completions, columns["id"])
            scores.append([float("nan") if value is None else float(value) for value in values])
        rewards = torch.tensor(scores).T.reshape(len(rows), len(self.functions))
        for row in rewards.isnan().all(-1).nonzero().flatten().tolist():
            raise ValueError(
                f"no reward function scored sample {columns['id'][row]!r} of task "
                f"{rows[row].get('task')!r}: every one returned None; "
                "add a reward for that task, or leave its samples out"
            )
        return Graded(self.names, columns["id"], rewards, extra)


def _needed_columns(function: RewardFunc) -> set[str]:
    """Return the columns a function must be given: those of its task, which others lack."""
    return {
        parameter.name
        for parameter in signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name != "completions"
    }


def completion_rows(step: int, texts: Sequence[str], graded: Graded) -> list[dict[str, Any]]:
    """Return answers with their rewards as plain data, one row each."""
    rows = []
    for i, text in enumerate(texts):
        scores = zip(graded.names, graded.rewards[i].tolist(), strict=True)
        rows.append(
            {
                "step": step,
                "id": graded.ids[i],
                "completion": text,
                "rewards": {name: None if isnan(score) else score for name, score in scores},
                **{name: values[i] for name, values in graded.extra.items() if values[i]},
            }
        )
    return rows


def _check(
    name: str, values: Sequence[float | None], completions: list[str], ids: list[Any]
) -> None:
    if len(values) != len(completions):
        raise ValueError(f"{name} returned {len(values)} rewards for {len(completions)} answers")
    for value, text, row in zip(values, completions, ids, strict=True):
        if value is not None and not isfinite(value):
            raise ValueError(
                f"{name} returned {value} for sample {row!r}, answer {text[:200]!r}; "
                "a reward must be a finite number or None"
            )
