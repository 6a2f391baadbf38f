"""Evaluate a video language model on a named benchmark, beside answers that never look.

Started again, an evaluation goes on where it stopped. docs/benchmarks.md lists the names.
    python scripts/evaluate.py --benchmark samples
    python scripts/evaluate.py --benchmark next_gqa --annotations FILE --spans FILE --videos FOLDER
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers.utils import logging

from vcr1_lib.datasets import AnnotationError, benchmarks
from vcr1_lib.evaluation import evaluate
from vcr1_lib.evaluation.page import write_page
from vcr1_lib.evaluation.report import write_result
from vcr1_lib.metrics.official import write_official
from vcr1_lib.metrics.predictions import PredictionError
from vcr1_lib.metrics.scoring import many
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import ModelError, ModelOptions, load_model
from vcr1_lib.options import option, options_parser, parse_options

BUDGET = ("fps", "max_frames", "max_completion_length")
PINNED = ("benchmark", *benchmarks.FILES, *BUDGET)


@dataclass
class ScriptArguments:
    """What to evaluate on what; what is left out is the benchmark's own."""

    benchmark: str = option("toyworld", "a name of docs/benchmarks.md")
    annotations: str = option("", "the questions")
    lengths: str = option("", "lengths of the clips, for charades_sta")
    spans: str = option("", "where the answers are seen, for next_gqa")
    videos: str = option("", "folder of the clips")
    train_annotations: str = option("", "other questions, to fit the baselines on")
    train_lengths: str = option("", "lengths of their clips")
    train_spans: str = option("", "where their answers are seen")
    output_dir: str = option("", "where to write; runs/evaluate-BENCHMARK if left out")
    fps: float = option(0.0, "frames a second; 0 is the benchmark's")
    max_frames: int = option(0, "at most so many frames; 0 is the benchmark's")
    max_completion_length: int = option(0, "longest answer in tokens; 0 is the benchmark's")
    silent: bool = option(False, "show no progress")


def read_arguments(argv):
    """What to evaluate, with the benchmark's frame budget, and which model."""
    parser = options_parser([ScriptArguments, ModelOptions], description=__doc__)
    what, options = parse_options(parser, argv)
    shown = benchmarks.find_benchmark(what.benchmark)
    budget = {key: getattr(what, key) or getattr(shown, key) for key in BUDGET}
    folder = what.output_dir or f"runs/evaluate-{what.benchmark.replace('/', '-')}"
    return replace(what, output_dir=folder, **budget), options


def load_records(what):
    """Questions, and training questions where there are any."""
    files = {file: getattr(what, file) for file in benchmarks.FILES}
    return benchmarks.read_benchmark(what.benchmark, **files)


def answer(what, options, records):
    """Greedy answers, a batch at a time, into a log that a second start goes on with."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, processor = load_model(**asdict(options), device=device)
    budget = {"fps": what.fps, "max_frames": what.max_frames}
    budget["max_pixels"] = benchmarks.max_pixels(what.max_frames)
    return evaluate(
        model,
        PromptLoader(processor, **budget),
        records,
        f"{what.output_dir}/predictions.jsonl",
        run={k: getattr(what, k) for k in PINNED} | asdict(options),
        max_completion_length=what.max_completion_length,
        progress=None if what.silent else what.benchmark,
    )


def report(what, options, records, train, texts):
    """Scores beside baselines, in files that others can read."""
    folder = Path(what.output_dir)
    sections = benchmarks.score_sections(texts, records, train_records=train)
    tables = {
        name: {row: scores.table for row, scores in section.rows.items()}
        for name, section in sections.items()
    }
    write_result(folder, tables, config=asdict(what) | asdict(options))
    for section in sections.values():
        write_official(folder / "official", section.texts, section.records)
    page = write_page(folder / "report.html", sections, title=what.benchmark)
    return sections, page


def run(argv):
    """Read, answer, score."""
    what, options = read_arguments(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of loading; the run's own bar stays
    records, train = load_records(what)
    texts = answer(what, options, records)
    sections, page = report(what, options, records, train, texts)
    for name, section in sections.items():
        print(f"{name}\n{section.render()}\n")
    print(f"{many(len(records), 'question')}; report: {page}")


def main():
    """Bad input is one sentence, not a traceback."""
    try:
        run(sys.argv[1:])
    except (FileNotFoundError, AnnotationError, ModelError, PredictionError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
