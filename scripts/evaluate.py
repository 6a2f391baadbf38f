"""Evaluate a video language model on temporal grounding, beside answers that never look.

Started again, an evaluation goes on where it stopped.
    python scripts/evaluate.py --benchmark charades_sta --annotations FILE --lengths FILE ...
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import HfArgumentParser
from transformers.utils import logging

from vcr1_lib.datasets import AnnotationError, read_charades_sta
from vcr1_lib.eval_page import write_page
from vcr1_lib.evaluation import evaluate
from vcr1_lib.loading import ModelError, load_model
from vcr1_lib.models import PromptLoader
from vcr1_lib.predictions import PredictionError, write_charades
from vcr1_lib.report import write_result
from vcr1_lib.scoring import render_scores, score_beside_baselines

BENCHMARKS = {
    "toyworld": {
        "annotations": "data_samples/charades_sta/toyworld_sta_heldout.txt",
        "lengths": "data_samples/charades_sta/toyworld_v1_heldout.csv",
        "train_annotations": "data_samples/charades_sta/toyworld_sta_train.txt",
        "train_lengths": "data_samples/charades_sta/toyworld_v1_train.csv",
        "videos": "data_samples/charades_sta/videos",
    },
    "charades_sta": {},
}


@dataclass
class ScriptArguments:
    """What to evaluate on what; files not given are the benchmark's own."""

    benchmark: str = "toyworld"
    model: str = "data_samples/tiny_model"
    annotations: str = ""
    lengths: str = ""
    videos: str = ""
    train_annotations: str = ""
    train_lengths: str = ""
    output_dir: str = ""
    fps: float = 1.0
    max_frames: int = 24
    max_completion_length: int = 48
    silent: bool = False


def read_arguments(argv):
    """The benchmark's files, and whatever is given on top of them."""
    parser = HfArgumentParser(ScriptArguments, allow_abbrev=False)
    what = ScriptArguments(**vars(parser.parse_args(argv)))
    files = BENCHMARKS.get(what.benchmark)
    if files is None:
        parser.error(f"unknown benchmark {what.benchmark!r}; there is {', '.join(BENCHMARKS)}")
    what = replace(what, **{key: file for key, file in files.items() if not getattr(what, key)})
    if missing := [k for k in ("annotations", "lengths", "videos") if not getattr(what, k)]:
        parser.error(f"{what.benchmark} needs --{missing[0]}")
    return replace(what, output_dir=what.output_dir or f"runs/evaluate-{what.benchmark}")


def load_records(what):
    """Questions, and training questions where there are any."""
    records = read_charades_sta(what.annotations, what.lengths, what.videos)
    if not (what.train_annotations and what.train_lengths):
        return records, []
    return records, read_charades_sta(what.train_annotations, what.train_lengths, what.videos)


def answer(what, records):
    """Greedy answers, a batch at a time, into a log that a second start goes on with."""
    model, processor = load_model(what.model)
    keys = ("benchmark", "model", "annotations", "fps", "max_frames", "max_completion_length")
    return evaluate(
        model,
        PromptLoader(processor, fps=what.fps, max_frames=what.max_frames),
        records,
        f"{what.output_dir}/predictions.jsonl",
        run={key: getattr(what, key) for key in keys},
        max_completion_length=what.max_completion_length,
        progress=None if what.silent else what.benchmark,
    )


def report(what, records, train, texts):
    """Scores beside baselines, in files that others can read."""
    rows = score_beside_baselines(texts, records, train_records=train)
    tables = {name: row.table for name, row in rows.items()}
    folder = Path(what.output_dir)
    write_result(folder, tables, config=asdict(what))
    write_charades(folder / "charades_predictions.json", texts, records)
    page = write_page(folder / "report.html", rows, texts, records, title=what.benchmark)
    return tables, page


def run(argv):
    """Read, answer, score."""
    what = read_arguments(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of loading; the run's own bar stays
    records, train = load_records(what)
    texts = answer(what, records)
    tables, page = report(what, records, train, texts)
    print(f"{render_scores(tables)}\n{len(records)} questions; report: {page}")


def main():
    """Bad input is one sentence, not a traceback."""
    try:
        run(sys.argv[1:])
    except (FileNotFoundError, AnnotationError, ModelError, PredictionError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
