"""What changes when a model's weights lie in pieces over several processes.

FSDP2 and ZeRO-3 gather a layer's weights while it runs, by a collective call that every
process must make equally often. FSDP2 gathers what belongs to no layer, such as the vision
tower, in the whole model's own ``forward`` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled


def is_sharded(model: nn.Module) -> bool:
    """Tell whether a forward of this model is a collective call."""
    return isinstance(model, FSDPModule) or is_deepspeed_zero3_enabled()


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


def any_process(flag: bool, device: torch.device) -> bool:
    """Tell whether this is true in any process; each must ask."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return flag
    told = torch.tensor(int(flag), device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return bool(told)
