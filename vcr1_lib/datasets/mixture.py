"""What is done with records of any origin: look them over, take a few, mix them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np

from vcr1_lib.datasets.charades_sta import read_charades_sta
from vcr1_lib.datasets.got10k import read_got10k
from vcr1_lib.datasets.next_gqa import read_next_gqa
from vcr1_lib.datasets.records import Record, Rules
from vcr1_lib.datasets.videochat_r1 import read_got_boxes
from vcr1_lib.metrics.scoring import many

log = logging.getLogger(__name__)

# What "18k" is made of, as far as public files tell: one sentence a Charades clip, one row a
# GOT-10k sequence, one a NExT-GQA question of the validation split.
PAPER_ROWS = {"charades_sta": 5338, "got10k": 9335, "next_gqa": 3358}


class Suspect(NamedTuple):
    """A record that can be scored but may not be worth training on.

    Attributes:
        id: The record's name.
        source: File and line, or file and entry.
        why: One sentence.
    """

    id: str
    source: str
    why: str


class Paths18k(NamedTuple):
    """Where the files of the paper's training mixture lie.

    Attributes:
        charades_annotations: ``charades_sta_train.txt``.
        charades_lengths: ``Charades_v1_train.csv``.
        charades_videos: Folder of clips.
        got10k: The toolkit's training folder, or ``got_train.json``.
        got10k_videos: Folder of sequences; used with the JSON form.
        next_gqa_questions: ``val.csv``.
        next_gqa_spans: ``gsub_val.json``.
        next_gqa_videos: Folder of clips.
        next_gqa_places: ``map_vid_vidorID.json``, or ``None``.
    """

    charades_annotations: str | Path
    charades_lengths: str | Path
    charades_videos: str | Path
    got10k: str | Path
    got10k_videos: str | Path
    next_gqa_questions: str | Path
    next_gqa_spans: str | Path
    next_gqa_videos: str | Path
    next_gqa_places: str | Path | None = None


def videochat_r1_18k(paths: Paths18k, **rules: Unpack[Rules]) -> list[Record]:
    """Assemble the paper's training mixture from the official files of its three sources.

    Of each Charades clip the first usable sentence is taken, which gives one row a clip. Other
    counts than the paper's 5,338 + 9,335 + 3,358 = 18,031 are logged as a warning.

    Args:
        paths: Where everything lies.
        **rules: As the readers take them, but bad rows are dropped by default: the official
            training files do hold reversed ones.

    Raises:
        FileNotFoundError: If anything is missing; the message lists all of it.
        AnnotationError: As the readers do.
    """
    gone = [f"{key}: {path}" for key, path in paths._asdict().items() if _is_gone(path)]
    if gone:
        raise FileNotFoundError(
            "expected the files of the mixture, found none at\n" + "\n".join(gone)
        )
    rules.setdefault("on_bad", "drop")
    moments = read_charades_sta(
        paths.charades_annotations, paths.charades_lengths, paths.charades_videos, **rules
    )
    first: dict[str, Record] = {}
    for record in moments:
        first.setdefault(record["video"], record)
    if Path(paths.got10k).is_dir():
        tracks = read_got10k(paths.got10k, **rules)
    else:
        tracks = read_got_boxes(paths.got10k, paths.got10k_videos, **rules)
    questions = read_next_gqa(
        paths.next_gqa_questions,
        paths.next_gqa_spans,
        paths.next_gqa_videos,
        places=paths.next_gqa_places,
        **rules,
    )
    parts = {"charades_sta": list(first.values()), "got10k": tracks, "next_gqa": questions}
    for name, records in parts.items():
        if len(records) != PAPER_ROWS[name]:
            told = many(len(records), "row")
            log.warning("%s: %s, the paper has %d", name, told, PAPER_ROWS[name])
    return [record for records in parts.values() for record in records]


def _is_gone(path: str | Path | None) -> bool:
    return path is not None and not Path(path).exists()


def find_suspects(records: Sequence[Record], *, look_for_videos: bool = True) -> list[Suspect]:
    """Look records over for what a reader accepts and a trainer may not want.

    A span that ends after its clip, options of which two read the same, a clip that is not
    there. (What cannot be scored at all, readers refuse by themselves.)

    Args:
        records: See :mod:`vcr1_lib.datasets`.
        look_for_videos: Look whether each clip exists.
    """
    found = []
    there: dict[str, bool] = {}
    for record in records:
        whys = []
        spans = [record["span"]] if "span" in record else record.get("spans") or []
        duration = record.get("duration")
        whys += [
            f"the span {list(span)} ends after the clip's {duration:g} s"
            for span in spans
            if duration is not None and span[1] > duration
        ]
        options = [str(option).strip().casefold() for option in record.get("options") or []]
        if len(set(options)) < len(options):
            whys.append(f"two options read the same: {record['options']!r}")
        if look_for_videos:
            video = record["video"]
            if not there.setdefault(video, Path(video).exists()):
                whys.append(f"no clip at {video}")
        found += [Suspect(record["id"], record.get("source", ""), why) for why in whys]
    return found


def without(records: Sequence[Record], suspects: Sequence[Suspect]) -> list[Record]:
    """Return the records that nothing was found about, in order."""
    named = {suspect.id for suspect in suspects}
    return [record for record in records if record["id"] not in named]


def take(records: Sequence[Record], n: int, *, seed: int = 0, by: str = "task") -> list[Record]:
    """Draw a small subset that keeps the shares of the whole, in the order of the whole.

    Args:
        records: See :mod:`vcr1_lib.datasets`.
        n: How many; all of them if there are fewer.
        seed: The same seed draws the same records.
        by: The column whose values keep their shares; largest remainders are rounded up.

    Raises:
        ValueError: If ``n`` is negative.

    >>> rows = [{"task": "a"}] * 6 + [{"task": "b"}] * 3
    >>> [row["task"] for row in take(rows, 3)]
    ['a', 'a', 'b']
    """
    if n < 0:
        raise ValueError(f"expected n >= 0, got {n}")
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        groups[record.get(by)].append(index)
    share = min(1.0, n / len(records)) if records else 0.0
    wanted = np.array([len(rows) * share for rows in groups.values()])
    counts = np.floor(wanted + 1e-9).astype(int)
    short = min(n, len(records)) - int(counts.sum())
    counts[np.argsort(counts - wanted, kind="stable")[:short]] += 1
    rng = np.random.default_rng(seed)
    picked = [
        int(row)
        for rows, count in zip(groups.values(), counts, strict=True)
        for row in rng.permutation(rows)[:count]
    ]
    return [records[index] for index in sorted(picked)]


def as_dataset(records: Sequence[Record]) -> Any:
    """Return records as a Hugging Face ``Dataset``; columns a task lacks are ``None``."""
    from datasets import Dataset

    names = list(dict.fromkeys(name for record in records for name in record))
    return Dataset.from_dict({name: [record.get(name) for record in records] for name in names})
