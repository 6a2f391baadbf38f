"""The exercises of notebook 06: right and wrong answers, beside what the library counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vcr1_lib.hardware import PROFILES
from vcr1_lib.planning.advice import plan_memory
from vcr1_lib.planning.footprint import GIB, NF4_DOUBLE, NF4_SINGLE
from vcr1_lib.planning.setup import read_setup
from vcr1_lib.planning.shapes import known_shape


def bits(block: int, group: int | None = None) -> float:
    return 4 + (32 / block if group is None else 8 / block + 32 / (block * group))


def bits_by_counting(block: int, group: int | None = None) -> float:
    """Lay out one group of blocks and count."""
    blocks = group or 1
    constants = blocks * 8 + 32 if group else 32
    return (blocks * block * 4 + constants) / (blocks * block)


def parameters(layers: Any, rank: int) -> int:
    return sum(rank * (inputs + outputs) for inputs, outputs in layers)


def parameters_by_matrices(layers: Any, rank: int) -> int:
    pairs = [(np.zeros((rank, i)), np.zeros((o, rank))) for i, o in layers]
    return sum(a.size + b.size for a, b in pairs)


def lower(held: int, rollout: int, update: int, limit: int) -> str:
    if held + max(rollout, update) <= limit:
        return "nothing"
    if held > limit:
        return "model"
    return "rollout" if rollout > update else "update"


def lower_by_room(held: int, rollout: int, update: int, limit: int) -> str:
    room = limit - held
    need, name = max((rollout, "rollout"), (update, "update"))
    return "model" if room < 0 else name if need > room else "nothing"


RIGHT: dict[str, list[Callable[..., Any]]] = {
    "bits_per_weight": [bits, bits_by_counting],
    "lora_parameters": [parameters, parameters_by_matrices],
    "what_to_lower": [lower, lower_by_room],
}
WRONG: dict[str, list[tuple[Callable[..., Any], str]]] = {
    "bits_per_weight": [
        (lambda block, group: 4, "one float32 constant of 32 bits"),
        (lambda block, group: 4 + 4 / block, "one float32 constant of 32 bits"),
        (lambda block, group: 4.5, "fewer weights"),
        (lambda block, group: bits(block), "8 bits instead of 32"),
        (lambda block, group: 4 + (8 if group else 32) / block, "8 bits instead of 32"),
        (lambda block, group: bits(block) if not group else bits(block, 1) - 24 / block, "8 bits"),
        (lambda block, group: bits(block, group and 16), "64 x 256 weights"),
    ],
    "lora_parameters": [
        (lambda layers, rank: sum(i * o for i, o in layers), "two thin matrices"),
        (lambda layers, rank: sum(2 * rank * i for i, _ in layers), "the other its outputs"),
        (lambda layers, rank: rank * sum(layers[0]), "add up"),
        (lambda layers, rank: sum(rank * i for i, _ in layers), "two thin matrices"),
        (lambda layers, rank: parameters(layers, rank) or None, "nothing to add"),
    ],
    "what_to_lower": [
        (lambda h, r, u, limit: lower(h, 0, r + u, limit), "do not add up"),
        (lambda h, r, u, limit: lower(0, r, u, limit), "add it to the larger"),
        (lambda h, r, u, limit: lower(h, 0, max(r, u), limit), "sampling is the larger part"),
        (lambda h, r, u, limit: lower(min(h, limit), r, u, limit), "too much by itself"),
        (lambda h, r, u, limit: lower(h, r, u, limit - 1), "exactly full"),
        (lambda h, r, u, limit: "update", "fit a card of 15"),
    ],
}


def test_the_exercises_agree_with_the_planner() -> None:
    assert bits(64) == 8 * NF4_SINGLE
    assert bits(64, 256) == 8 * NF4_DOUBLE
    shape = known_shape("Qwen/Qwen2.5-VL-3B-Instruct")
    assert parameters([(i, o) for _, i, o in shape.linears], 16) == shape.adapters(16)
    plan = plan_memory(read_setup(PROFILES["t4"]))
    assert lower(plan.held, plan.rollout, plan.update, plan.total - plan.margin) != "model"
    assert lower(plan.held, plan.rollout, plan.update, 15 * GIB) == "nothing"
