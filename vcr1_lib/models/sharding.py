"""What changes when a model's weights lie in pieces over several processes.

FSDP2 and ZeRO-3 gather a layer's weights while it runs, by a collective call that every
process must make equally often. FSDP2 gathers what belongs to no layer, such as the vision
tower, in the whole model's own ``forward`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule
from transformers.integrations import deepspeed
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

Row = TypeVar("Row")


def is_sharded(model: nn.Module) -> bool:
    """Tell whether a forward of this model is a collective call."""
    return isinstance(model, FSDPModule) or is_deepspeed_zero3_enabled()


@contextmanager
def loaded_whole() -> Iterator[None]:
    """Keep ZeRO-3's configuration from Transformers while it loads a model.

    It would divide the weights at once, and without DeepSpeed's engine around it, which comes
    with the training, such a model answers nothing. The engine divides whole weights as well.
    """
    told = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = told


@contextmanager
def root_gathered(model: nn.Module) -> Iterator[None]:
    """Keep the weights that belong to no layer in one piece, to run a part of the model."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def is_one_of_several() -> bool:
    """Tell whether there are other processes to talk to."""
    return distributed.is_available() and distributed.is_initialized()


def any_process(flag: bool, device: torch.device) -> bool:
    """Tell whether this is true in any process; each must ask."""
    if not is_one_of_several():
        return flag
    told = torch.tensor(int(flag), device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return bool(told)


def stop_together(failure: Exception | None) -> None:
    """Raise what stopped this process, or say what stopped another; each must ask.

    Args:
        failure: Of this process, or ``None``.

    Raises:
        ConnectionAbortedError: If another process has failed; it names which and why.
    """
    rank = distributed.get_rank() if is_one_of_several() else 0
    told = gather_rows([] if failure is None else [f"process {rank} stopped: {failure}"])
    if failure is not None:
        raise failure
    if told:
        raise ConnectionAbortedError("; ".join(told))


def leave_processes() -> None:
    """Take leave of the other processes: one that just ends may be aborted by its own threads."""
    if is_one_of_several():
        distributed.destroy_process_group()


def gather_rows(rows: list[Row]) -> list[Row]:
    """Return every process's rows, in every process, in the order of their ranks."""
    if not is_one_of_several():
        return rows
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, rows)
    return [row for share in shares for row in share]


def each_a_share(work: Callable[[list[Any]], list[Row]], records: Sequence[Any]) -> list[Row]:
    """Let every process do an equal share of the work, and give all of it to each.

    Shares are equally long, the last record standing in where they would not be, so that
    sharded models make their collective calls equally often.

    Args:
        work: Turns records into as many results.
        records: The same in every process.

    Returns:
        One result a record.

    >>> each_a_share(lambda rows: [row * 2 for row in rows], [1, 2, 3])
    [2, 4, 6]
    """
    if not is_one_of_several() or not records:
        return work(list(records))
    processes, rank = distributed.get_world_size(), distributed.get_rank()
    filled = [*records, *[records[-1]] * (-len(records) % processes)]
    done, size = gather_rows(work(filled[rank::processes])), len(filled) // processes
    return [done[i % processes * size + i // processes] for i in range(len(records))]
