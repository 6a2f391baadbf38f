"""Sentences and their moments by clip, as JSON: ActivityNet Captions, and what copies its form.

``{"v_ID": {"duration": 55.15, "timestamps": [[0.28, 55.15], ...], "sentences": ["...", ...]}}``

Reference: Krishna et al., "Dense-Captioning Events in Videos" (2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

from vcr1_lib.datasets.records import Record, Rules, collect, numbered, read_json


def read_moments(
    annotations: str | Path,
    videos: str | Path,
    *,
    name: str = "activitynet_captions",
    suffix: str = ".mp4",
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read sentences and their moments: ``train.json``, ``val_1.json``, ``val_2.json``.

    The official ``val_1.json`` has 17,505 of 4,917 clips, ``val_2.json`` 17,031 of 4,885.
    VideoChat-R1 keeps Charades in this form too: pass ``name="charades"``. Two thirds of
    ActivityNet's sentences start with blanks; they are removed. Ends past the clip are kept.

    Args:
        annotations: A JSON file as above.
        videos: Folder of ``ID.mp4`` files; they are not opened here.
        name: What the records' names start with.
        suffix: What the clips' names end with.
        **rules: What to do with a bad sentence; see :class:`vcr1_lib.datasets.records.Rules`.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: As :func:`vcr1_lib.datasets.records.collect` does.
    """
    path = Path(annotations)

    def make(row: dict[str, Any]) -> Record:
        if "span" not in row:
            raise ValueError("expected as many timestamps as sentences, and a duration")
        return {
            "id": f"{name}:{row['clip']}:{row['place']}",
            "task": "temporal_grounding",
            "video": str(Path(videos) / f"{row['clip']}{suffix}"),
            "query": str(row["sentence"]).strip(),
            "span": [float(second) for second in row["span"]],
            "duration": float(row["duration"]),
        }

    rows = numbered(_sentences(read_json(path, dict)))
    expected = "{CLIP: {duration, timestamps, sentences}}"
    return collect(path, rows, make, expected=expected, **rules)


def _sentences(clips: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row a sentence; a clip whose lists do not match is one bad row."""
    for clip, entry in clips.items():
        told = entry if isinstance(entry, dict) else {}
        spans, sentences = told.get("timestamps", []), told.get("sentences", [])
        if "duration" not in told or len(spans) != len(sentences):
            yield {"clip": clip, "entry": entry}
            continue
        for place, (span, sentence) in enumerate(zip(spans, sentences, strict=True)):
            row = {"clip": clip, "place": place, "span": span, "sentence": sentence}
            yield row | {"duration": told["duration"]}
