"""Compute the tables of notebook 07 from the recorded scores of ``tools.experiments``.

    python -m tools.experiment_tables           # write data_samples/runs/many_tasks/tables.json
    python -m tools.experiment_tables --check   # exit 1 if the file says anything else

A cell is a mean over questions, in per cent, with its 95 % bootstrap interval over clips; of
several seeds, each question's mean over the seeds. A claim of the paper is *reproduced in
miniature* if the intervals say so by the rule in ``verdict``, else *not reproduced*; claims and
rule were written down before the runs that they judge. The paper's own numbers are VideoChat-R1's
tables 2 to 4 (arXiv 2504.06958) and are about other models, other videos and other sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NamedTuple

import numpy as np

from tools.experiments import GROUNDED_QA, GROUNDING, RUNS, TRACKING
from vcr1_lib.metrics import bootstrap_interval

TABLES = RUNS / "tables.json"
Cell = dict[str, Any] | None
# Table -> columns: a name, a split, a task; chat has none.
GROUNDING_COLUMNS = [
    ("grounding, mIoU", "heldout", GROUNDING),
    ("grounding far away, mIoU", "far", GROUNDING),
]
JOINT_COLUMNS = [
    *GROUNDING_COLUMNS,
    ("grounded QA, Acc@GQA", "heldout", GROUNDED_QA),
    ("tracking, AO", "heldout", TRACKING),
    ("chat, right", "chat", None),
]
# Label, folder, and what the paper's table says in its own row of that kind.
SFT_OR_GRPO = [
    ("base", "base", "29.0 / 21.1"),
    ("SFT, 1 epoch", "sft-1-epochs", "46.3 / 20.6"),
    ("SFT, 3 epochs", "sft-3-epochs", "34.6 / 17.3"),
    ("SFT, 3 epochs, a third of the learning rate", "sft-3-epochs-slow", ""),
    ("SFT, 3 epochs, three times the learning rate", "sft-3-epochs-fast", ""),
    ("SFT, 8 epochs", "sft-8-epochs", ""),
    ("GRPO, no thought, 8 epochs", "grounding-no-thought", "1 epoch: 58.7 / 31.9"),
    ("GRPO, thought, 8 epochs", "grounding", "1 epoch: 59.3 / 30.7; 3: 61.3 / 34.3"),
]
TOGETHER = [
    ("base", "base", "29.0 / 21.1 / 15.4, 59.5 / 12.6 / 71.3"),
    ("grounding only", "grounding", "59.3 / 30.7 / 31.4, 61.2 / 27.8 / 72.6"),
    ("grounded QA only", "grounded-qa", "36.0 / 24.9 / 35.1, 68.7 / 36.1 / 72.0"),
    ("tracking only", "tracking", "28.7 / 20.1 / 15.6, 60.5 / 42.5 / 71.4"),
    (
        "grounding and grounded QA",
        "grounding+grounded-qa",
        "59.8 / 33.7 / 35.7, 67.7 / 36.5 / 72.2",
    ),
    ("all six tasks", "joint", "all: 60.8 / 36.6 / 32.4, 70.6 / 43.8 / 72.2"),
]
FEW = [
    ("8 questions", "grounding-8-questions", ""),
    ("32 questions", "grounding-32-questions", ""),
    ("128 questions", "grounding", ""),
]


class Claim(NamedTuple):
    """What the paper says of two runs: the second rises above the first, or keeps up with it.

    Attributes:
        told: The claim.
        before: A run.
        after: A run; empty if nothing here can show it.
        split: Where both are scored.
        task: On what; chat has none.
        rises: Whether the second must lie above, else it must only not lie below.
    """

    told: str
    before: str
    after: str
    split: str = "heldout"
    task: str | None = GROUNDING
    rises: bool = True


CLAIMS = [
    Claim("GRPO on grounding lifts grounding", "base", "grounding"),
    Claim("... and on clips from elsewhere", "base", "grounding", "far"),
    Claim("GRPO ends above SFT of as many steps", "sft-8-epochs", "grounding"),
    Claim("... and on clips from elsewhere", "sft-8-epochs", "grounding", "far"),
    Claim("all tasks together lift grounding", "base", "joint"),
    Claim("... and grounded QA", "base", "joint", task=GROUNDED_QA),
    Claim("... and tracking", "base", "joint", task=TRACKING),
    Claim("... and keep general questions", "base", "joint", "chat", None, rises=False),
    Claim("32 questions suffice to lift grounding", "base", "grounding-32-questions"),
    Claim("a thought before the answer helps", "grounding-no-thought", ""),
]


def read_scores(name: str) -> list[dict[str, Any]]:
    """Return the scores of every seed of a run that was recorded."""
    folders = [RUNS / name] if name == "base" else sorted(RUNS.glob(f"{name}-seed[0-9]"))
    files = [folder / "scores.json" for folder in folders]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def cell(seeds: list[dict[str, Any]], split: str, task: str | None) -> Cell:
    """Return a mean in per cent with its interval, ``None`` for what was not recorded."""
    found = [scores[split] if task is None else scores[split].get(task) for scores in seeds]
    if not found or None in found:
        return None
    ids = list(found[0])
    values = np.mean([[scores[name] for name in ids] for scores in found], axis=0)
    interval = bootstrap_interval(values, clusters=[name.split(":")[0] for name in ids])
    mean, low, high = (round(100 * float(figure), 1) for figure in interval)
    return {"mean": mean, "low": low, "high": high}


def table(title: str, columns: list[tuple[str, str, str | None]], rows: Any) -> dict[str, Any]:
    lines = []
    for label, name, paper in rows:
        seeds = read_scores(name)
        cells = {head: cell(seeds, split, task) for head, split, task in columns}
        lines.append({"run": label, "seeds": len(seeds), **cells, "paper": paper})
    return {"title": title, "rows": lines}


def by_task() -> dict[str, Any]:
    """Return base and joint run task by task, with what needs no video and what grey leaves."""
    base, joint = read_scores("base"), read_scores("joint")
    lines = []
    for task, blind in base[0]["without_looking"]["heldout"].items():
        named = {name: score for name, score in blind.items() if "strict" not in name}
        best = max(named, key=lambda name: named[name]) if named else None
        cells = {
            "base": cell(base, "heldout", task),
            "joint": cell(joint, "heldout", task),
            "joint, grey frames": cell(joint, "grey", task),
            "base, far": cell(base, "far", task),
            "joint, far": cell(joint, "far", task),
        }
        told = {"name": best, "score": round(100 * named[best], 1)} if best else None
        lines.append({"run": task, "seeds": len(joint), "without looking": told, **cells})
    return {"title": "One joint run, task by task", "rows": lines}


def verdict(before: Cell, after: Cell, *, rises: bool) -> str:
    """Judge by intervals: apart in the claimed direction, or, to keep up, not apart below."""
    if before is None or after is None:
        return "cannot be tested here"
    holds = after["low"] > before["high"] if rises else after["high"] >= before["low"]
    return "reproduced in miniature" if holds else "not reproduced"


def judge(claim: Claim) -> dict[str, Any]:
    """Return a claim with its two cells and its verdict."""
    before, after = (
        cell(read_scores(name), claim.split, claim.task) if name else None
        for name in (claim.before, claim.after)
    )
    told = verdict(before, after, rises=claim.rises)
    return {"claim": claim.told, "before": before, "after": after, "verdict": told}


def tables() -> dict[str, Any]:
    return {
        "by_task": by_task(),
        "sft_or_grpo": table("SFT or GRPO", GROUNDING_COLUMNS, SFT_OR_GRPO),
        "together": table("Alone or together", JOINT_COLUMNS, TOGETHER),
        "few": table("From few questions, the same steps", GROUNDING_COLUMNS, FEW),
        "claims": [judge(claim) for claim in CLAIMS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    text = json.dumps(tables(), indent=1) + "\n"
    if not check:
        TABLES.write_text(text, encoding="utf-8")
    elif TABLES.read_text(encoding="utf-8") != text:
        sys.exit(
            f"{TABLES} differs from the recorded scores; run python -m tools.experiment_tables"
        )


if __name__ == "__main__":
    main()
