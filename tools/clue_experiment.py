"""Does a second look help? One look against two and against passes, at equal budget.

    python -m tools.clue_experiment base MODEL_FOLDER      # ask, and write RUNS/base.json
    python -m tools.clue_experiment tuned OTHER_FOLDER
    python -m tools.clue_experiment                        # only print the tables

**Written before the run**, after a pilot on 16 other clips a set with half-trained weights. The
clips and what is asked are fixed by ``tools.build_clue_sets``. The budget is the number of frames
shown in all looks together (here a frame is one visual token, at one resolution). Three ways to
spend it:

``one``      one look, all frames spread evenly
``clue``     half of them spread evenly, then half where the first answer points, 2 s around it
             (``ask_with_clues``); without a usable clue the second half is spread evenly too
``passes``   three looks of a third each, over the whole clip, 1.5 times as dense inside the
             last answer's span (``ask_iteratively``); stopping early saves, and is not made up for

and beside them ``glance``, the first half alone, and ``oracle``, half of the frames where the
truth is, 2 s around it: what a perfect clue would be worth.

Three questions about the same target: ``when`` (the prompt of temporal grounding; its answer is
its own clue; score: IoU), ``listed`` ("List every visit with its times.", scored by the IoU of
the best span listed under the target's name; its clue is all spans listed under that name) and
``colour`` ("What colour is the ring?", 1 if right; the clue is what the list at a glance gives
for that shape). A list that does not name the target gives all that it lists as the clue.
``passes`` needs a question that is its own clue, so it is tried for ``when`` alone.

**Rule for the verdict**: the 95 % interval of the paired difference over the 64 clips of a set
(2,000 bootstrap draws) lies above 0: *helps*; below 0: *hurts*; otherwise *no difference*. The
verdict is taken at the first budget, the only one whose single look the base was trained for
(up to 24 frames); the larger ones are shown beside it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from transformers.utils import logging

from vcr1_lib.answers import parse_span
from vcr1_lib.answers.grammar import Span
from vcr1_lib.datasets import read_jsonl
from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.inference import SETTLED_IOU
from vcr1_lib.inference.clues import denser_times, segment_times, usable_segments
from vcr1_lib.metrics import paired_interval
from vcr1_lib.models.loading import load_model
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.overlap import interval_iou, interval_set_iou
from vcr1_lib.prompts import render_question
from vcr1_lib.video import Clip, read_clip

DATA: Final = Path("data_samples/clue_sets")
RUNS: Final = Path("data_samples/runs/clues")
BUDGETS: Final = (24, 36, 48)
PASSES: Final = 3
PAD_SECONDS: Final = 2.0
LONGEST_ANSWER: Final = 72
LIST: Final = "List every visit with its times."
QUESTIONS: Final = ("when", "listed", "colour")
VISIT = re.compile(r"(\w+ \w+) (\d+) to (\d+)")

Record = dict[str, Any]


def listed_spans(text: str, name: str) -> list[Span]:
    """Return the spans a list gives for a colour and shape, or for a shape.

    >>> listed_spans("red ring 4 to 9; blue cross 12 to 15", "ring")
    [(4.0, 9.0)]
    """
    visits = [(seen, (float(a), float(b))) for seen, a, b in VISIT.findall(text)]
    return [span for seen, span in visits if seen == name or seen.endswith(f" {name}")]


def clue_of(text: str, record: Record, question: str) -> list[Span]:
    """Return where a first answer points."""
    if question == "when":
        span = parse_span(text).value
        return [] if span is None else [span]
    name = record["object"] if question == "listed" else record["object"].split()[1]
    every = [(float(a), float(b)) for _, a, b in VISIT.findall(text)]
    return listed_spans(text, name) or every


def score(text: str, record: Record, question: str) -> float:
    """Score an answer, 0 to 1."""
    if question == "colour":
        return float(text.strip() == record["answer"])
    when = question == "when"
    spans = clue_of(text, record, "when") if when else listed_spans(text, record["object"])
    return max((interval_iou(span, record["span"]) for span in spans), default=0.0)


def prompt_of(record: Record, question: str) -> str:
    plain = {"listed": LIST, "colour": record["question"]}
    return render_question(record) if question == "when" else plain[question]


class Shown:
    """Hands records with a ``clip`` and a ``prompt`` to ``answer_greedily``."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, rows: list[Record]) -> dict[str, Any]:
        return {"prompts": [prompt_inputs(self.processor, r["clip"], r["prompt"]) for r in rows]}


Ask = Callable[[list[Clip], list[str]], list[str]]


def asker_of(folder: str) -> Ask:
    """Load a model; many questions are answered together."""
    model, processor = load_model(folder)

    def ask(clips: list[Clip], prompts: list[str]) -> list[str]:
        rows: Any = [{"clip": c, "prompt": p} for c, p in zip(clips, prompts, strict=True)]
        loader: Any = Shown(processor)
        options = {"max_completion_length": LONGEST_ANSWER, "batch_size": 32}
        return answer_greedily(model, loader, rows, **options)

    return ask


def at_times(record: Record, times: list[float]) -> Clip:
    clip = read_clip(record["video"], times_seconds=times)
    _, kept = np.unique(clip.times_seconds, return_index=True)
    return clip._replace(frames=clip.frames[kept], times_seconds=clip.times_seconds[kept])


def evenly(records: list[Record], num_frames: int) -> list[Clip]:
    return [read_clip(record["video"], num_frames=num_frames) for record in records]


