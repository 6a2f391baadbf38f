"""The order in which training rows arrive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from vcr1_lib.datasets import AnnotationError


class RepeatedWindows(Sampler[int]):
    """Shuffle rows by (seed, epoch) and give each window of them several times in a row."""

    def __init__(self, num_rows: int, *, window: int, times: int, seed: int) -> None:
        if num_rows < window:
            raise AnnotationError(
                f"expected at least {window} training questions, one step's worth, got {num_rows}; "
                "label more, or lower per_device_train_batch_size or steps_per_generation"
            )
        self.num_rows, self.window, self.times, self.seed = num_rows, window, times, seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.num_rows // self.window * self.window * self.times

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_rows).tolist()
        for first in range(0, self.num_rows - self.window + 1, self.window):
            yield from order[first : first + self.window] * self.times

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; the data loader calls it."""
        self.epoch = epoch
