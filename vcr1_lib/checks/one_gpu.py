"""The exercises of notebook 06."""

from __future__ import annotations

from vcr1_lib.checks.exercise import Case, Exercise, first_mistake

BITS_PER_WEIGHT = [
    Case((64, None), 4.5, "a block of 64 weights shares one float32 constant of 32 bits"),
    Case((32, None), 5.0, "a smaller block shares its constant among fewer weights"),
    Case(
        (64, 16),
        4.15625,
        "doubly quantised, a block's constant has 8 bits instead of 32, and one float32 more "
        "serves a group of blocks, not of weights",
    ),
    Case((64, 256), 4.126953125, "one float32 serves 64 x 256 weights"),
]
LORA_PARAMETERS = [
    Case(
        ([(128, 128)], 4),
        1024,
        "an adapter is two thin matrices, rank x inputs and outputs x rank, not a whole layer",
    ),
    Case(([(128, 384)], 4), 2048, "one matrix has the layer's inputs, the other its outputs"),
    Case(([(128, 384), (384, 128)], 16), 16_384, "every layer has an adapter of its own: add up"),
    Case(([], 16), 0, "without layers there is nothing to add"),
]
GIB = 2**30
WHAT_TO_LOWER = [
    Case((6 * GIB, 2 * GIB, 4 * GIB, 15 * GIB), "nothing", "6 + 4 GiB fit a card of 15"),
    Case(
        (6 * GIB, 5 * GIB, 6 * GIB, 15 * GIB),
        "nothing",
        "sampling is over when the update begins, so their peaks do not add up",
    ),
    Case(
        (6 * GIB, 2 * GIB, 12 * GIB, 15 * GIB),
        "update",
        "what is held stays there during the update: add it to the larger of the two",
    ),
    Case((6 * GIB, 12 * GIB, 2 * GIB, 15 * GIB), "rollout", "here sampling is the larger part"),
    Case(
        (16 * GIB, 1 * GIB, 12 * GIB, 15 * GIB),
        "model",
        "what is held is too much by itself, so no shorter clip or answer can help",
    ),
    Case((6 * GIB, 2 * GIB, 9 * GIB, 15 * GIB), "nothing", "exactly full still fits"),
]

EXERCISES = {
    "bits_per_weight": Exercise(
        probe=lambda attempt: first_mistake(attempt, BITS_PER_WEIGHT),
        hints=(
            "Start from 4 and add the bits of whatever is shared, divided by how many weights "
            "share it.",
            "Single: 4 + 32 / block. Double: 8 instead of 32, plus 32 / (block * group).",
        ),
    ),
    "lora_parameters": Exercise(
        probe=lambda attempt: first_mistake(attempt, LORA_PARAMETERS),
        hints=(
            "Write down the shapes of A and B for one layer of 128 inputs and 384 outputs.",
            "rank * inputs + outputs * rank, summed over the layers.",
        ),
    ),
    "what_to_lower": Exercise(
        probe=lambda attempt: first_mistake(attempt, WHAT_TO_LOWER),
        hints=(
            "The peak is held + max(rollout, update). Ask first whether that fits.",
            "If held alone is above the limit: the model. Otherwise name the larger of the two.",
        ),
    ),
}
