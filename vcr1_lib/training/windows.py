"""The order in which training rows arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
from torch.utils.data import Sampler

from vcr1_lib.datasets import AnnotationError

TaskSampling = Literal["proportional", "balanced"]


def balanced_order(tasks: Sequence[str], rng: np.random.Generator) -> list[int]:
    """Order rows so that every task comes equally often, whatever its number of rows.

    Tasks take turns. A task that runs out starts over in a new order, so its rows come more
    than once, and a task with more rows than its turns leaves some out until another epoch.

    Args:
        tasks: ``N`` names, one a row.
        rng: Shuffles each task's rows, and the tasks of each round.

    Returns:
        ``N`` row numbers.

    >>> order = balanced_order(["a", "a", "a", "b"], np.random.default_rng(0))
    >>> sorted("aaab"[row] for row in order)
    ['a', 'a', 'b', 'b']
    """
    rows = {task: [i for i, t in enumerate(tasks) if t == task] for task in dict.fromkeys(tasks)}

    def endless(own: list[int]) -> Iterator[int]:
        while True:
            yield from rng.permutation(own).tolist()

    turns = {task: endless(own) for task, own in rows.items()}
    rounds = (next(turns[task]) for _ in tasks for task in rng.permutation(list(turns)).tolist())
    return list(islice(rounds, len(tasks)))


def check_window(num_rows: int, window: int) -> None:
    """Make sure that there are enough training questions for one step.

    Args:
        num_rows: Training questions.
        window: Of one step, in all processes.

    Raises:
        AnnotationError: If there are fewer.
    """
    if num_rows < window:
        raise AnnotationError(
            f"expected at least {window} training questions, one step's worth, got {num_rows}; "
            "label more, or lower --per_device_train_batch_size or --gradient_accumulation_steps"
        )


class RepeatedWindows(Sampler[int]):
    """Shuffle rows by (seed, epoch) and give each window of them several times in a row.

    Args:
        num_rows: ``N``.
        window: Rows of one step.
        times: How often each window comes.
        seed: Of the order.
        tasks: ``N`` names for an order in which every task comes equally often; ``None`` for
            one in which each row comes once an epoch, so that tasks come in proportion.
        epoch: Tells the epoch when it begins. The data loader's ``set_epoch`` does not reach a
            sampler that is resumed inside an epoch by several processes.
    """

    def __init__(
        self,
        num_rows: int,
        *,
        window: int,
        times: int,
        seed: int,
        tasks: Sequence[str] | None = None,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        check_window(num_rows, window)
        self.num_rows, self.window, self.times, self.seed = num_rows, window, times, seed
        self.tasks, self.epoch = tasks, epoch

    def __len__(self) -> int:
        return self.num_rows // self.window * self.window * self.times

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch()))
        if self.tasks is None:
            order = rng.permutation(self.num_rows).tolist()
        else:
            order = balanced_order(self.tasks, rng)
        for first in range(0, self.num_rows - self.window + 1, self.window):
            yield from order[first : first + self.window] * self.times
