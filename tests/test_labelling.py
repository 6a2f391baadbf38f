"""The labelling widget, every control moved: what is shown is what is saved."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
import traitlets

from vcr1_lib.datasets import AnnotationError, find_suspects, read_jsonl
from vcr1_lib.datasets.labels import Label, read_labels
from vcr1_lib.video import Clip, VideoError, read_clip
from vcr1_lib.video.prescan import ScanReport
from vcr1_lib.widgets import label_spans
from vcr1_lib.widgets.labelling import SpanLabeller, label_rows, span_options

CLIPS = Path(__file__).parents[1] / "data_samples" / "clips"
NAMES = ["a sub folder/Tür ü.mp4", "b late.mp4", "c broken.mp4", "d variable.mp4"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my clips"
    (folder / "a sub folder").mkdir(parents=True)
    for name, sample in zip(NAMES, ["rate12", "late", None, "variable"], strict=True):
        if sample:
            shutil.copy(CLIPS / f"{sample}.mp4", folder / name)
    (folder / NAMES[2]).write_text("not a video " * 99)
    return folder


@pytest.fixture
def labeller(folder: Path, tmp_path: Path) -> SpanLabeller:
    return label_spans(folder, tmp_path / "labels.jsonl")


def said(labeller: SpanLabeller) -> str:
    assert 'role="status" aria-live="polite"' in labeller.status.value
    return labeller.status.value


def save(labeller: SpanLabeller, query: str, first: int, last: int) -> None:
    labeller.span.index, labeller.query.value = (first, last), query
    labeller.save.click()


def test_it_opens_at_the_first_clip_and_says_what_is_left(labeller: SpanLabeller) -> None:
    assert labeller.clips == NAMES
    assert labeller.clip.label == f"1. {NAMES[0]} (labels: 0)"
    assert "clips without a label: 4" in said(labeller)
    assert "No label" in labeller.table.value
    assert labeller.span.index == (0, len(labeller.shown.frames))


def test_handles_stand_on_the_clips_own_times(labeller: SpanLabeller, folder: Path) -> None:
    labeller.clip.value = 3
    every = read_clip(folder / NAMES[3], fps=1000, max_frames=100_000).times_seconds
    assert len(set(np.diff(every).round(3))) > 1, "the sample's rate varies"
    chosen = [second for _, second in labeller.span.options]
    assert set(chosen[:-1]) <= set(every)
    assert chosen[-1] == labeller.shown.duration_seconds
    assert chosen == sorted(set(chosen))
    for index in range(0, len(chosen) - 1, 7):
        labeller.span.index = (index, index + 1)
        assert labeller.span.value == (chosen[index], chosen[index + 1])
        assert labeller.ends.value.count(f"inside, {chosen[index]:.3f} s</figcaption>") == 2


def test_a_long_clip_gives_as_many_steps_as_asked_for(folder: Path, tmp_path: Path) -> None:
    labeller = label_spans(folder, tmp_path / "l.jsonl", num_frames=5)
    assert len(labeller.shown.frames) == 5
    assert labeller.frame.max == labeller.play.max == 4
    # 6 s in 5 pictures: played at their own pace.
    assert (labeller.play.step, labeller.play.interval) == (1, 1200)


def test_playing_shows_the_frame_and_its_second(labeller: SpanLabeller) -> None:
    seen = set()
    for index in range(0, labeller.frame.max + 1, 10):
        labeller.frame.value = index
        second = labeller.shown.times_seconds[index]
        assert f'alt="on show, {second:.3f} s"' in labeller.view.value
        seen.add(re.search(r"base64,(\S+)\"", labeller.view.value)[1])
    assert len(seen) > 3, "the picture moves"
    played = labeller.play.interval / labeller.play.step * len(labeller.shown.frames) / 1000
    assert played == pytest.approx(labeller.shown.duration_seconds, rel=0.02)


class OldPlay(ipywidgets.IntSlider):
    """What ipywidgets 7 calls ``_playing``."""

    _playing = traitlets.Bool()


@pytest.mark.parametrize(("kind", "trait"), [(ipywidgets.Play, "playing"), (OldPlay, "_playing")])
def test_another_clip_stops_the_player(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, trait: str
) -> None:
    monkeypatch.setattr(ipywidgets, "Play", kind)
    labeller = label_spans(folder, tmp_path / "labels.jsonl")
    labeller.play.set_trait(trait, True)
    labeller.clip.value = 3
    assert getattr(labeller.play, trait) is False


def test_a_frame_becomes_a_start_or_an_end(labeller: SpanLabeller) -> None:
    times = [second for _, second in labeller.span.options]
    labeller.frame.value = 30
    labeller.start_here.click()
    assert labeller.span.value == (times[30], times[-1])
    labeller.frame.value = 40
    labeller.end_here.click()
    assert labeller.span.value == (times[30], times[41]), "the frame on show is inside"
    labeller.frame.value = 50
    labeller.start_here.click()
    assert labeller.span.value == (times[50], times[51]), "the end gives way"
    labeller.frame.value = 10
    labeller.end_here.click()
    assert labeller.span.value == (times[10], times[11]), "the start gives way"
    labeller.frame.value = labeller.frame.max
    labeller.start_here.click()
    labeller.end_here.click()
    assert labeller.span.value == (times[-2], times[-1])


def test_saved_labels_are_ready_to_train_on(
    labeller: SpanLabeller, folder: Path, tmp_path: Path
) -> None:
    save(labeller, "  the door\nopens. ", 12, 36)
    assert "saved in line 1; clips without a label: 3" in said(labeller)
    assert labeller.query.value == ""
    assert "(labels: 1)" in labeller.clip.label
    labeller.next.click()
    save(labeller, "<b>it rains</b>", 0, 60)
    assert "<b>" not in labeller.table.value + labeller.status.value
    records = read_jsonl(tmp_path / "labels.jsonl", folder)
    assert [record["query"] for record in records] == ["the door opens.", "<b>it rains</b>"]
    assert records[0]["span"] == pytest.approx([1.0, 3.0], abs=1e-3)
    assert find_suspects(records) == []


def test_a_label_can_be_changed_and_taken_away(labeller: SpanLabeller, tmp_path: Path) -> None:
    save(labeller, "first", 12, 36)
    save(labeller, "second", 24, 48)
    assert labeller.remove.disabled
    assert [name for name, _ in labeller.label.options] == [
        "new",
        "line 1: first",
        "line 2: second",
    ]
    labeller.label.value = 1
    shown = labeller.query.value, labeller.span.index, labeller.frame.value
    assert shown == ("first", (12, 36), 12)
    save(labeller, "first, mended", 13, 36)
    assert labeller.label.label == "new", "the next one saved is a new one"
    labeller.label.value = 2
    labeller.remove.click()
    assert "removed line 2" in said(labeller)
    labels = read_labels(tmp_path / "labels.jsonl")
    assert {line: label.query for line, label in labels.items()} == {1: "first, mended"}
    assert "first, mended" in labeller.table.value
    assert "second" not in labeller.table.value


def test_work_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    save(label_spans(folder, path), "it moves.", 1, 9)
    again = label_spans(folder, path)
    assert again.clip.value == 1
    again.previous.click()
    assert "it moves." in again.table.value
    again.skip.click()
    assert again.clip.value == 1
    save(again, "it stays.", 1, 9)
    again.skip.click()
    assert again.clip.value == 3, "the broken clip is passed by"
    save(again, "it ends.", 1, 9)
    again.skip.click()
    assert again.clip.value == 3
    assert "No other clip" in said(again)
    assert "clips without a label: 0" in said(label_spans(folder, path))


def test_a_clip_that_cannot_be_read_is_named_and_skipped(labeller: SpanLabeller) -> None:
    labeller.clip.value = 2
    assert labeller.clip.value == 3
    assert f"skipped {NAMES[2]}: " in said(labeller)
    assert "cannot be decoded" in said(labeller)
    assert labeller.clip.options[2] == (f"3. {NAMES[2]} (cannot be read)", 2)
    labeller.previous.click()
    assert labeller.clip.value == 1
    labeller.previous.click()
    labeller.previous.click()
    assert labeller.clip.value == 3, "from the first to the last"


def test_what_a_scan_refused_is_never_opened(folder: Path, tmp_path: Path) -> None:
    report = ScanReport([], {str(folder / NAMES[0]): "hangs the decoder"})
    labeller = label_spans(folder, tmp_path / "labels.jsonl", report=report)
    assert labeller.clip.value == 1
    labeller.previous.click()
    labeller.next.click()
    assert labeller.clip.value == 1
    assert "hangs the decoder" in said(labeller)


def test_what_cannot_be_saved_is_said(labeller: SpanLabeller, tmp_path: Path) -> None:
    labeller.save.click()
    assert "not saved: expected a sentence" in said(labeller)
    save(labeller, "it moves.", 5, 5)
    assert "not saved: expected a span with start &lt; end" in said(labeller)
    assert not (tmp_path / "labels.jsonl").exists()
    save(labeller, "it moves.", 5, 6)
    labeller.label.value = 1
    (tmp_path / "labels.jsonl").write_text(json.dumps({"video": "x", "query": "?", "span": [1, 2]}))
    labeller.save.click()
    assert "not saved" in said(labeller)
    labeller.remove.click()
    assert "not removed" in said(labeller)
    assert "changed elsewhere" in said(labeller)


def test_bad_folders_and_files_end_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected videos"):
        label_spans(tmp_path / "absent", tmp_path / "labels.jsonl")
    (tmp_path / "labels.jsonl").write_text("{\n")
    with pytest.raises(AnnotationError, match="line 1"):
        label_spans(folder, tmp_path / "labels.jsonl")
    for name in (NAMES[0], NAMES[1], NAMES[3]):
        (folder / name).unlink()
    with pytest.raises(VideoError, match=r"no clip below .* can be read: skipped c broken\.mp4"):
        label_spans(folder, tmp_path / "other.jsonl")


def test_every_control_has_a_name(labeller: SpanLabeller) -> None:
    for control in ("clip", "frame", "span", "query", "label", "previous", "next", "skip", "save",
                    "remove", "start_here", "end_here", "play"):  # fmt: skip
        assert getattr(labeller, control).description


def test_a_single_picture_can_be_a_moment() -> None:
    frame = np.zeros((1, 4, 4, 3), np.uint8)
    assert span_options(Clip(frame, np.array([0.0]), 0.0, "a")) == [("0.000 s", 0.0)]
    assert len(span_options(Clip(frame, np.array([0.0]), 0.1, "a"))) == 2
    assert "&lt;i&gt;" in label_rows({1: Label("a", "<i>", (0, 1))})
