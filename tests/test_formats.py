"""Every annotation format reads into the same kind of record, and a bad row harms no other."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import build_format_samples
from vcr1_lib import datasets
from vcr1_lib.datasets import (
    AnnotationError,
    BadRow,
    Paths18k,
    as_dataset,
    find_suspects,
    read_captions,
    read_charades_sta,
    read_got10k,
    read_got_boxes,
    read_gqa_list,
    read_jsonl,
    read_moments,
    read_next_gqa,
    read_perception_test,
    read_quality,
    take,
    videochat_r1_18k,
    without,
)
from vcr1_lib.rewards.grading import GOLD_COLUMNS
from vcr1_lib.video import prescan

SAMPLES = Path(__file__).parents[1] / "data_samples"
FORMATS, CLIPS = SAMPLES / "formats", SAMPLES / "clips"
HELDOUT = SAMPLES / "charades_sta" / "videos"
R1 = FORMATS / "videochat_r1"
GQA = FORMATS / "nextgqa"
Reader = Callable[..., list[dict[str, Any]]]

READERS: dict[str, tuple[Callable[..., list[dict[str, Any]]], str, int]] = {
    "activitynet": (
        lambda **o: read_moments(FORMATS / "activitynet_captions.json", HELDOUT, **o),
        "temporal_grounding",
        4,
    ),
    "videochat_r1 charades": (
        lambda **o: read_moments(R1 / "charades.json", HELDOUT, name="charades", **o),
        "temporal_grounding",
        4,
    ),
    "next_gqa": (
        lambda **o: read_next_gqa(GQA / "val.csv", GQA / "gsub_val.json", HELDOUT, **o),
        "grounded_qa",
        4,
    ),
    "videochat_r1 gqa": (
        lambda **o: read_gqa_list(R1 / "nextgqa.json", HELDOUT, **o),
        "grounded_qa",
        4,
    ),
    "got10k": (lambda **o: read_got10k(FORMATS / "got10k" / "val", **o), "tracking", 1),
    "videochat_r1 got": (
        lambda **o: read_got_boxes(R1 / "got_val.json", FORMATS / "got10k" / "val", **o),
        "tracking",
        1,
    ),
    "dream_1k": (lambda **o: read_captions(FORMATS / "dream_1k.json", CLIPS, **o), "caption", 1),
    "tarsier": (lambda **o: read_captions(FORMATS / "DREAM-1k.jsonl", CLIPS, **o), "caption", 1),
    "quality": (lambda **o: read_quality(R1 / "quality.json", CLIPS, **o), "quality", 2),
    "perception questions": (
        lambda **o: read_perception_test(FORMATS / "perception_test.json", CLIPS, **o),
        "multiple_choice",
        1,
    ),
    "perception tracks": (
        lambda **o: read_perception_test(
            FORMATS / "perception_test.json", CLIPS, task="tracking", **o
        ),
        "tracking",
        1,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_each_format_gives_the_same_kind_of_record(name: str) -> None:
    read, task, count = READERS[name]
    records = read()
    assert len(records) == len({r["id"] for r in records}) == count
    for record in records:
        assert record["task"] == task
        assert set(GOLD_COLUMNS[task]) <= set(record)
        assert Path(record["video"]).exists()
        assert record["source"].rpartition(":")[2].isdecimal()
    assert find_suspects(records) == []


def test_two_forms_of_one_truth_agree() -> None:
    official, listed = READERS["next_gqa"][0](), READERS["videochat_r1 gqa"][0]()
    for column in ("question", "options", "answer", "spans", "duration", "video"):
        assert [r[column] for r in official] == [r[column] for r in listed]
    (card,), (line,) = READERS["dream_1k"][0](), READERS["tarsier"][0]()
    for column in ("events", "caption", "video"):
        assert card[column] == line[column]
    (folder,), (boxes,) = READERS["got10k"][0](), READERS["videochat_r1 got"][0]()
    assert folder["object"] == boxes["object"] == "yellow circle"
    for ours, theirs in zip(folder["boxes"], boxes["boxes"], strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
    # 20 frames, ten a second: 0, 19/7, 38/7, ... rounded.
    assert folder["times"] == [0, 0.3, 0.5, 0.8, 1.1, 1.4, 1.6, 1.9]


def test_sentences_lose_their_blanks_and_times_their_microseconds() -> None:
    assert READERS["activitynet"][0]()[0]["query"].startswith("a ")
    (track,) = READERS["perception tracks"][0]()
    assert track["times"][0] == 0
    assert track["times"][-1] == 5.5
    assert track["duration"] == 6.0


def change(name: str, tmp_path: Path, edit: Callable[[Any], Any]) -> Path:
    """Copy a sample with a change."""
    source = FORMATS / name
    path = tmp_path / source.name
    path.write_text(json.dumps(edit(json.loads(source.read_text()))))
    return path


def first(change: dict[str, Any]) -> Callable[[list[Any]], list[Any]]:
    """Add a changed copy before the rows there are."""
    return lambda rows: [rows[0] | change, *rows]


BAD_ROWS: list[tuple[Reader, str, dict[str, Any], str]] = [
    (read_gqa_list, "videochat_r1/nextgqa.json", {"id": "x", "answer": "(G)"}, "answer"),
    (read_gqa_list, "videochat_r1/nextgqa.json", {"id": "x", "glue": [[9, 3]]}, "start <= end"),
    (read_gqa_list, "videochat_r1/nextgqa.json", {"id": "x", "glue": []}, "spans"),
    (read_gqa_list, "videochat_r1/nextgqa.json", {"id": "x", "glue": [[30, 31]]}, "after the clip"),
    (read_gqa_list, "videochat_r1/nextgqa.json", {"id": "x", "duration": -1}, "duration"),
    (read_gqa_list, "videochat_r1/nextgqa.json", {"id": "x", "question": " "}, "question"),
    (read_gqa_list, "videochat_r1/nextgqa.json", {"id": "x", "options": ["jump", "jump"]}, "twice"),
    (read_gqa_list, "videochat_r1/nextgqa.json", {}, "taken by an earlier row"),
    (read_got_boxes, "videochat_r1/got_val.json", {"path": "x", "gt": [[0, 0, 2, 1]]}, "x1 <= 1"),
    (read_got_boxes, "videochat_r1/got_val.json", {"path": "x", "gt": []}, "boxes"),
    (read_got_boxes, "videochat_r1/got_val.json", {"path": "x", "object": ""}, "object"),
    (read_quality, "videochat_r1/quality.json", {"video": "x", "answer": "so so"}, "so so"),
    (read_captions, "dream_1k.json", {"idx": "x", "events": []}, "events"),
    (read_captions, "dream_1k.json", {"idx": "x", "events": [" "]}, "words"),
]


@pytest.mark.parametrize(("read", "name", "harm", "why"), BAD_ROWS)
def test_a_bad_row_is_named_or_left_out(
    tmp_path: Path, read: Reader, name: str, harm: dict[str, Any], why: str
) -> None:
    path = change(name, tmp_path, first(harm))
    # A repeated name is found at its second row, the harm itself at the first.
    entry = 1 if harm else 2
    with pytest.raises(AnnotationError, match=why) as caught:
        read(path, "clips")
    assert f"{path}, entry {entry}:" in str(caught.value)
    dropped: list[BadRow] = []
    records = read(path, "clips", on_bad="drop", bad_rows=dropped)
    assert [(row.line, why in row.why) for row in dropped] == [(entry, True)]
    whole = read(FORMATS / name, "clips")
    assert [r["id"] for r in records] == [r["id"] for r in whole]
    truth = GOLD_COLUMNS[whole[0]["task"]]
    assert [[r[c] for c in truth] for r in records] == [[r[c] for c in truth] for r in whole]


@pytest.mark.parametrize("row", [3, None, "text", [], {}])
@pytest.mark.parametrize("read", [read_got_boxes, read_gqa_list, read_quality, read_captions])
def test_a_row_of_another_kind_is_a_bad_row(tmp_path: Path, read: Reader, row: Any) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(AnnotationError, match="entry 1"):
        read(path, "clips")


def test_moments_that_do_not_match_are_bad(tmp_path: Path) -> None:
    good = {"duration": 9, "timestamps": [[0, 3]], "sentences": ["a."]}
    clips = {
        "v_short": good | {"sentences": []},
        "v_none": good | {"duration": None},
        "v_reversed": good | {"timestamps": [[3, 0]]},
        "v_point": good | {"timestamps": [[3, 3]]},
        "v_list": [],
        "v_good": good,
    }
    path = tmp_path / "moments.json"
    path.write_text(json.dumps(clips))
    dropped: list[BadRow] = []
    (record,) = read_moments(path, "clips", on_bad="drop", bad_rows=dropped)
    assert record["id"] == "activitynet_captions:v_good:0"
    assert record["source"] == "moments.json:6"
    assert [row.line for row in dropped] == [1, 2, 3, 4, 5]


def test_next_gqa_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("video_id,question\nH0000,why\n")
    with pytest.raises(AnnotationError, match=r"lacks the columns \['a0'"):
        read_next_gqa(tmp_path / "val.csv", GQA / "gsub_val.json", "clips")
    text = (GQA / "val.csv").read_text().replace("H0001,", "H9999,")
    (tmp_path / "val.csv").write_text(text)
    with pytest.raises(AnnotationError, match=r"line 3: question 1 about clip H9999 has no spans"):
        read_next_gqa(tmp_path / "val.csv", GQA / "gsub_val.json", "clips")
    places = tmp_path / "places.json"
    places.write_text(json.dumps({"H0000": "11/H0000"}))
    records = read_next_gqa(GQA / "val.csv", GQA / "gsub_val.json", "clips", places=places)
    assert records[0]["video"] == str(Path("clips/11/H0000.mp4"))


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("groundtruth.txt", "1,2,3,4\n", "at least 8 boxes, got 1"),
        ("groundtruth.txt", "1,2,0,4\n" * 20, "a width and a height"),
        ("meta_info.ini", "[METAINFO]\nanno_fps: 0Hz\n", "anno_fps above 0"),
    ],
)
def test_a_bad_sequence_is_named(tmp_path: Path, file: str, text: str, why: str) -> None:
    shutil.copytree(FORMATS / "got10k" / "val", tmp_path / "val")
    (tmp_path / "val" / "TOY_Val_000001" / file).write_text(text)
    with pytest.raises(AnnotationError, match=why):
        read_got10k(tmp_path / "val")
    with pytest.raises(ValueError, match="at least 2 boxes"):
        read_got10k(tmp_path / "val", num_boxes=1)


def test_own_data_tells_its_task() -> None:
    records = read_jsonl(FORMATS / "own.jsonl", CLIPS)
    tasks = ["temporal_grounding", "multiple_choice", "caption", "quality"]
    assert [r["task"] for r in records] == tasks
    assert [r["id"] for r in records] == ["own:1", "own:2", "own:3", "own:4"]
    assert records[1]["answer"] == "A"
    assert records[3]["labels"] == ["low quality", "high quality"]
    assert find_suspects(records) == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2: Expecting"),
        ("[]", "JSON object with a 'video'"),
        ('{"query": "a", "span": [0, 1]}', "'video'"),
        ('{"video": "a.mp4", "query": "a"}', "the truth of a task"),
        ('{"video": "a.mp4", "task": "dance"}', "expected a task of"),
        ('{"video": "a.mp4", "span": [0, 1]}', "lacks 'query'"),
    ],
)
def test_a_bad_line_of_own_data_is_named(tmp_path: Path, line: str, why: str) -> None:
    good = '{"video": "a.mp4", "query": "a.", "span": [0, 1]}'
    path = tmp_path / "own.jsonl"
    path.write_text(f"{good}\n{line}\n\n{good}\n")
    with pytest.raises(AnnotationError, match=why):
        read_jsonl(path)
    records = read_jsonl(path, on_bad="drop")
    assert [r["id"] for r in records] == ["own:1", "own:4"]
    assert records[0]["video"] == str(tmp_path / "a.mp4")


def test_files_that_are_no_annotations_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    with pytest.raises(FileNotFoundError, match=r"rows\.json"):
        read_quality(path, "clips")
    for content, why in [(b"{", "is not JSON"), (b"{}", "JSON list"), (b"\xff\xfe1", "not UTF-8")]:
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match=why):
            read_quality(path, "clips")
    path.write_text("[]")
    with pytest.raises(AnnotationError, match="no usable entry: expected"):
        read_quality(path, "clips")


def mixture() -> Paths18k:
    sta = SAMPLES / "charades_sta"
    return Paths18k(
        charades_annotations=sta / "toyworld_sta_heldout.txt",
        charades_lengths=sta / "toyworld_v1_heldout.csv",
        charades_videos=HELDOUT,
        got10k=R1 / "got_val.json",
        got10k_videos=FORMATS / "got10k" / "val",
        next_gqa_questions=GQA / "val.csv",
        next_gqa_spans=GQA / "gsub_val.json",
        next_gqa_videos=HELDOUT,
    )


def test_the_papers_mixture_is_put_together(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        records = videochat_r1_18k(mixture())
    counts = {"temporal_grounding": 96, "tracking": 1, "grounded_qa": 4}
    assert Counter(r["task"] for r in records) == counts
    assert "got10k: 1 row, the paper has 9335" in caplog.text
    assert sum(datasets.mixture.PAPER_ROWS.values()) == 18031
    toolkit = mixture()._replace(got10k=FORMATS / "got10k" / "val")
    assert len(videochat_r1_18k(toolkit)) == len(records)


def test_the_papers_mixture_lists_all_that_is_missing() -> None:
    paths = mixture()._replace(got10k="nowhere.json", next_gqa_spans="gone.json")
    with pytest.raises(FileNotFoundError) as caught:
        videochat_r1_18k(paths)
    assert "got10k: nowhere.json" in str(caught.value)
    assert "next_gqa_spans: gone.json" in str(caught.value)


def test_one_sentence_a_clip_in_the_mixture(tmp_path: Path) -> None:
    sta = tmp_path / "sta.txt"
    lines = ["H0000 5 4##reversed.", "H0000 1 4##first.", "H0000 2 4##second.", "H0001 1 4##b."]
    sta.write_text("\n".join(lines))
    dropped: list[BadRow] = []
    records = videochat_r1_18k(mixture()._replace(charades_annotations=sta), bad_rows=dropped)
    assert [r["query"] for r in records[:2]] == ["first.", "b."]
    assert [row.line for row in dropped] == [1]


def test_suspects_are_named_by_line_and_can_be_dropped() -> None:
    sta = SAMPLES / "charades_sta"
    records = read_charades_sta(
        sta / "toyworld_sta_heldout.txt", sta / "toyworld_v1_heldout.csv", HELDOUT
    )
    records[3] |= {"span": [20.0, 24.5]}
    records[5] |= {"video": "gone.mp4"}
    question = READERS["next_gqa"][0]()[0]
    records.append(question | {"options": ["a", "b", "B ", "c"]})
    found = find_suspects(records)
    assert [(s.source, s.why.split()[-1]) for s in found[:2]] == [
        ("toyworld_sta_heldout.txt:4", "s"),
        ("toyworld_sta_heldout.txt:6", "gone.mp4"),
    ]
    assert "two options read the same" in found[2].why
    kept = without(records, found)
    assert kept == [r for i, r in enumerate(records) if i not in (3, 5, 96)]
    assert len(find_suspects(records, look_for_videos=False)) == 2


def test_a_subset_keeps_the_shares_and_the_order() -> None:
    rows = [{"id": i, "task": "abc"[min(i % 10, 6) // 3]} for i in range(100)]
    assert Counter(r["task"] for r in rows) == {"a": 30, "b": 30, "c": 40}
    for n in (0, 1, 7, 10, 99, 100, 500):
        taken = take(rows, n, seed=3)
        assert len(taken) == min(n, 100)
        assert [r["id"] for r in taken] == sorted(r["id"] for r in taken)
        for task, share in (("a", 0.3), ("b", 0.3), ("c", 0.4)):
            assert abs(sum(r["task"] == task for r in taken) - share * min(n, 100)) < 1
    assert take(rows, 10, seed=1) == take(rows, 10, seed=1) != take(rows, 10, seed=2)
    assert take([], 3) == []
    with pytest.raises(ValueError, match="n >= 0"):
        take(rows, -1)


def test_mixed_records_become_one_dataset() -> None:
    records = [READERS[name][0]()[0] for name in ("activitynet", "next_gqa", "got10k")]
    table = as_dataset(records)
    assert table.num_rows == 3
    assert table[0]["boxes"] is None
    assert table[2]["boxes"] == records[2]["boxes"]
    assert table[1]["options"] == records[1]["options"]


def test_the_shipped_annotations_are_what_the_tool_writes(tmp_path: Path) -> None:
    builds = ("moments", "questions", "tracks", "rest")
    for name in builds:
        getattr(build_format_samples, f"build_{name}")(tmp_path)
    made = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    kept = {p.relative_to(FORMATS) for p in FORMATS.rglob("*") if p.is_file()}
    assert made == kept
    for path in kept:
        if path.suffix != ".jpg":
            assert (tmp_path / path).read_text() == (FORMATS / path).read_text(), path


GUIDE = (Path(__file__).parents[1] / "docs" / "own_videos.md").read_text(encoding="utf-8")


def test_the_guides_lines_can_be_read(tmp_path: Path) -> None:
    lines = re.findall(r"`(\{.*\})`", GUIDE)
    grounded = json.loads(lines[1]) | {"spans": [[3.2, 7.5]]}
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join([*lines, json.dumps(grounded)]))
    assert {r["task"] for r in read_jsonl(path)} == set(GOLD_COLUMNS)


def test_the_guides_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CLIPS, tmp_path / "videos")
    bad = '{"video": "rate12.mp4", "query": "a.", "span": [3, 2]}'
    (tmp_path / "labels.jsonl").write_text((FORMATS / "own.jsonl").read_text() + bad)
    (tmp_path / "data_samples").symlink_to(SAMPLES)
    monkeypatch.chdir(tmp_path)
    assert prescan.main(["videos", "--report", "scan.json"]) == 0
    label, ask, train = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    for many, few in {"max_steps=120": "max_steps=1", "batch_size=4": "batch_size=1"}.items():
        assert many in train
        train = train.replace(many, few)
    exec(train, names)
    assert [row.line for row in names["bad"]] == [5]
    assert len(names["train"]) + len(names["heldout"]) == 4
    Path("runs/own-tasks").rename("runs/own")
    exec(ask.replace("door.mp4", "rate12.mp4"), names)
    with pytest.raises(AnnotationError, match="line 5"):
        exec(label, names)  # the bad line is for the reader to correct
