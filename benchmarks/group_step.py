"""One GRPO step on a group of answers to a long visual prompt, beside TRL's trainer.

``python benchmarks/group_step.py`` writes ``benchmarks/results/group_step.json``. The same
random Qwen2.5-VL-class model, G answers of exactly R tokens, temperature 1, no KL, AdamW; TRL
gets the frames as images, ours as the video they are (two frames make one temporal patch, so
the prompts hold equally many visual tokens). An update is from the start of the loss to the
end of its backward pass; answers are sampled before it. Each figure is of a process of its
own, systems take turns, and ratios divide figures of the same round. Linux only: peaks are
read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import group_systems

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "group_step.json"
PICTURE = ROOT / "docs" / "group_step.png"
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00")
BOTH = ("shared", "trl")
SYSTEMS = ("shared", "separate rows", "trl", "trl, micro-batch 1")


class Shape(NamedTuple):
    """What is measured: visual tokens are 64 ``temporal``; how often, and on which systems."""

    temporal: int
    group: int = 8
    length: int = 32
    rounds: int = 1
    systems: tuple[str, ...] = BOTH


SHAPES = {
    "P=150": Shape(2),
    "P=600": Shape(9, rounds=2, systems=SYSTEMS),
    "P=2000": Shape(31, rounds=2, systems=SYSTEMS),
    "P=4000": Shape(62),
    "P=600, G=4": Shape(9, group=4, rounds=2),
    "P=600, G=16": Shape(9, group=16, rounds=2),
    "P=2000, G=16": Shape(31, group=16, rounds=2, systems=("shared",)),
    "P=600, R=16": Shape(9, length=16),
    "P=600, R=64": Shape(9, length=64),
    "P=600, R=128": Shape(9, length=128),
}
# What grows in the picture, and in which shapes.
GROWTH = {
    "prompt tokens (G = 8, R = 32)": {150: "P=150", 600: "P=600", 2000: "P=2000", 4000: "P=4000"},
    "answers a group (P = 600, R = 32)": {4: "P=600, G=4", 8: "P=600", 16: "P=600, G=16"},
    "tokens an answer (P = 600, G = 8)": {
        16: "P=600, R=16", 32: "P=600", 64: "P=600, R=64", 128: "P=600, R=128",
    },
}  # fmt: skip
FIGURES = {
    "step_seconds": "seconds a step",
    "update_seconds": "seconds of its update",
    "update_peak_mib": "MiB at the update's peak",
}


def measure(shape: str) -> dict[str, Any]:
    temporal, group, length, rounds, systems = SHAPES[shape]
    found: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
    for number in range(rounds):
        order = systems if number % 2 == 0 else systems[::-1]
        for system in order:
            child = [system, temporal, group, length]
            command = [sys.executable, group_systems.__file__, json.dumps(child)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{child}: {done.stderr[-2000:]}")
            figures = json.loads(done.stdout.splitlines()[-1])
            found[system].append(figures)
            print(shape, system, figures, flush=True)
    ours = found["shared"]
    ratios = {
        system: {
            key: [
                round(theirs[key] / mine[key], 2) for theirs, mine in zip(rows, ours, strict=True)
            ]
            for key in FIGURES
        }
        for system, rows in found.items()
        if system != "shared"
    }
    return {"measured": found, "times_ours": ratios}


def median(result: dict[str, Any], shape: str, system: str, key: str) -> float | None:
    """Return the median over rounds, if there was any."""
    rounds = result["shapes"].get(shape, {"measured": {}})["measured"].get(system, [])
    return statistics.median(row[key] for row in rounds) if rounds else None


def doubling(result: dict[str, Any]) -> dict[str, float]:
    """Return what twice as many answers cost our update, as a factor."""
    pairs = {
        "P=600, G=4 to 8": ("P=600, G=4", "P=600"),
        "P=600, G=8 to 16": ("P=600", "P=600, G=16"),
        "P=2000, G=8 to 16": ("P=2000", "P=2000, G=16"),
    }
    found = {}
    for name, pair in pairs.items():
        few, many = (median(result, shape, "shared", "update_seconds") for shape in pair)
        if few and many:
            found[name] = round(many / few, 2)
    return found


def draw(result: dict[str, Any]) -> None:
    """Write the picture for the documentation: medians over rounds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(FIGURES), len(GROWTH), figsize=(10, 8), sharey="row")
    for column, (title, shapes) in enumerate(GROWTH.items()):
        for row, (key, label) in enumerate(FIGURES.items()):
            axis = axes[row, column]
            for colour, system in zip(COLOURS, SYSTEMS, strict=True):
                points = {x: median(result, shape, system, key) for x, shape in shapes.items()}
                drawn = {x: y for x, y in points.items() if y is not None}
                axis.plot(drawn.keys(), drawn.values(), "o-", label=system, color=colour)
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xticks(list(shapes), list(shapes))
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            if column == 0:
                axis.set_ylabel(label)
        axis.set_xlabel(title)
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    args = parser.parse_args()
    arguments = f" {shlex.join(sys.argv[1:])}" if sys.argv[1:] else ""
    result: dict[str, Any] = {
        "commands": [f"python benchmarks/group_step.py{arguments}"],
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {n: metadata.version(n) for n in ("torch", "transformers", "trl")},
        "python": platform.python_version(),
        "model": group_systems.TEXT,
        "shapes": {shape: measure(shape) for shape in args.shapes},
    }
    if RESULT.exists() and set(args.shapes) != set(SHAPES):  # the others stay
        before = json.loads(RESULT.read_text())
        if before["versions"] == result["versions"]:
            result["shapes"] = before["shapes"] | result["shapes"]
            result["commands"] = before["commands"] + result["commands"]
    result["times_update_as_groups_double"] = doubling(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    draw(result)


if __name__ == "__main__":
    main()
