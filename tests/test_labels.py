"""The label file: nothing lost, nothing renamed, always ready to train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib.datasets import AnnotationError, read_jsonl
from vcr1_lib.datasets.labels import Label, read_labels, remove_label, write_label
from vcr1_lib.rewards.gold import GoldError

DOOR = Label("a folder/Tür zu.mp4", "the door opens.", (3.2, 7.5), 12.0)
OTHER_TASK = '{"video": "x.mp4", "events": ["A dog runs."],  "note": "kept as typed"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "labels.jsonl"


def test_what_is_written_is_read_and_can_be_trained_on(path: Path) -> None:
    assert read_labels(path) == {}
    assert write_label(path, DOOR) == 1
    assert write_label(path, DOOR._replace(query="it shuts.", span=(8, 12))) == 2
    assert read_labels(path) == {1: DOOR, 2: DOOR._replace(query="it shuts.", span=(8.0, 12.0))}
    record = read_jsonl(path, "clips")[0]
    assert record["video"] == str(Path("clips") / DOOR.video)
    assert (record["task"], record["span"], record["duration"]) == (
        "temporal_grounding", [3.2, 7.5], 12.0,
    )  # fmt: skip
    assert "Tür zu" in path.read_text(encoding="utf-8"), "people read this file too"


def test_a_label_keeps_its_line_and_its_name(path: Path) -> None:
    for second in range(3):
        write_label(path, DOOR._replace(span=(second, second + 1)))
    remove_label(path, 2, video=DOOR.video)
    assert write_label(path, DOOR._replace(span=(5, 6)), line=3) == 3
    assert write_label(path, DOOR) == 4, "a name is never given twice"
    assert [record["id"] for record in read_jsonl(path)] == ["own:1", "own:3", "own:4"]
    assert read_labels(path)[3].span == (5, 6)


def test_lines_that_are_not_labels_stay_as_they_are(path: Path) -> None:
    path.parent.mkdir()
    mine = '{"id": "mine", "video": "b.mp4", "query": "it rains.", "span": [1, 2], "who": "me"}'
    path.write_text(f"\ufeff{OTHER_TASK}\r\n\r\n{mine}", encoding="utf-8")
    assert read_labels(path) == {3: Label("b.mp4", "it rains.", (1, 2))}
    write_label(path, Label("b.mp4", "it pours.", (1, 3)), line=3)
    first, second, third = path.read_text(encoding="utf-8").splitlines()
    assert (first, second) == (OTHER_TASK, "")
    expected = {"id": "mine", "video": "b.mp4", "query": "it pours.", "span": [1, 3], "who": "me"}
    assert json.loads(third) == expected


@given(query=st.text(min_size=1), name=st.text(min_size=1), span=st.tuples(*[st.floats(0, 9)] * 2))
def test_any_words_come_back(
    tmp_path_factory: pytest.TempPathFactory, query: str, name: str, span: tuple[float, float]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    label = Label(name, query, span, 9.5)
    try:
        write_label(path, label)
    except (GoldError, UnicodeEncodeError):
        assert read_labels(path) == {}, "what is refused leaves nothing behind"
        return
    (saved,) = read_labels(path).values()
    assert saved.video == name
    assert saved.query.split() == query.split()
    assert saved.span == pytest.approx(span, abs=5e-4)
    assert read_jsonl(path)[0]["query"] == saved.query


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"query": "  \n"}, "a sentence to ground"),
        ({"span": (4, 4)}, "start < end"),
        ({"span": (4.0001, 4.0002)}, "start < end"),
        ({"span": (5, 4)}, "start <= end"),
        ({"span": (12, 13)}, "after the clip's 12 s"),
        ({"span": (1, float("nan"))}, "seconds"),
        ({"duration": 0.0}, "above 0"),
    ],
)
def test_a_label_that_cannot_be_truth_is_not_saved(path: Path, change: dict, why: str) -> None:
    write_label(path, DOOR)
    before = path.read_bytes()
    with pytest.raises(GoldError, match=why):
        write_label(path, DOOR._replace(**change), line=1)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["labels.jsonl"]


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", '{"span": [1, 2]}', '{"video": "a.mp4", "span": [1, 2]}',
     '{"video": "a.mp4", "query": "q", "span": [2, 1]}', '{"video": 3, "span": [1, 2]}'],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_not_touched(path: Path, line: str) -> None:
    path.parent.mkdir()
    path.write_text(f"{OTHER_TASK}\n{line}\n")
    with pytest.raises(AnnotationError, match=r"line 2: .*; correct the line"):
        read_labels(path)


@pytest.mark.parametrize("line", [0, 2, 3, 9])
def test_a_line_that_somebody_changed_is_left_alone(path: Path, line: int) -> None:
    write_label(path, DOOR)
    write_label(path, DOOR._replace(video="other.mp4"))
    before = path.read_bytes()
    with pytest.raises(AnnotationError, match="changed elsewhere"):
        write_label(path, DOOR, line=line)
    with pytest.raises(AnnotationError, match="changed elsewhere"):
        remove_label(path, line, video=DOOR.video)
    assert path.read_bytes() == before
