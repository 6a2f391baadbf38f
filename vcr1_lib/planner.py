"""Say before a run what fits, how long it takes and what it costs.

``python -m vcr1_lib.planner --profile t4 --samples 300``. Memory is counted
(:mod:`vcr1_lib.footprint`), time is counted work at an assumed speed
(:mod:`vcr1_lib.schedule`). Nothing is downloaded, no GPU is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from transformers import AutoConfig

from vcr1_lib.footprint import GIB, Footprint, footprint
from vcr1_lib.run_setup import Setup
from vcr1_lib.schedule import GPUS, Mark, Schedule, schedule
from vcr1_lib.shapes import PUBLISHED, Shape, known_shape, shape_of, video_of

TINY_MODEL = "data_samples/tiny_model"
# Which card a profile is for, how many of them, and how they share the model.
CARD: Final[dict[str, tuple[str, int, str]]] = {
    "t4": ("T4", 1, "ddp"),
    "gpu24": ("L4", 1, "ddp"),
    "gpu80": ("A100-80", 1, "ddp"),
    "multi": ("A100-80", 8, "zero3"),
}
# The least a number may be lowered to, and how small a step of it is.
LEAST: Final = {"max_frames": (4, 2), "max_completion_length": (64, 64), "num_generations": (2, 2)}
MEMORY_PARTS = ("weights", "adapters", "gradients", "optimizer", "reference", "casts", "saved")
MEMORY_PARTS += ("layer", "logits", "cache", "sampling", "vision", "features", "check", "margin")


class Figure(NamedTuple):
    """One row of a table; ``mark`` says where the value is from."""

    name: str
    value: float
    unit: str
    mark: Mark


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

    >>> plan = plan_memory(read_setup(PROFILES["t4"]))
    >>> plan.total < GPUS["T4"].memory_gib * GIB
    True
    """
    shape = shape_named(setup.model_name_or_path)
    video = video_of(shape, setup.max_frames, setup.height, setup.width, setup.max_pixels)
    return footprint(shape, setup, video)


def plan_time(setup: Setup, gpu: str, *, samples: int, **options: Any) -> Schedule:
    """Estimate hours and cost; ``options`` are those of :func:`vcr1_lib.schedule.schedule`.

    Raises:
        ValueError: If the GPU or the model is not known, or a number is out of range.
    """
    if gpu not in GPUS:
        raise ValueError(f"expected gpu in {', '.join(GPUS)}, got {gpu!r}")
    shape = shape_named(setup.model_name_or_path)
    video = video_of(shape, setup.max_frames, setup.height, setup.width, setup.max_pixels)
    return schedule(shape, setup, video, GPUS[gpu], samples=samples, **options)


def advise(setup: Setup, limit: float) -> Advice:
    """Find what to change, and by how much, so that a run fits.

    Args:
        setup: The run's options.
        limit: Memory of the GPU, bytes.

    Returns:
        Nothing at all if it fits, or if no setting helps.
    """
    if plan_memory(setup).total <= limit:
        return Advice([], [])
    options = [_switched(setup), *(_lowered(setup, name, limit) for name in LEAST)]
    alone = [
        _change(setup, after)
        for group in options
        for after in group
        if plan_memory(after).total <= limit
    ]
    if alone:
        return Advice(alone, [])
    together: list[Change] = []
    steps: list[Callable[[Setup], Iterator[Setup]]] = [_switched] * 3
    steps += [lambda s, name=name: _lowered(s, name, limit) for name in LEAST]
    for step in steps:
        better = min(step(setup), key=lambda s: plan_memory(s).total, default=setup)
        if plan_memory(better).total < plan_memory(setup).total:
            together.append(_change(setup, better))
            setup = better
        if plan_memory(setup).total <= limit:
            return Advice([], together)
    return Advice([], [])


