"""Read any of the formats by its name, and set clips apart for measuring: what a script needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Unpack

from vcr1_lib.datasets.captions import read_captions
from vcr1_lib.datasets.charades_sta import read_charades_sta
from vcr1_lib.datasets.got10k import read_got10k
from vcr1_lib.datasets.moments import read_moments
from vcr1_lib.datasets.next_gqa import read_next_gqa
from vcr1_lib.datasets.own_jsonl import read_jsonl
from vcr1_lib.datasets.perception_test import read_perception_test
from vcr1_lib.datasets.records import AnnotationError, Record, Rules
from vcr1_lib.datasets.videochat_r1 import read_got_boxes, read_gqa_list, read_quality


class Format(NamedTuple):
    """A format that scripts can read.

    Attributes:
        read: Its reader.
        files: What the reader wants, by the scripts' option names, in the reader's order.
        optional: Which of them may be left out.
    """

    read: Callable[..., list[Record]]
    files: tuple[str, ...] = ("annotations", "videos")
    optional: tuple[str, ...] = ()


FORMATS: Final[dict[str, Format]] = {
    "own": Format(read_jsonl, optional=("videos",)),
    "charades_sta": Format(read_charades_sta, ("annotations", "lengths", "videos")),
    "activitynet_captions": Format(read_moments),
    "next_gqa": Format(read_next_gqa, ("annotations", "spans", "videos")),
    # The annotations are the toolkit's folder, which holds the pictures too.
    "got10k": Format(read_got10k, ("annotations",)),
    "perception_test": Format(read_perception_test),
    "perception_test_tracks": Format(partial(read_perception_test, task="tracking")),
    "dream_1k": Format(read_captions),
    "videochat_r1_moments": Format(partial(read_moments, name="videochat_r1_moments")),
    "videochat_r1_gqa": Format(read_gqa_list),
    "videochat_r1_got": Format(read_got_boxes),
    "videochat_r1_quality": Format(read_quality),
}
# Where a file's ending leaves no doubt; the JSON formats have to be named.
ENDINGS: Final = {".jsonl": "own", ".txt": "charades_sta"}


def read_records(
    annotations: str | Path,
    videos: str | Path | None = None,
    *,
    dataset: str | None = None,
    lengths: str | Path | None = None,
    spans: str | Path | None = None,
    **rules: Unpack[Rules],
) -> list[Record]:
    """Read annotations of a named format.

    Args:
        annotations: The file; for ``"got10k"`` its folder.
        videos: Folder of the clips; your own JSON lines may leave it out.
        dataset: A key of ``FORMATS``; by default ``"own"`` for ``.jsonl`` and
            ``"charades_sta"`` for ``.txt``.
        lengths: The clips' lengths, for Charades-STA.
        spans: Where the answers are seen, for NExT-GQA.
        **rules: What to do with a bad row; see :class:`vcr1_lib.datasets.records.Rules`.

    An empty path counts as one not given, as scripts have it.

    Raises:
        FileNotFoundError: If a file is missing.
        AnnotationError: If the format is unknown, wants a file that is not given or does not
            take one that is; as the readers do.
    """
    name = dataset or ENDINGS.get(Path(annotations).suffix.lower())
    if name not in FORMATS:
        told = (
            f"got {name!r}" if name else f"the ending of {str(annotations)!r} does not tell which"
        )
        raise AnnotationError(f"expected a dataset of {', '.join(FORMATS)}; {told}")
    kind = FORMATS[name]
    paths = {"annotations": annotations, "lengths": lengths, "spans": spans, "videos": videos}
    given = {option: path for option, path in paths.items() if path not in (None, "")}
    if missing := [f for f in kind.files if f not in given and f not in kind.optional]:
        raise AnnotationError(f"the dataset {name!r} needs {' and '.join(missing)}, got none")
    if extra := [option for option in given if option not in kind.files]:
        raise AnnotationError(
            f"the dataset {name!r} takes no {' and no '.join(extra)}: leave "
            'it out, or give it empty where a script has one of its own, --train_lengths ""'
        )
    return kind.read(*(given.get(option) for option in kind.files), **rules)


def split_by_video(
    records: Sequence[Record], *, heldout: float = 0.2, seed: int = 0
) -> tuple[list[Record], list[Record]]:
    """Set some clips apart for measuring, with all that is asked about them.

    Two questions about one clip are not independent, so a clip is on one side only. Which side
    depends on the seed and the file's name alone, not on the order of the records: label more
    clips later, and nearly every clip stays where it was.

    Args:
        records: See :mod:`vcr1_lib.datasets`.
        heldout: Share of the clips to set apart; at least one is, and one stays.
        seed: Another seed draws other clips.

    Returns:
        Records to train on and records to measure on, each in their order.

    Raises:
        AnnotationError: If there are fewer than two clips, or the share is not between 0 and 1.

    >>> rows = [{"video": f"{clip}.mp4"} for clip in "aabbccddee"]
    >>> train, apart = split_by_video(rows, heldout=0.4)
    >>> len(train), len(apart), {row["video"] for row in train} & {row["video"] for row in apart}
    (6, 4, set())
    """
    if not 0 < heldout < 1:
        raise AnnotationError(
            f"expected a held-out share between 0 and 1, got {heldout:g}; --heldout 0.2 keeps a "
            "fifth of the clips for measuring"
        )
    clips = {record["video"]: Path(record["video"]).resolve() for record in records}
    distinct = sorted(set(clips.values()), key=lambda clip: (_draw(clip.name, seed), clip))
    if len(distinct) < 2:
        raise AnnotationError(
            f"expected at least two clips to split, got {len(distinct)}: film more"
        )
    number = min(max(1, round(heldout * len(distinct))), len(distinct) - 1)
    apart = set(distinct[:number])
    train = [record for record in records if clips[record["video"]] not in apart]
    return train, [record for record in records if clips[record["video"]] in apart]


def _draw(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
