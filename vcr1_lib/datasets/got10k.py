"""GOT-10k as its toolkit lays it out: a folder a sequence, one picture and one box a frame.

Reference: Huang et al., "GOT-10k: A Large High-Diversity Benchmark for Generic Object Tracking
in the Wild" (2019).
"""

from __future__ import annotations

import configparser
import math
from pathlib import Path
from typing import Unpack

import numpy as np

from vcr1_lib.datasets.records import Record, Rules, collect, numbered, read_text

PAPER_BOXES = 8


def read_got10k(
    folder: str | Path,
    *,
    num_boxes: int = PAPER_BOXES,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read a split, such as ``GOT-10k/val``: ``list.txt`` names its sequences.

    ``video`` is the sequence's folder of pictures and ``times`` the seconds of the boxes'
    frames, which :func:`vcr1_lib.video.read_clip` takes as they are; ``num_frames`` and
    ``picture_size`` say what the whole sequence has. Boxes are clipped to the
    picture, as the toolkit does before it scores.

    Args:
        folder: Holds ``list.txt`` and a folder a sequence.
        num_boxes: Frames with a box, spread evenly from the first to the last.
        **rules: What to do with a bad sequence; see :class:`vcr1_lib.datasets.records.Rules`.

    Raises:
        FileNotFoundError: If there is no ``list.txt``.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
        ValueError: If ``num_boxes`` is below 2.
    """
    if num_boxes < 2:
        raise ValueError(f"expected at least 2 boxes, the given one and one more, got {num_boxes}")
    path = Path(folder) / "list.txt"
    names = [(i, name.strip()) for i, name in numbered(read_text(path).splitlines())]

    def make(name: str) -> Record:
        return _sequence(Path(folder) / name, num_boxes)

    rows = [(i, name) for i, name in names if name]
    expected = "the name of a sequence a line"
    return collect(path, rows, make, expected=expected, unit="line", **rules)


def _sequence(folder: Path, num_boxes: int) -> Record:
    for name in ("groundtruth.txt", "meta_info.ini"):
        if not (folder / name).is_file():
            raise ValueError(f"expected {name} in {folder}, found none")
    meta = configparser.ConfigParser(interpolation=None)
    meta.read_string(read_text(folder / "meta_info.ini"))
    about = meta["METAINFO"]
    rate = float(about["anno_fps"].lower().removesuffix("hz"))
    if not 0 < rate < math.inf:
        raise ValueError(f"expected anno_fps above 0, got {about['anno_fps']!r}")
    width, height = (float(n) for n in about["resolution"].strip("()[] ").split(","))
    lines = read_text(folder / "groundtruth.txt").split()
    if len(lines) < num_boxes:
        raise ValueError(f"expected at least {num_boxes} boxes, got {len(lines)}")
    frames = np.linspace(0, len(lines) - 1, num_boxes).round().astype(int)
    return {
        "id": f"got10k:{folder.name}",
        "task": "tracking",
        "video": str(folder),
        "object": about["object_class"],
        "boxes": [_box(lines[frame], width, height) for frame in frames],
        "times": (frames / rate).tolist(),
        "duration": len(lines) / rate,
        "num_frames": len(lines),
        "picture_size": [width, height],
    }


def _box(line: str, width: float, height: float) -> list[float]:
    """Turn ``x,y,w,h`` in pixels into shares of the picture, clipped to it."""
    x, y, w, h = (float(number) for number in line.split(","))
    if w <= 0 or h <= 0:
        raise ValueError(f"expected a box with a width and a height, got {line!r}")
    box = np.array([x / width, y / height, (x + w) / width, (y + h) / height])
    clipped: list[float] = box.clip(0, 1).round(4).tolist()
    return clipped
