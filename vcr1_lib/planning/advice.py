"""What to change, and by how much, so that a run fits its GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from transformers import AutoConfig

from vcr1_lib.planning.footprint import Footprint, footprint
from vcr1_lib.planning.setup import Setup
from vcr1_lib.planning.shapes import PUBLISHED, Shape, known_shape, shape_of, video_of

# The least a number may be lowered to, and how small a step of it is.
LEAST: Final = {"max_completion_length": (64, 64), "max_frames": (4, 2), "num_generations": (2, 2)}


class Change(NamedTuple):
    """A setting to change.

    Attributes:
        option: Its name.
        before: Its value now.
        after: What it should be.
        total: Peak memory with this change and those before it, bytes.
    """

    option: str
    before: Any
    after: Any
    total: int


class Advice(NamedTuple):
    """What makes a run fit: any one of ``alone``; failing that, all of ``together``."""

    alone: list[Change]
    together: list[Change]


def shape_named(name: str) -> Shape:
    """Return the shape of a known model, or of one in a folder.

    Raises:
        ValueError: If it is neither.
    """
    if (Path(name) / "config.json").is_file():
        return shape_of(AutoConfig.from_pretrained(name))
    return known_shape(name)


def plan_memory(setup: Setup) -> Footprint:
    """Count one GPU's memory with the longest prompt the options allow.

    Raises:
        ValueError: If the model is not known.

    >>> from vcr1_lib.planning.setup import read_setup
    >>> setup = read_setup({"model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct"})
    >>> less = setup._replace(gradient_checkpointing=True)
    >>> plan_memory(setup).total > plan_memory(less).total
    True
    """
    shape = shape_named(setup.model_name_or_path)
    video = video_of(shape, setup.max_frames, setup.height, setup.width, setup.max_pixels)
    return footprint(shape, setup, video)


def advise(setup: Setup, limit: float) -> Advice:
    """Find what to change, and by how much, so that a run fits.

    Args:
        setup: The run's options.
        limit: Memory of the GPU, bytes.

    Returns:
        Nothing at all if it fits, or if no setting helps.

    >>> from vcr1_lib.planning.setup import read_setup
    >>> advise(read_setup({"model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct"}), 2**50)
    Advice(alone=[], together=[])
    """
    if _fits(setup, limit):
        return Advice([], [])
    numbers = [_largest_that_fits(setup, name, limit) for name in LEAST]
    candidates = [*_switched(setup), *(after for after in numbers if after is not None)]
    alone = [_change(setup, after) for after in candidates if _fits(after, limit)]
    return Advice(alone, [] if alone else _together(setup, limit))


def _together(setup: Setup, limit: float) -> list[Change]:
    """Throw the switches that help, the strongest first, then halve numbers in turn."""
    changes: list[Change] = []
    while switched := sorted(_switched(setup), key=_total):
        if _total(switched[0]) >= _total(setup):
            break
        changes.append(_change(setup, switched[0]))
        setup = switched[0]
        if _fits(setup, limit):
            return changes
    start = setup
    while not _fits(setup, limit):
        halves = [_halved(setup, name) for name in LEAST]
        better = [after for after in halves if _total(after) < _total(setup)]
        if not better:
            return []
        # The one that was lowered least so far.
        setup = max(better, key=lambda after: min(_shares(start, after)))
    lowered = [n for n in LEAST if getattr(setup, n) != getattr(start, n)]
    for name in lowered:
        after = start._replace(**{name: getattr(setup, name)})
        changes.append(_change(start, after))
        start = after
    return changes


def _halved(setup: Setup, name: str) -> Setup:
    least, step = LEAST[name]
    half = getattr(setup, name) // 2 // step * step
    changed: dict[str, Any] = {name: min(getattr(setup, name), max(least, half))}
    return setup._replace(**changed)


def _shares(start: Setup, after: Setup) -> list[float]:
    return [getattr(after, name) / getattr(start, name) for name in LEAST]


def _total(setup: Setup) -> int:
    return plan_memory(setup).total


def _fits(setup: Setup, limit: float) -> bool:
    return _total(setup) <= limit


def _change(before: Setup, after: Setup) -> Change:
    changed = [n for n in Setup._fields if getattr(before, n) != getattr(after, n)]
    # NF4 brings LoRA with it and is what a reader would look for.
    option = "load_in_4bit" if "load_in_4bit" in changed else changed[0]
    return Change(option, getattr(before, option), getattr(after, option), _total(after))


def _switched(setup: Setup) -> Iterator[Setup]:
    """Yield the setup with each switch that costs time or exactness, one at a time."""
    if not setup.gradient_checkpointing:
        yield setup._replace(gradient_checkpointing=True)
    if "8bit" not in setup.optim:
        yield setup._replace(optim="paged_adamw_8bit")
    if not setup.use_peft:
        yield setup._replace(use_peft=True)
    if not setup.load_in_4bit and setup.strategy == "ddp":
        yield setup._replace(use_peft=True, load_in_4bit=True, use_bnb_nested_quant=True)


def _largest_that_fits(setup: Setup, name: str, limit: float) -> Setup | None:
    """Lower one number as little as will do; ``None`` if that is not enough."""
    least, step = LEAST[name]
    lower = range(least, getattr(setup, name), step)
    found = None
    low, high = 0, len(lower) - 1
    while low <= high:
        middle = (low + high) // 2
        changed: dict[str, Any] = {name: lower[middle]}
        after = setup._replace(**changed)
        if _fits(after, limit):
            found, low = after, middle + 1
        else:
            high = middle - 1
    return found


def smaller_models(setup: Setup, limit: float) -> list[str]:
    """Name the known models that would fit with the same options, largest first."""
    names = sorted(PUBLISHED, key=lambda name: -PUBLISHED[name])
    fits = (n for n in names if plan_memory(setup._replace(model_name_or_path=n)).total <= limit)
    return list(fits)