def _change(before: Setup, after: Setup) -> Change:
    changed = [n for n in Setup._fields if getattr(before, n) != getattr(after, n)]
    # NF4 brings LoRA with it; the last is what a reader would look for.
    option = "load_in_4bit" if "load_in_4bit" in changed else changed[0]
    total = plan_memory(after).total
    return Change(option, getattr(before, option), getattr(after, option), total)


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


def _lowered(setup: Setup, name: str, limit: float) -> Iterator[Setup]:
    """Yield the setup with the largest smaller number that fits, or the smallest allowed."""
    least, step = LEAST[name]
    values = range(least, getattr(setup, name), step)
    if not values:
        return
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = plan_memory(setup._replace(**{name: values[middle]})).total <= limit
        low, high = (middle, high) if fits else (low, middle - 1)
    yield setup._replace(**{name: values[low]})


def smaller_models(setup: Setup, limit: float) -> list[str]:
    """Name the known models that would fit with the same options, largest first."""
    names = sorted(PUBLISHED, key=lambda name: -PUBLISHED[name])
    fits = (n for n in names if plan_memory(setup._replace(model_name_or_path=n)).total <= limit)
    return list(fits)


def memory_figures(plan: Footprint) -> list[Figure]:
    """Return the table of a plan's memory."""
    sizes: list[tuple[str, float, Mark]] = [
        (name, getattr(plan, name), "assumed" if name == "margin" else "derived")
        for name in MEMORY_PARTS
        if getattr(plan, name)
    ]
    sizes += [(name, getattr(plan, name), "derived") for name in ("held", "rollout", "update")]
    sizes.append(("peak", plan.total, "derived"))
    return [Figure(name, size / GIB, "GiB", mark) for name, size, mark in sizes]


def time_figures(plan: Schedule) -> list[Figure]:
    """Return the table of a run's time; hours and cost are as good as the speed."""
    group = plan.rollout_seconds + plan.update_seconds
    rows = [
        Figure("optimizer steps", plan.steps, "steps", "derived"),
        Figure("tokens a step", plan.tokens_a_step, "tokens", "derived"),
        Figure("work a group", plan.work.total / 1e12, "TFLOP", "derived"),
        Figure("rollout of a group", plan.rollout_seconds, "s", plan.speed),
        Figure("update of a group", plan.update_seconds, "s", plan.speed),
        Figure("speed", plan.work.total / group / 1e12, "TFLOP/s", plan.speed),
        Figure("hours", plan.hours, "h", plan.speed),
    ]
    if plan.traffic_bytes:
        rows.insert(3, Figure("traffic a step", plan.traffic_bytes / GIB, "GiB", "derived"))
        rows.insert(4, Figure("traffic a step", plan.traffic_seconds, "s", "assumed"))
    if plan.cost is not None:
        rows.append(Figure("cost", plan.cost, "of the price's currency", plan.speed))
    return rows


def compare(plan: Footprint, measured_bytes: int) -> list[Figure]:
    """Return predicted beside measured, after a run.

    Args:
        plan: What was predicted.
        measured_bytes: The peak, such as ``torch.cuda.max_memory_allocated()``. That leaves out
            the CUDA context, so the plan's margin is left out too.

    Raises:
        ValueError: If nothing was measured.
    """
    if measured_bytes <= 0:
        raise ValueError(f"expected the peak in bytes, above 0, got {measured_bytes}")
    predicted = plan.total - plan.margin
    return [
        Figure("peak, predicted", predicted / GIB, "GiB", "derived"),
        Figure("peak, measured", measured_bytes / GIB, "GiB", "measured"),
        Figure("predicted / measured", predicted / measured_bytes, "", "derived"),
    ]


def format_figures(figures: Sequence[Figure]) -> str:
    """Write a table as text.

    >>> print(format_figures([Figure("peak", 6.5, "GiB", "derived")]))
    peak                          6.50 GiB      derived
    """
    lines = []
    for name, value, unit, mark in figures:
        number = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
        lines.append(f"{name:<24}{number:>10} {unit:<8} {mark}")
    return "\n".join(lines)
