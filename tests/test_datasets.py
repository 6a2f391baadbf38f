"""Annotation files in the official form: what is kept, what is refused, and by what name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vcr1_lib.datasets import AnnotationError, BadRow, read_charades_sta

SAMPLES = Path(__file__).parents[1] / "data_samples" / "charades_sta"
LENGTHS = 'id,subject,script,length\nAAAAA,S1,"He sits, then\nstands.",30.5\nBBBBB,S2,,12\n'
GOOD = "AAAAA 1.5 7.0##person sits down."

Read = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write an annotation file and read it back."""

    def write_and_read(
        text: str, *, lengths: str = LENGTHS, **options: Any
    ) -> list[dict[str, Any]]:
        (tmp_path / "sta.txt").write_bytes(text.encode())
        (tmp_path / "lengths.csv").write_bytes(lengths.encode())
        return read_charades_sta(tmp_path / "sta.txt", tmp_path / "lengths.csv", "clips", **options)

    return write_and_read


def test_a_line_becomes_a_record(read: Read) -> None:
    assert read(GOOD) == [
        {
            "id": "charades_sta:AAAAA:0",
            "task": "temporal_grounding",
            "video": str(Path("clips") / "AAAAA.mp4"),
            "query": "person sits down.",
            "span": [1.5, 7.0],
            "duration": 30.5,
            "source": "sta.txt:1",
        }
    ]


def test_ids_are_unique_and_count_within_a_clip(read: Read) -> None:
    records = read("AAAAA 0 1##a.\nBBBBB 0 1##b.\nAAAAA 2 3##c.\n")
    assert [r["id"].removeprefix("charades_sta:") for r in records] == [
        "AAAAA:0",
        "BBBBB:0",
        "AAAAA:1",
    ]


@pytest.mark.parametrize("text", [GOOD + "\r\n" + GOOD, f"\n\n{GOOD}\n  \n{GOOD}\n\n"])
def test_windows_line_ends_and_blank_lines_are_no_matter(read: Read, text: str) -> None:
    assert [r["query"] for r in read(text)] == ["person sits down."] * 2


def test_a_sentence_may_hold_the_separator(read: Read) -> None:
    assert read("AAAAA 1 2##reads sign ## 5 aloud.")[0]["query"] == "reads sign ## 5 aloud."


def test_an_end_past_the_clip_is_kept(read: Read) -> None:
    # 562 of the 3,720 official test rows are like this; the official scorer keeps them.
    assert read("BBBBB 8 12.9##person leaves.")[0]["span"] == [8, 12.9]


BAD_LINES = {
    "AAAAA 1 2 no separator": "VIDEO START END##sentence",
    "AAAAA 1##one number.": "VIDEO START END##sentence",
    "AAAAA 1 2##  ": "VIDEO START END##sentence",
    "AAAAA one 2##a word.": "one",
    "AAAAA 7.0 1.5##reversed.": "start < end",
    "AAAAA 2 2##no length.": "start < end",
    "AAAAA -1 2##before the clip.": "start < end",
    "AAAAA nan 2##not a number.": "finite",
    "AAAAA 1 inf##for ever.": "finite",
    "BBBBB 12 13##after the clip.": "12 s",
    "CCCCC 1 2##unknown clip.": "CCCCC",
}


@pytest.mark.parametrize(("line", "why"), BAD_LINES.items())
def test_a_bad_line_is_named(read: Read, tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(AnnotationError, match=why) as caught:
        read(f"{GOOD}\n\n{line}\n")
    assert f"{tmp_path / 'sta.txt'}, line 3:" in str(caught.value)
    assert "on_bad='drop'" in str(caught.value)
    assert "--on_error skip" in str(caught.value)


def test_bad_lines_can_be_left_out(read: Read) -> None:
    lines = [line for bad in BAD_LINES for line in (bad, GOOD)]
    dropped: list[BadRow] = []
    records = read("\n".join(lines), on_bad="drop", bad_rows=dropped)
    # Bad lines about a clip count too, so leaving them out renames no other.
    about = [line.split()[0] for line in lines]
    places = [about[: 2 * i + 1].count("AAAAA") for i in range(len(BAD_LINES))]
    assert [r["id"] for r in records] == [f"charades_sta:AAAAA:{place}" for place in places]
    assert [r["source"] for r in records] == [f"sta.txt:{2 * i + 2}" for i in range(len(BAD_LINES))]
    assert [(row.line, row.text) for row in dropped] == [
        (2 * i + 1, line) for i, line in enumerate(BAD_LINES)
    ]
    for row, why in zip(dropped, BAD_LINES.values(), strict=True):
        assert why in row.why


@pytest.mark.parametrize("text", ["", "\n \n", "AAAAA 3 2##reversed."])
def test_a_file_without_a_usable_line_is_refused(read: Read, text: str) -> None:
    with pytest.raises(AnnotationError, match=r"sta\.txt holds no usable line"):
        read(text, on_bad="drop")


@pytest.mark.parametrize(
    ("lengths", "why"),
    [
        ("id,seconds\nAAAAA,30\n", "columns 'id' and 'length'"),
        ("", "columns 'id' and 'length'"),
        ("id,length\nAAAAA,thirty\n", "thirty"),
        ("id,length\nAAAAA,\n", "AAAAA"),
        ("id,length\nAAAAA\n", "AAAAA"),  # a line cut short
        ("id,length\nAAAAA,nan\n", "nan"),
        ("id,length\nAAAAA,-3\n", "-3"),
    ],
)
def test_bad_lengths_are_named(read: Read, lengths: str, why: str) -> None:
    with pytest.raises(AnnotationError, match=why) as caught:
        read(GOOD, lengths=lengths)
    assert "lengths.csv" in str(caught.value)


@pytest.mark.parametrize("missing", ["sta.txt", "lengths.csv"])
def test_a_missing_file_is_named(read: Read, tmp_path: Path, missing: str) -> None:
    read(GOOD)
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        read_charades_sta(tmp_path / "sta.txt", tmp_path / "lengths.csv", "clips")


@pytest.mark.parametrize(("split", "num_clips"), [("train", 128), ("heldout", 96)])
def test_the_shipped_annotations_are_sound(split: str, num_clips: int) -> None:
    records = read_charades_sta(
        SAMPLES / f"toyworld_sta_{split}.txt",
        SAMPLES / f"toyworld_v1_{split}.csv",
        SAMPLES / "videos",
    )
    videos = {record["video"] for record in records}
    assert (len(videos), len(records)) == (num_clips, num_clips)
    assert len({record["id"] for record in records}) == len(records)
    assert all(Path(video).is_file() for video in videos)
