"""Say before a run what fits, how long it takes and what it costs.

``python -m vcr1_lib.planner --profile t4 --samples 300``. Memory is counted
(:mod:`vcr1_lib.planning.footprint`), time is counted work at an assumed speed
(:mod:`vcr1_lib.planning.schedule`). Nothing is downloaded, no GPU is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, get_type_hints

from transformers.hf_argparser import string_to_bool

from vcr1_lib.hardware import PROFILES
from vcr1_lib.models.loading import ModelOptions
from vcr1_lib.options import as_words, explained, read_config, refuse_unknown
from vcr1_lib.planning.advice import advise, plan_memory, shape_named, smaller_models
from vcr1_lib.planning.footprint import GIB, Footprint
from vcr1_lib.planning.schedule import GPUS, UTILISATION, Mark, Schedule, schedule
from vcr1_lib.planning.setup import Setup, read_setup
from vcr1_lib.planning.shapes import video_of
from vcr1_lib.training.config import VideoGRPOConfig

# Which card a profile is for, how many of them, and how they share the model.
CARD: Final[dict[str, tuple[str, int, str]]] = {
    "t4": ("T4", 1, "ddp"),
    "gpu24": ("L4", 1, "ddp"),
    "gpu80": ("A100-80", 1, "ddp"),
    "multi": ("A100-80", 8, "zero3"),
}
MEMORY_PARTS = (
    "weights", "adapters", "gradients", "optimizer", "reference", "casts", "saved", "layer",
    "logits", "cache", "sampling", "vision", "features", "check", "margin",
)  # fmt: skip
TIMING = ("samples", "eval_samples", "answer_tokens", "utilisation", "price")
MARKS: Final[dict[Mark, str]] = {
    "derived": "counted from the options and the model's shape",
    "assumed": "a rule of thumb; a measured time or memory replaces it",
    "measured": "of a run",
}


class Figure(NamedTuple):
    """One row of a table; ``mark`` says where the value is from."""

    name: str
    value: float
    unit: str
    mark: Mark


def plan_time(setup: Setup, gpu: str, *, samples: int, **options: Any) -> Schedule:
    """Estimate hours and cost; ``options``: :func:`vcr1_lib.planning.schedule.schedule`.

    Raises:
        ValueError: If the GPU or the model is not known, or a number is out of range.
    """
    if gpu not in GPUS:
        raise ValueError(f"expected gpu in {', '.join(GPUS)}, got {gpu!r}")
    shape = shape_named(setup.model_name_or_path)
    video = video_of(shape, setup.max_frames, setup.height, setup.width, setup.max_pixels)
    return schedule(shape, setup, video, GPUS[gpu], samples=samples, **options)


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
        Figure("tokens per step", plan.tokens_a_step, "tokens", "derived"),
        Figure("work per group", plan.work.total / 1e12, "TFLOP", "derived"),
        Figure("rollout of a group", plan.rollout_seconds, "s", plan.speed),
        Figure("update of a group", plan.update_seconds, "s", plan.speed),
        Figure("speed", plan.work.total / group / 1e12, "TFLOP/s", plan.speed),
        Figure("hours of training", plan.hours, "h", plan.speed),
    ]
    if plan.evaluation_hours:
        rows.append(Figure("hours of evaluation", plan.evaluation_hours, "h", "assumed"))
    if plan.traffic_bytes:
        rows.insert(3, Figure("traffic per step", plan.traffic_bytes / GIB, "GiB", "derived"))
        rows.insert(4, Figure("traffic per step", plan.traffic_seconds, "s", "assumed"))
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


# Technique -> the options that bring it, each on top of those before.
LADDER: Final[dict[str, dict[str, Any]]] = {
    "full parameters, 16 bit, AdamW, a row per answer": {
        "use_peft": False, "load_in_4bit": False, "optim": "adamw_torch_fused",
        "gradient_checkpointing": False, "shared_prefix": False,
    },
    "+ gradient checkpointing": {"gradient_checkpointing": True},
    "+ one shared prefix per group": {"shared_prefix": True},
    "+ LoRA": {"use_peft": True},
    "+ NF4, double quantisation": {"load_in_4bit": True, "use_bnb_nested_quant": True},
    "+ 8-bit paged AdamW": {"optim": "paged_adamw_8bit"},
}  # fmt: skip
LADDER_TIERS = ("t4", "gpu24", "gpu80")


def ladder() -> str:
    """Return a Markdown table: what each technique leaves of a profile's memory.

    All rows have the profile's model, frames, G and lengths.
    """
    setups = {name: read_setup(PROFILES[name]) for name in LADDER_TIERS}
    gpus = {name: CARD[name][0] for name in LADDER_TIERS}
    models = [s.model_name_or_path.rpartition("/")[2] for s in setups.values()]
    heads = [f"`{n}`: {m} on {gpus[n]}" for n, m in zip(setups, models, strict=True)]
    lines = ["| GiB at the peak, predicted | " + " | ".join(heads) + " |", "|---|---|---|---|"]
    for technique, options in LADDER.items():
        cells = []
        for name, setup in setups.items():
            setups[name] = setup = setup._replace(**options)
            total = plan_memory(setup).total / GIB
            fits = total <= GPUS[gpus[name]].memory_gib
            cells.append(f"**{total:.1f}**" if fits else f"{total:.1f}")
        lines.append(f"| {technique} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def explain(figures: Sequence[Figure]) -> str:
    """Say what the words of a table of memory mean, one per line."""
    told = explained(Footprint) | {
        "held": "What is there all the time.",
        "rollout": "What sampling adds.",
        "update": "What the training pass adds.",
        "peak": "Held, the largest of rollout, update and check, and the margin.",
    }
    told |= {mark: MARKS[mark] for mark in dict.fromkeys(figure.mark for figure in figures)}
    words = [*(figure.name for figure in figures), *MARKS]
    return "\n".join(f"{word:<12}{told[word]}" for word in words if word in told)


def describe(setup: Setup, gpu: str, plan: Footprint | None = None) -> str:
    """Return the plan of a run's memory as text, with what to change if it does not fit.

    Args:
        setup: The run's options.
        gpu: A name of ``GPUS``.
        plan: Its memory, where it has been counted.
    """
    limit, plan = GPUS[gpu].memory_gib, plan or plan_memory(setup)
    rank = f", one of {setup.num_gpus} under {setup.strategy}" if setup.num_gpus > 1 else ""
    verdict = f"{plan.total / GIB:.1f} of {limit} GiB."
    if plan.total <= limit * GIB:
        verdict = f"It fits: {verdict}"
    else:
        verdict = f"It does not fit: {verdict} {_remedy(setup, limit)}"
    return "\n".join(
        [
            f"{setup.model_name_or_path} on {gpu}{rank}: predicted, not measured on a GPU.",
            format_figures(memory_figures(plan)),
            "peak = held + the largest of rollout, update and check + margin",
            "",
            verdict,
        ]
    )


def _remedy(setup: Setup, limit: float) -> str:
    advice = advise(setup, limit * GIB)
    chosen = advice.alone or advice.together
    if not chosen:
        smaller = smaller_models(setup, limit * GIB)
        return f"Take a smaller model: {smaller[0]}." if smaller else "Take a larger GPU."
    parts = [f"{c.option} {c.before} -> {c.after} ({c.total / GIB:.1f} GiB)" for c in chosen]
    start = "Any one of these will do" if advice.alone else "Change, in this order, all of"
    return f"{start}: {'; '.join(parts)}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Say what a run needs before it starts.",
        usage="%(prog)s [--config FILE] [--option value ...]   (--help lists them)",
        epilog="What is not given is the profile's.",
        allow_abbrev=False,
    )
    parser.add_argument("--profile", default="t4", choices=CARD, help="options to start from")
    parser.add_argument("--gpu", choices=GPUS, help="default: the card the profile is for")
    parser.add_argument("--samples", type=int, default=18_031, help="default: VideoChat-R1-18k")
    questions = "held-out questions, to count their answers before and after training"
    parser.add_argument("--eval_samples", type=int, default=0, help=questions)
    parser.add_argument("--answer_tokens", type=int, help="of an average answer")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="share of the peak")
    parser.add_argument("--price", type=float, help="of one GPU for an hour")
    parser.add_argument("--explain", action="store_true", help="say what the words mean, too")
    parser.add_argument("--config", metavar="FILE", help="of the run: YAML that its script reads")
    told = explained(ModelOptions) | explained(VideoGRPOConfig) | explained(Setup)
    for name, kind in get_type_hints(Setup).items():
        how: dict[str, Any] = {"type": int if kind == int | None else kind}
        if kind is bool:
            how = {"type": string_to_bool, "nargs": "?", "const": True}
        elif name == "lora_target_modules":
            how = {"nargs": "+"}
        parser.add_argument(f"--{name}", help=told[name].replace("%", "%%"), **how)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the plan of a run; return 1 if it does not fit."""
    parser = _parser()
    file, rest = read_config(parser, sys.argv[1:] if argv is None else argv)
    names = {action.dest for action in parser._actions}
    used = {name: value for name, value in file.items() if name in names}
    given, unknown = parser.parse_known_args([*as_words(used), *rest])
    refuse_unknown(parser, unknown)
    told = vars(given)
    card, num_gpus, strategy = CARD[told["profile"]]
    gpu = told["gpu"] or card
    options = {"num_gpus": num_gpus, "strategy": strategy} | PROFILES[told["profile"]]
    options |= {key: value for key, value in told.items() if value is not None}
    timing = {name: told[name] for name in TIMING}
    try:
        setup = read_setup(options)
        time = plan_time(setup, gpu, **timing)
    except ValueError as error:
        parser.error(str(error))
    plan = plan_memory(setup)
    parts = [describe(setup, gpu, plan), format_figures(time_figures(time))]
    if not given.eval_samples:
        parts.append("Evaluation before and after is not counted; --eval_samples N counts it.")
    if left := sorted(file.keys() - names):
        parts.append(f"Of the file, the plan does not depend on: {', '.join(left)}.")
    if told["explain"]:
        parts.append(explain(memory_figures(plan)))
    print(*parts, sep="\n\n")  # noqa: T201
    return int(plan.total > GPUS[gpu].memory_gib * GIB)


if __name__ == "__main__":
    raise SystemExit(main())
