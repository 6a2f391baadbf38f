"""Ask several reward functions about the same answers, and keep what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vcr1_lib.grading import RewardFunc


class Graded(NamedTuple):
    """The rewards of ``N`` answers.

    Attributes:
        rewards: ``(N, F)``, NaN where a function does not apply to the sample.
        extra: Columns that functions wrote by ``log_extra``, such as the reason why an
            answer could not be read.
    """

    rewards: Tensor
    extra: dict[str, list[Any]]


class RewardPanel:
    """Reward functions with TRL's signature, their names and weights.

    Args:
        functions: One or several ``f(completions, **columns) -> list[float | None]``.
        weights: One a function; ``None`` for all 1.
        columns: Names of the whole dataset's columns. Every function gets all of them, with
            ``None`` where a sample lacks one, whatever a batch happens to hold.

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
        self.weights, self.columns = torch.tensor(chosen), set(columns)

    def __call__(self, completions: list[str], records: Sequence[dict[str, Any]]) -> Graded:
        """Score answers; the first ``N / len(records)`` belong to the first record, and so on.

        Raises:
            ValueError: If a function returns too few rewards, or one that is not finite.
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
        return Graded(torch.tensor(scores).T.reshape(len(rows), len(self.functions)), extra)


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
