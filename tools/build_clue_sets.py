"""Film the three sets of notebook 08: clips of 20 s, one question about a target on each.

    python -m tools.build_clue_sets

``short``      the target is there for 1.2 to 2.4 s, so a glance sees a frame or two of it, or none;
               another object stays longer
``slow``       target and another object stay 5 to 6 s each: a glance has seen everything
``lookalike``  a short target, and two that stay longer: one of a shape easily taken for the
               target's (in another colour), one of its colour (in another shape)

Never more than one object is on screen. Colours and shapes are the base's own; the background
(checker) and the seeds are in no training scene. ``tools.clue_experiment`` asks the questions.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from vcr1_lib.toyworld import COLOURS, Event, Scene, query_of, sample_event, set_scene, write_mp4
from vcr1_lib.toyworld.scenes import ALL_SHAPES

SETS: Final = ("short", "slow", "lookalike")
CLIPS: Final = 64
FIRST_SEED: Final = 4 * 10**9  # above every seed of vcr1_lib.toyworld
SECONDS: Final = 20.0
SHORT, LONG, SLOW = (1.2, 2.4), (3.0, 5.0), (5.0, 6.0)
GAP_SECONDS: Final = 1.0
FRAMES_PER_SECOND, SIZE = 8, 64
ALIKE: Final = {
    "circle": "ring",
    "ring": "circle",
    "square": "diamond",
    "diamond": "square",
    "triangle": "diamond",
    "cross": "diamond",
}


def draw_scene(name: str, index: int) -> tuple[Scene, Event]:
    """Draw a clip of a set; return it with the target that is asked about."""
    rng = np.random.default_rng((FIRST_SEED + index, SETS.index(name)))
    colour, other = (str(c) for c in rng.choice(list(COLOURS), 2, replace=False))
    shape = str(rng.choice(ALL_SHAPES))
    elsewhere = str(rng.choice([s for s in ALL_SHAPES if s not in (shape, ALIKE[shape])]))
    pairs, lengths = {
        "short": ([(colour, shape), (other, elsewhere)], [SHORT, LONG]),
        "slow": ([(colour, shape), (other, elsewhere)], [SLOW, SLOW]),
        "lookalike": (
            [(colour, shape), (other, ALIKE[shape]), (colour, elsewhere)],
            [SHORT, LONG, LONG],
        ),
    }[name]
    order = [int(i) for i in rng.permutation(len(pairs))]
    spans = spans_in_turn(rng, [lengths[i] for i in order])
    events = tuple(sample_event(rng, pairs[i], span) for i, span in zip(order, spans, strict=True))
    return set_scene(rng, SECONDS, ("checker",), events, ()), events[order.index(0)]


def spans_in_turn(
    rng: np.random.Generator, lengths: list[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Draw spans one after the other, ``GAP_SECONDS`` apart and from both ends at least."""
    drawn = [rng.uniform(*length) for length in lengths]
    spare = SECONDS - sum(drawn) - GAP_SECONDS * (len(drawn) + 1)
    waits = GAP_SECONDS + spare * rng.dirichlet(np.ones(len(drawn) + 1))
    edges = np.cumsum([x for pair in zip(waits, drawn, strict=False) for x in pair])
    return [(round(float(a), 1), round(float(b), 1)) for a, b in list(pairwise(edges))[::2]]


def ask_about(name: str, index: int, target: Event) -> dict[str, Any]:
    """Return the record about a clip: when the target is there, and what colour it has."""
    clip = f"{name}{index:02d}"
    return {
        "id": clip,
        "video": f"videos/{clip}.mp4",
        "set": name,
        "task": "temporal_grounding",
        "duration": SECONDS,
        "query": query_of(target),
        "span": [target.start_seconds, target.end_seconds],
        "object": target.name,
        "question": f"What colour is the {target.shape}?",
        "answer": target.colour,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data_samples/clue_sets"))
    folder = parser.parse_args().output
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    records = []
    for name in SETS:
        for index in range(CLIPS):
            scene, target = draw_scene(name, index)
            records.append(ask_about(name, index, target))
            write_mp4(scene, folder / records[-1]["video"], fps=FRAMES_PER_SECOND, size=SIZE)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
