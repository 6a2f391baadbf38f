"""Any format by its name, and clips set apart: no leak, no surprise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib.datasets import FORMATS, AnnotationError, read_jsonl, read_records, split_by_video
from vcr1_lib.rewards import PRESETS, preset_rewards, track_iou_reward

SAMPLES = Path(__file__).parents[1] / "data_samples"
STA, GIVEN = SAMPLES / "charades_sta", SAMPLES / "formats"
CLIPS, R1, GQA = SAMPLES / "clips", GIVEN / "videochat_r1", GIVEN / "nextgqa"

FILES: dict[str, dict[str, Path]] = {
    "own": {"annotations": GIVEN / "own.jsonl", "videos": CLIPS},
    "charades_sta": {
        "annotations": STA / "toyworld_sta_heldout.txt",
        "lengths": STA / "toyworld_v1_heldout.csv",
        "videos": STA / "videos",
    },
    "activitynet_captions": {"annotations": GIVEN / "activitynet_captions.json", "videos": CLIPS},
    "next_gqa": {
        "annotations": GQA / "val.csv", "spans": GQA / "gsub_val.json", "videos": CLIPS,
    },
    "got10k": {"annotations": GIVEN / "got10k" / "val"},
    "perception_test": {"annotations": GIVEN / "perception_test.json", "videos": CLIPS},
    "perception_test_tracks": {"annotations": GIVEN / "perception_test.json", "videos": CLIPS},
    "dream_1k": {"annotations": GIVEN / "dream_1k.json", "videos": CLIPS},
    "videochat_r1_moments": {"annotations": R1 / "charades.json", "videos": CLIPS},
    "videochat_r1_gqa": {"annotations": R1 / "nextgqa.json", "videos": CLIPS},
    "videochat_r1_got": {"annotations": R1 / "got_val.json", "videos": CLIPS},
    "videochat_r1_quality": {"annotations": R1 / "quality.json", "videos": CLIPS},
}  # fmt: skip


def rows(*clips: str) -> list[dict[str, Any]]:
    return [{"id": str(i), "video": clip} for i, clip in enumerate(clips)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_by_its_name(name: str) -> None:
    records = read_records(dataset=name, **FILES[name])
    assert records
    assert {record["task"] for record in records} <= set(PRESETS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_needed_is_asked_for_by_its_option(name: str) -> None:
    needed = set(FORMATS[name].files) - set(FORMATS[name].optional) - {"annotations"}
    for option in needed:
        given = FILES[name] | {option: ""}
        with pytest.raises(AnnotationError, match=f"'{name}' needs {option}"):
            read_records(dataset=name, **given)


def test_the_ending_tells_where_it_can() -> None:
    assert read_records(**FILES["own"]) == read_jsonl(GIVEN / "own.jsonl", CLIPS)
    assert read_records(**FILES["charades_sta"])[0]["id"].startswith("charades_sta:")
    with pytest.raises(AnnotationError, match=r"expected a dataset of own, .*dream_1k\.json"):
        read_records(GIVEN / "dream_1k.json", CLIPS)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"expected a dataset of own, .*'charades'"):
        read_records("a.txt", "videos", dataset="charades")
    with pytest.raises(AnnotationError, match=r"'own' takes no lengths: .* --train_lengths"):
        read_records(GIVEN / "own.jsonl", CLIPS, lengths="lengths.csv")
    with pytest.raises(FileNotFoundError, match="found none at"):
        read_records(tmp_path / "absent.jsonl")


def test_own_clips_lie_beside_their_file_unless_told(tmp_path: Path) -> None:
    line = '{"video": "a.mp4", "query": "a dog runs.", "span": [1, 2]}\n'
    (tmp_path / "own.jsonl").write_text(line * 2 + line.replace("[1", "[3"))
    dropped: list[Any] = []
    records = read_records(tmp_path / "own.jsonl", "", on_bad="drop", bad_rows=dropped)
    assert [record["video"] for record in records] == [str(tmp_path / "a.mp4")] * 2
    assert [bad.line for bad in dropped] == [3]


@given(st.lists(st.sampled_from("abcdefghij"), min_size=2), st.floats(0.01, 0.99), st.integers())
def test_no_clip_is_on_both_sides(clips: list[str], share: float, seed: int) -> None:
    records = rows(*clips)
    if len(set(clips)) < 2:
        with pytest.raises(ValueError, match="at least two clips"):
            split_by_video(records, heldout=share, seed=seed)
        return
    train, apart = split_by_video(records, heldout=share, seed=seed)
    seen, unseen = ({row["video"] for row in part} for part in (train, apart))
    assert seen
    assert unseen
    assert not seen & unseen
    assert abs(len(unseen) - share * len(set(clips))) <= 1
    assert sorted([*train, *apart], key=lambda row: int(row["id"])) == records


def test_a_split_owes_nothing_to_order_or_machine() -> None:
    names = [f"clip {i:02}.mp4" for i in range(20)]
    _, apart = split_by_video(rows(*names))
    _, again = split_by_video(rows(*[f"elsewhere/{name}" for name in reversed(names)]))
    chosen = {row["video"] for row in apart}
    assert {Path(row["video"]).name for row in again} == chosen
    assert len(chosen) == 4
    _, more = split_by_video(rows(*names, "a new one.mp4"))
    assert len(chosen - {row["video"] for row in more}) <= 1
    assert {row["video"] for row in split_by_video(rows(*names), seed=1)[1]} != chosen


def test_one_file_written_two_ways_is_one_clip() -> None:
    records = rows("a.mp4", "./a.mp4", "x/../a.mp4", "b.mp4")
    train, apart = split_by_video(records, heldout=0.5)
    assert sorted([len(train), len(apart)]) == [1, 3]


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_is_between_none_and_all(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_by_video(rows("a", "b"), heldout=share)


def test_rewards_of_several_tasks_come_once_each() -> None:
    mixed = preset_rewards(["tracking", "temporal_grounding", "tracking"])
    assert [reward.__name__ for reward in mixed] == [
        "format_reward", track_iou_reward.__name__, "temporal_iou_reward",
    ]  # fmt: skip
