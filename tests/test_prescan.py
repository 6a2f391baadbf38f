"""A scan names exactly the bad files, whatever a decoder does: raise, hang or die."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from vcr1_lib.video import VideoError
from vcr1_lib.video.prescan import (
    ScanReport,
    check_video,
    find_videos,
    load_report,
    main,
    readable,
    scan,
)

CLIP = Path(__file__).parents[1] / "data_samples" / "clips" / "late.mp4"
GOOD = 30


def check_or_misbehave(path: str) -> None:
    """Stand in for a decoder with faults of its own."""
    if "hangs" in path:
        time.sleep(3600)
    if "dies" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    check_video(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    whole = CLIP.read_bytes()
    for i in range(GOOD):
        (tmp_path / f"good {i:03d}.mp4").write_bytes(whole)
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "empty.mp4").write_bytes(b"")
    (deep / "text.mp4").write_text("not found")
    (deep / "half.MP4").write_bytes(whole[: len(whole) // 2])
    (deep / "notes.txt").write_text("no video")
    return tmp_path


def test_exactly_the_bad_files_are_named(folder: Path) -> None:
    for name in ("good 005 hangs.mp4", "good 006 dies.mp4"):
        shutil.copy(CLIP, folder / name)
    report = scan(find_videos(folder), limit_seconds=8.0, check=check_or_misbehave)
    why = {Path(path).name: reason for path, reason in report.bad.items()}
    assert sorted(why) == [
        "empty.mp4",
        "good 005 hangs.mp4",
        "good 006 dies.mp4",
        "half.MP4",
        "text.mp4",
    ]
    assert "takes longer than 8 s" in why["good 005 hangs.mp4"]
    assert "ends the decoder's process" in why["good 006 dies.mp4"]
    assert "0 bytes" in why["empty.mp4"]
    assert len(report.good) == GOOD


def test_the_command_reports_and_training_can_use_it(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    saved = folder / "report.json"
    assert main([str(folder), "--report", str(saved)]) == 1
    said = capsys.readouterr().out
    assert f"{GOOD} videos can be read, 3 cannot" in said
    assert all(said.count(name) == 1 for name in ("empty.mp4", "text.mp4", "half.MP4"))
    report = load_report(saved)
    assert report == ScanReport(report.good, report.bad)
    names = ("deep/text.mp4", "good 001.mp4", "deep/../good 002.mp4", "gone.mp4")
    records = [{"id": name, "video": str(folder / name)} for name in names]
    assert [r["id"] for r in readable(records, report)] == [names[1], names[2]]
    assert "2 of 4 questions left out" in caplog.text
    assert readable(records, saved) == readable(records, report)
    for path in Path(folder / "deep").iterdir():
        path.unlink()
    assert main([str(folder)]) == 0


@pytest.mark.parametrize("text", ["", "[]", '{"good": []}', "not JSON"])
def test_another_file_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(VideoError, match="expected a report of python -m"):
        load_report(tmp_path / "other.json")


def test_impossible_options_are_refused(tmp_path: Path) -> None:
    for options in ({"limit_seconds": 0.0}, {"num_workers": 0}):
        with pytest.raises(ValueError, match="expected limit_seconds > 0"):
            scan([], **options)
    with pytest.raises(FileNotFoundError, match="found none"):
        find_videos(tmp_path)
    assert scan([]) == ScanReport([], {})


def test_missing_clips_are_counted_before_anything_is_opened(tmp_path: Path) -> None:
    there = tmp_path / "a.mp4"
    there.touch()
    videos = [str(there), str(tmp_path / "b.mp4"), str(tmp_path / "c.mp4")]
    records = [{"id": v, "video": v, "source": f"f.txt:{i}"} for i, v in enumerate(videos, 1)]
    with pytest.raises(
        FileNotFoundError, match=r"2 of 3 questions have no clip, the first f.txt:2"
    ):
        readable(records, "")
    assert readable(records, "", on_error="skip") == records
    assert readable(records[:1], "") == records[:1]
