"""One file, ready for a training run: read, looked over, some clips set apart."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from vcr1_lib.datasets.by_name import read_records, split_by_video
from vcr1_lib.datasets.mixture import find_suspects
from vcr1_lib.datasets.records import AnnotationError, BadRow, Record
from vcr1_lib.video import read_clip
from vcr1_lib.video.prescan import readable

log = logging.getLogger(__name__)

ABOUT_SECONDS = ("temporal_grounding", "grounded_qa")


def with_durations(records: Sequence[Record]) -> list[Record]:
    """Fill in the length of clips whose annotation does not tell it, which scoring needs.

    Raises:
        FileNotFoundError: If such a clip is not there.
        VideoError: If it cannot be read.
    """
    untold = [r for r in records if r["task"] in ABOUT_SECONDS and r.get("duration") is None]
    videos = dict.fromkeys(record["video"] for record in untold)
    seconds = {video: read_clip(video, num_frames=1).duration_seconds for video in videos}
    return [
        record | {"duration": seconds[record["video"]]} if record["video"] in seconds else record
        for record in records
    ]


def read_usable(
    annotations: str | Path,
    videos: str | Path | None = None,
    *,
    scan: str | Path = "",
    on_error: Literal["raise", "skip"] = "raise",
    **files: Any,
) -> list[Record]:
    """Read one file for a run: clips that are there, bad rows left out if the run skips.

    Args:
        annotations: As :func:`read_records` takes it.
        videos: As :func:`read_records` takes it.
        scan: A report of :mod:`vcr1_lib.video.prescan`: no file is opened that it does not
            call good.
        on_error: As :func:`vcr1_lib.video.prescan.readable` takes it; ``"skip"`` leaves out bad
            rows as well, each with a warning.
        **files: The other options of :func:`read_records`.

    Returns:
        Records; those about seconds have a ``duration``.

    Raises:
        FileNotFoundError: If a file is missing.
        VideoError: If a clip whose length is not told cannot be read.
        AnnotationError: As :func:`read_records` does.
    """
    bad_rows: list[BadRow] = []
    if on_error == "skip":
        files = {"on_bad": "drop", "bad_rows": bad_rows} | files
    records = read_records(annotations, videos, **files)
    for row in bad_rows:
        log.warning("%s:%d is left out: %s", annotations, row.line, row.why)
    return with_durations(readable(records, scan, on_error=on_error))


def read_and_split(
    annotations: str | Path,
    videos: str | Path | None = None,
    *,
    heldout: float = 0.2,
    tasks: Collection[str] | None = None,
    **options: Any,
) -> tuple[list[Record], list[Record]]:
    """Read one file and set some of its clips apart: all that a training run needs.

    What :func:`vcr1_lib.datasets.find_suspects` finds is kept, and logged as a warning.

    Args:
        annotations: As :func:`read_usable` takes it.
        videos: As :func:`read_usable` takes it.
        heldout: As :func:`split_by_video` takes it; the seed is 0, so that every run of every
            seed is measured on the same clips.
        tasks: What may be asked; ``None`` for anything.
        **options: The others of :func:`read_usable`.

    Returns:
        Records to train on and records to measure on; those about seconds have a ``duration``.

    Raises:
        FileNotFoundError: If a file is missing.
        VideoError: If a clip whose length is not told cannot be read.
        AnnotationError: If something else is asked than allowed; if there are fewer than two
            clips.
    """
    records = read_usable(annotations, videos, **options)
    if tasks is not None and (other := {record["task"] for record in records}.difference(tasks)):
        raise AnnotationError(
            f"{annotations}: expected moments, a 'query' and its 'span'; got {sorted(other)} too: "
            "keep each task in a file of its own"
        )
    if len({record["video"] for record in records}) < 2:
        raise AnnotationError(
            f"{annotations}: expected at least two clips, to hold one out; label another clip"
        )
    for suspect in find_suspects(records):
        log.warning("%s is kept, but have a look: %s", suspect.source, suspect.why)
    return split_by_video(records, heldout=heldout)


def read_moments_and_split(
    annotations: str | Path, videos: str | Path | None = None, **options: Any
) -> tuple[list[Record], list[Record]]:
    """Do what :func:`read_and_split` does with a file that asks when something happens."""
    return read_and_split(annotations, videos, tasks=("temporal_grounding",), **options)
