"""Benchmarks by name: which files each wants, from where, under what terms, shown how.

    python -m vcr1_lib.datasets.benchmarks                 # the table of docs/benchmarks.md
    python -m vcr1_lib.datasets.benchmarks charades_sta --annotations FILE --lengths FILE

The second scores answers that never look; it needs neither a model nor videos.
``benchmarks.json`` holds the facts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from vcr1_lib.datasets import AnnotationError, read_records
from vcr1_lib.datasets.records import Record
from vcr1_lib.metrics.baselines import missing_baselines
from vcr1_lib.metrics.scoring import Scores, many, render_scores, score_beside_baselines

# VideoChat-R1's budget a video. A visual token of Qwen2.5-VL covers 28 x 28 pixels of two frames.
VISUAL_TOKENS, TOKEN_PIXELS = 3584, 2 * 28 * 28
ALL_SAMPLES: Final = "samples"
QUESTIONS: Final = ("annotations", "lengths", "spans")
FILES: Final = ("videos", *QUESTIONS, *(f"train_{file}" for file in QUESTIONS))

# What a task is scored by; `python -m vcr1_lib.datasets.benchmarks` prints it.
METRICS: Final = {
    "temporal_grounding": "mIoU, R1@0.3, R1@0.5, R1@0.7",
    "tracking": "AO, SR@0.5, SR@0.75, overlap, R@0.5, R@0.7",
    "multiple_choice": "accuracy",
    "grounded_qa": "Acc@GQA, Acc@QA, mIoP, mIoU, IoP@0.3, IoU@0.3, IoP@0.5, IoU@0.5, set_mIoU",
    "caption": "event_recall",
    "quality": "accuracy",
    "any": "as its tasks have it",
}


class Benchmark(NamedTuple):
    """Questions that have a name.

    Attributes:
        dataset: Format of its files, a key of :data:`vcr1_lib.datasets.FORMATS`.
        task: What is asked, or ``"any"``.
        wants: Option -> the file or folder, by its owner's name for it.
        source: Who has them.
        licence: Under which terms.
        max_frames: At most this many; pixels are limited so that they fit the paper's budget.
        fps: Frames per second.
        max_completion_length: In tokens.
        official: What is written for other people's scorers; nothing where no form is known.
        shipped: Option -> path, where this repository holds all of it.
        sample: Option -> path of a small file in the same format that this repository holds.
    """

    dataset: str
    task: str
    wants: Mapping[str, str]
    source: str
    licence: str
    max_frames: int
    fps: float = 2.0
    max_completion_length: int = 1024
    official: str = ""
    shipped: Mapping[str, str] | None = None
    sample: Mapping[str, str] | None = None


def _read_table() -> dict[str, Benchmark]:
    text = files("vcr1_lib.datasets").joinpath("benchmarks.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return {name: Benchmark(**row) for name, row in table.items()}


BENCHMARKS: Final = _read_table()


def find_benchmark(name: str) -> Benchmark:
    """Look a benchmark up; ``"samples/NAME"`` is its small sample, ``"samples"`` all of them.

    Samples are shown as toyworld is, which the embedded model knows.

    Raises:
        AnnotationError: If there is none; the message lists all.

    >>> find_benchmark("charades_sta").wants["annotations"]
    'charades_sta_test.txt'
    """
    toy = BENCHMARKS["toyworld"]
    if name == ALL_SAMPLES:
        return toy._replace(dataset=ALL_SAMPLES, task="any", official="")
    whole = name.removeprefix(f"{ALL_SAMPLES}/")
    if whole not in BENCHMARKS or (whole != name and BENCHMARKS[whole].sample is None):
        raise AnnotationError(
            f"unknown benchmark {name!r}; there is {', '.join(BENCHMARKS)}, {ALL_SAMPLES} and "
            f"{ALL_SAMPLES}/NAME"
        )
    found = BENCHMARKS[whole]
    if whole == name:
        return found
    return toy._replace(**{k: getattr(found, k) for k in ("dataset", "task", "official")},
                        shipped=found.sample)  # fmt: skip


def max_pixels(max_frames: int) -> int:
    """Return the pixels per frame that keep so many frames within the paper's 3,584 visual tokens.

    >>> max_pixels(8) // (28 * 28)  # four pairs of frames, 896 tokens each
    896
    """
    return VISUAL_TOKENS * TOKEN_PIXELS // max_frames


def read_benchmark(name: str, **paths: str) -> tuple[list[Record], list[Record]]:
    """Read a benchmark's questions, and training questions to fit the baselines on.

    Each record gets a column ``dataset``.

    Args:
        name: As :func:`find_benchmark` takes it.
        **paths: Of ``FILES``; an empty one counts as not given. They go before the
            benchmark's own.

    Returns:
        Questions, and training questions; none where there are no files of them.

    Raises:
        AnnotationError: If the name is unknown, or as the readers do.
        FileNotFoundError: If a file is not given or not there; the message says which file to
            get, from where, and its licence.
    """
    if name == ALL_SAMPLES:
        parts = [read_benchmark(part) for part in sample_names()]
        return [r for asked, _ in parts for r in asked], [r for _, known in parts for r in known]
    benchmark = find_benchmark(name)
    given = {option: path for option, path in paths.items() if path}
    chosen = {**(benchmark.shipped or {}), **given}
    if missing := [option for option in benchmark.wants if option not in chosen]:
        wanted = " ".join(f"--{option}" for option in missing)
        raise FileNotFoundError(f"{name} needs {wanted}: {_get(benchmark)}")
    try:
        return _read(benchmark, chosen), _read(benchmark, chosen, prefix="train_")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; {name} is {_get(benchmark)}") from error


def sample_names() -> list[str]:
    """Return the names of everything that is shipped, toyworld first."""
    samples = [f"{ALL_SAMPLES}/{name}" for name, row in BENCHMARKS.items() if row.sample]
    return [name for name, row in BENCHMARKS.items() if row.shipped] + samples


def _get(benchmark: Benchmark) -> str:
    told = ", ".join(f"{what} (--{option})" for option, what in benchmark.wants.items())
    return f"{told or 'shipped'}. Source: {benchmark.source}. Licence: {benchmark.licence}."


def _read(benchmark: Benchmark, paths: Mapping[str, str], *, prefix: str = "") -> list[Record]:
    annotations, lengths, spans = (paths.get(prefix + option) for option in QUESTIONS)
    videos = paths.get("videos")
    if annotations is None:
        return []
    if videos and not Path(videos).is_dir():
        raise FileNotFoundError(f"expected a folder of videos, found none at {videos}")
    records = read_records(
        annotations, videos, dataset=benchmark.dataset, lengths=lengths, spans=spans
    )
    return [record | {"dataset": benchmark.dataset} for record in records]


class Section(NamedTuple):
    """Questions of one dataset and task, with what was answered and what it is worth.

    Attributes:
        rows: From :func:`vcr1_lib.metrics.scoring.score_beside_baselines`.
        texts: ``N`` completions.
        records: ``N``.
        missing: Which baselines are not among the rows, and what would bring them.
    """

    rows: dict[str, Scores]
    texts: list[str | None]
    records: list[Record]
    missing: str = ""

    def render(self) -> str:
        """Return the table as text and, below it, what it misses."""
        rows = {name: row.table for name, row in self.rows.items()}
        told = render_scores(rows) if rows else "no answer without looking"
        return f"{told}\n{self.missing}".strip()


def score_sections(
    texts: Sequence[str | None], records: Sequence[Record], *, train_records: Sequence[Record] = ()
) -> dict[str, Section]:
    """Score answers beside the baselines, each dataset and task by itself.

    Args:
        texts: ``N`` completions.
        records: ``N`` records with a column ``dataset``.
        train_records: Others, to fit baselines on; each section takes those of its task.

    Returns:
        ``"dataset: task"`` -> section, in the records' order.
    """
    places: dict[tuple[str, str], list[int]] = {}
    for place, record in enumerate(records):
        places.setdefault((record["dataset"], record["task"]), []).append(place)
    sections = {}
    for (dataset, task), chosen in places.items():
        said, asked = [texts[i] for i in chosen], [records[i] for i in chosen]
        known = [record for record in train_records if record["task"] == task]
        rows = score_beside_baselines(said, asked, train_records=known)
        missing = missing_baselines(asked, train_records=known)
        sections[f"{dataset}: {task.replace('_', ' ')}"] = Section(rows, said, asked, missing)
    return sections


def render_table() -> str:
    """Return the benchmarks as a table in Markdown."""
    head = ["`--benchmark`", "files", "from", "licence", "frames", "scores", "official file"]
    lines = [head, ["---"] * len(head)]
    for name, row in BENCHMARKS.items():
        wanted = "<br>".join(f"`--{option}` {what}" for option, what in row.wants.items())
        frames = f"{row.fps:g} per second, at most {row.max_frames}"
        if row.task == "tracking":
            frames = "one per box"
        official = "<br>".join(f"`{file}`" for file in row.official.split(", ") if file)
        cells = [f"`{name}`", wanted or "shipped", row.source, row.licence, frames]
        lines.append([*cells, METRICS[row.task], official or "none known"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def render_baselines(name: str, **paths: str) -> str:
    """Return the scores of answers that never look, a table for each dataset and task.

    Args:
        name: As :func:`find_benchmark` takes it.
        **paths: As :func:`read_benchmark` takes them; the videos are not needed.
    """
    records, train = read_benchmark(name, **{**paths, "videos": paths.get("videos") or "."})
    tables = []
    for title, section in score_sections([""] * len(records), records, train_records=train).items():
        blind = {k: row for k, row in section.rows.items() if not k.startswith("model")}
        count = many(len(section.records), "question")
        tables.append(f"{title}, {count}\n{section._replace(rows=blind).render()}")
    return "\n\n".join(tables)


def main() -> None:
    """Print the table, or a benchmark's trivial baselines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", help="print what this one scores without looking")
    for file in FILES:
        parser.add_argument(f"--{file}", default="")
    given = vars(parser.parse_args())
    name = given.pop("name")
    try:
        print(render_baselines(name, **given) if name else render_table())  # noqa: T201
    except (FileNotFoundError, AnnotationError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