def closer(record: Record, spans: list[Span], num_frames: int) -> tuple[Clip, bool]:
    """Show what ``ask_with_clues`` shows in its second look; tell whether there was a clue."""
    length = record["duration"]
    segments = usable_segments(spans, duration_seconds=length, pad_seconds=PAD_SECONDS)
    if not segments:
        return read_clip(record["video"], num_frames=num_frames), False
    return at_times(record, segment_times(segments, num_frames=num_frames)), True


def in_passes(ask: Ask, records: list[Record], num_frames: int) -> list[tuple[str, int]]:
    """Do what ``ask_iteratively`` does, all records together; return answers and frames used."""
    prompts = [render_question(record) for record in records]
    texts = ask(evenly(records, num_frames), prompts)
    used = [num_frames] * len(records)
    going = list(range(len(records)))
    for _ in range(PASSES - 1):
        before = [
            usable_segments(
                clue_of(texts[i], records[i], "when"),
                duration_seconds=records[i]["duration"],
                pad_seconds=0,
            )
            for i in going
        ]
        clips = [
            at_times(
                records[i],
                denser_times(spans, duration_seconds=records[i]["duration"], num_frames=num_frames),
            )
            for i, spans in zip(going, before, strict=True)
        ]
        said = ask(clips, [prompts[i] for i in going])
        left = []
        for i, text, spans in zip(going, said, before, strict=True):
            texts[i], used[i] = text, used[i] + num_frames
            after = clue_of(text, records[i], "when")
            if not (spans and interval_set_iou(spans, after) >= SETTLED_IOU):
                left.append(i)
        going = left
    return list(zip(texts, used, strict=True))


def ask_all(ask: Ask, records: list[Record], budget: int) -> list[Record]:
    """Ask every question in every way; return one row a question and record."""
    half, rows = budget // 2, []
    glances, wholes = evenly(records, half), evenly(records, budget)
    at_once = {q: ask(glances, [prompt_of(r, q) for r in records]) for q in QUESTIONS}
    for question in QUESTIONS:
        prompts = [prompt_of(record, question) for record in records]
        pointing = at_once["when" if question == "when" else "listed"]
        clues = [clue_of(t, r, question) for t, r in zip(pointing, records, strict=True)]
        seen = [closer(r, spans, half) for r, spans in zip(records, clues, strict=True)]
        truth = [closer(record, [tuple(record["span"])], half)[0] for record in records]
        said = {
            "one": ask(wholes, prompts),
            "glance": at_once[question],
            "clue": ask([clip for clip, _ in seen], prompts),
            "oracle": ask(truth, prompts),
        }
        used = [0] * len(records)
        if question == "when":
            passes = in_passes(ask, records, budget // PASSES)
            said["passes"], used = [text for text, _ in passes], [count for _, count in passes]
        for i, record in enumerate(records):
            texts = {way: answers[i] for way, answers in said.items()}
            row = {"id": record["id"], "question": question, "budget": budget}
            row["scores"] = {w: round(score(t, record, question), 4) for w, t in texts.items()}
            row |= {"clue": clues[i] if seen[i][1] else [], "caught": caught(seen[i][0], record)}
            row |= {"passes_frames": used[i]} if used[i] else {}
            row |= {"texts": texts} if budget == BUDGETS[0] else {}
            rows.append(row)
    return rows


def caught(clip: Clip, record: Record) -> bool:
    """Whether any frame of a look shows the target."""
    start, end = record["span"]
    return bool(((clip.times_seconds >= start) & (clip.times_seconds < end)).any())


def verdict(low: float, high: float) -> str:
    """Apply the rule.

    >>> verdict(-0.1, 0.2)
    'no difference'
    """
    return "helps" if low > 0 else "hurts" if high < 0 else "no difference"


def compare(rows: list[Record], way: str) -> Record:
    """Compare a way with one look on rows of one set, question and budget."""
    one, other = ([row["scores"][key] for row in rows] for key in ("one", way))
    gain = paired_interval(one, other)
    found = {"way": way, "num": len(rows), "one": float(np.mean(one))}
    found |= {"score": float(np.mean(other)), "gain": gain.value}
    return found | {"low": gain.low, "high": gain.high, "verdict": verdict(gain.low, gain.high)}


def tables(rows: list[Record]) -> list[Record]:
    """Compare every way with one look: budget x question x set x way."""
    groups: dict[tuple[int, str, str], list[Record]] = {}
    for row in rows:
        key = (row["budget"], row["question"], row["id"].rstrip("0123456789"))
        groups.setdefault(key, []).append(row)
    return [
        {"budget": budget, "question": question, "set": name} | compare(group, way)
        for (budget, question, name), group in groups.items()
        for way in group[0]["scores"]
        if way != "one"
    ]


def keep(path: Path, budget: int, rows: list[Record]) -> None:
    """Put the rows of a budget into a file, in place of older ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    every = [row for row in before if row["budget"] != budget] + rows
    lines = ",\n".join(json.dumps(r) for r in sorted(every, key=lambda row: row["budget"]))
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="what to call the model")
    parser.add_argument("model", nargs="?", help="its folder")
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS))
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if args.model:
        records, ask = read_jsonl(DATA / "questions.jsonl"), asker_of(args.model)
        for budget in args.budgets:
            keep(RUNS / f"{args.name}.json", budget, ask_all(ask, records, budget))
    for path in sorted(RUNS.glob("*.json")):
        print(path.stem)
        for row in tables(json.loads(path.read_text(encoding="utf-8"))):
            print(
                "{budget:>3} {question:<7}{set:<10}{way:<7} one {one:.3f} this {score:.3f} "
                "gain {gain:+.3f} [{low:+.3f}, {high:+.3f}] {verdict}".format(**row)
            )


if __name__ == "__main__":
    main()
