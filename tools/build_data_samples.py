"""Film the toyworld clips in ``data_samples/`` and write their annotations.

    python -m tools.build_data_samples

The same seeds give the same scenes and annotations everywhere; the MP4 bytes depend on the
encoder's version, which ``data_samples/PROVENANCE.md`` names.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from vcr1_lib.toyworld import SEED_RANGES, Split, query_of, sample_scene, write_mp4

CLIPS: dict[Split, int] = {"train": 128, "heldout": 96}


def build_split(folder: Path, split: Split, num_clips: int) -> None:
    """Write clips, their annotations in Charades-STA's form, and their lengths."""
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    lines, lengths = [], []
    for index in range(num_clips):
        scene = sample_scene(SEED_RANGES[split].start + index, split)
        name = f"{split[0].upper()}{index:04d}"
        write_mp4(scene, videos / f"{name}.mp4")
        lengths.append((name, f"{scene.duration_seconds:.2f}"))
        lines += [
            f"{name} {e.start_seconds:.1f} {e.end_seconds:.1f}##{query_of(e)}\n"
            for e in scene.events
        ]
    (folder / f"toyworld_sta_{split}.txt").write_text("".join(lines), encoding="utf-8")
    with (folder / f"toyworld_v1_{split}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "length"), *lengths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data_samples/charades_sta"))
    folder = parser.parse_args().output
    for split, num_clips in CLIPS.items():
        build_split(folder, split, num_clips)


if __name__ == "__main__":
    main()
