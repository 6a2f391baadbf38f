"""How fast the rewards are, beside TRL's own on the same strings.

``python benchmarks/rewards.py`` writes ``benchmarks/results/rewards.json``. Rates are of one
core, best of three. TRL's accuracy reward needs ``pip install math-verify``; without it, its
rate is null. Ratios divide rates of the same run, so the machine cancels.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from machine import processor

from vcr1_lib import rewards
from vcr1_lib.prompts import FRAMES, render_gold
from vcr1_lib.rewards import shaping
from vcr1_lib.rewards.cases import GOLD

RESULT = Path(__file__).parent / "results" / "rewards.json"
THOUGHT = "The man stands by the table at first; he opens the door after ten seconds or so. " * 4
MEGABYTE = 1_000_000
COPIES = {"fast": 5_000, "slow": 200}
# What has blown up other parsers: digits, tags, brackets, spans, blanks, letters.
UNITS = ("1", "<answer>", "[", "1 to 2, ", "(1, 2), ", "[0,0,1,1] ", " ", "A. ", "the ", "e")
TASKS: dict[str, tuple[Callable[..., Any], ...]] = {
    "temporal_grounding": (
        rewards.format_reward,
        rewards.temporal_iou_reward,
        shaping.boundary_iou_reward,
    ),
    "tracking": (rewards.format_reward, rewards.track_iou_reward),
    "multiple_choice": (rewards.format_reward, rewards.option_reward),
    "grounded_qa": (rewards.format_reward, rewards.interval_set_iou_reward, rewards.option_reward),
    "caption": (rewards.format_reward, rewards.event_recall_reward),
    "quality": (rewards.format_reward, rewards.label_reward),
}


def best_seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def columns_of(task: str, num: int) -> dict[str, list[Any]]:
    return {name: [value] * num for name, value in {"task": task, **GOLD[task]}.items()}


def rate(reward: Callable[..., Any], text: Any, num: int, columns: dict[str, Any]) -> float:
    return num / best_seconds(lambda: reward(completions=[text] * num, **columns))


def rates_of(task: str) -> dict[str, float | None]:
    from trl.rewards import accuracy_reward, think_format_reward

    text, num = render_gold(task, GOLD[task], thought=THOUGHT), COPIES["fast"]
    chat, few = [{"role": "assistant", "content": text}], COPIES["slow"]
    found: dict[str, float | None] = {
        reward.__name__: rate(reward, text, num, columns_of(task, num)) for reward in TASKS[task]
    }
    found["trl think_format_reward"] = rate(think_format_reward, chat, num, {})
    has_peer = find_spec("math_verify") is not None
    solution = {"solution": ["10"] * few}  # it grades numbers; anything else it skips
    peer = rate(accuracy_reward, chat, few, solution) if has_peer else None
    return found | {"trl accuracy_reward": peer}


def megabyte_of(task: str) -> dict[str, dict[str, Any]]:
    """Seconds of the slowest of several megabyte answers, and its growth from a quarter."""
    found = {}
    for reward in TASKS[task]:
        slowest = (0.0, "", 0.0)
        for unit in UNITS:
            quarter, whole = (
                best_seconds(partial(reward, [text], **columns_of(task, 1)))
                for text in (hostile(task, unit, MEGABYTE // 4), hostile(task, unit, MEGABYTE))
            )
            slowest = max(slowest, (whole, unit, whole / quarter))
        found[reward.__name__] = dict(zip(("seconds", "of", "growth_x4"), slowest, strict=True))
    return found


def hostile(task: str, unit: str, length: int) -> str:
    body = unit * (length // len(unit))
    contents = {"think": "Hm.", "answer": "A", "clue": "(1, 2)"}
    contents |= {"clue" if task == "grounded_qa" else "answer": body}
    return "".join(f"<{tag}>{contents[tag]}</{tag}>" for tag in FRAMES[task])


def import_seconds(module: str) -> float:
    command = [sys.executable, "-c", f"import {module}"]
    return best_seconds(lambda: subprocess.run(command, check=True))


def main() -> None:
    rates = {task: rates_of(task) for task in TASKS}
    result = {
        "command": "python benchmarks/rewards.py",
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_at_start": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "trl")},
        },
        "thought_characters": len(THOUGHT),
        "completions_per_second": rates,
        "times_trl_format": {
            task: {
                name: found / row["trl think_format_reward"]
                for name, found in row.items()
                if found and row["trl think_format_reward"] and not name.startswith("trl")
            }
            for task, row in rates.items()
        },
        "megabyte": {task: megabyte_of(task) for task in TASKS},
        "import_seconds": {
            name: import_seconds(name) for name in ("sys", "numpy", "vcr1_lib.rewards", "trl")
        },
    }  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
