"""Frames and their seconds travel together, from the file to the model's own processor."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tiny import FAMILIES, noise_clip
from transformers.video_utils import VideoMetadata

from vcr1_lib import video
from vcr1_lib.models import prompt_inputs
from vcr1_lib.toyworld import Event, Scene, render, write_mp4
from vcr1_lib.video import GREY, Clip, VideoError, blanked, read_clip, shuffled

# A white square crosses the picture all the time, so that every frame differs.
CROSSING = Event("white", "square", 0.0, 4.0, (0.2, 0.2), (0.8, 0.8), 0.18)
SCENE = Scene(4.0, "plain", (30, 30, 30), (CROSSING,))
READERS = ["decord", "pyav"]
UNEVEN = [0.0, 1.0, 59.0, 60.0, 61.5, 75.0]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pyav":
        monkeypatch.setattr(video, "decord", None)
    elif video.decord is None:
        pytest.skip("decord has no wheel here")
    return request.param


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """Four seconds at 8 frames a second."""
    write_mp4(SCENE, tmp_path / "short.mp4", size=32)
    return tmp_path / "short.mp4"


def write_frames(path: Path, times_seconds: Sequence[float], **options: str) -> None:
    """Encode a frame at each of these times, however unevenly spaced."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=8, options={"g": "8"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for picture, time in zip(render(SCENE, times_seconds, 32), times_seconds, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({"fps": 1.0}, [0, 1, 2, 3]),
        ({"fps": 2.0}, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]),
        # Moments 0, 1/3, 2/3, ...: the frame on screen started at a multiple of 1/8.
        ({"fps": 3.0, "max_frames": 12}, np.floor(np.arange(12) / 3 * 8) / 8),
        # Eight moments are too many: 0, 4/3, 8/3, shown since 0, 10/8, 21/8.
        ({"fps": 2.0, "max_frames": 3}, [0, 1.25, 2.625]),
        # Twice the video's own rate: every frame once.
        ({"fps": 16.0}, np.arange(32) / 8),
    ],
)
def test_frames_are_those_on_screen(
    short: Path, reader: str, options: dict[str, Any], times: Sequence[float]
) -> None:
    clip = read_clip(short, **options)
    assert clip.times_seconds.tolist() == pytest.approx(list(times))
    assert clip.duration_seconds == pytest.approx(4.0)
    assert clip.path == str(short)
    assert clip.frames.shape == (len(times), 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    drawn = render(SCENE, clip.times_seconds.tolist(), 32)
    assert np.abs(clip.frames.astype(int) - drawn).mean((1, 2, 3)).max() < 3


def read_with(path: Path, reader: str, monkeypatch: pytest.MonkeyPatch, fps: float) -> Clip:
    with monkeypatch.context() as patch:
        if reader == "pyav":
            patch.setattr(video, "decord", None)
        return read_clip(path, fps=fps)


@pytest.mark.skipif(video.decord is None, reason="decord has no wheel here")
@pytest.mark.parametrize(
    "times",
    [np.arange(32) / 8, [0, 0.5, 1.5, 1.75, 3.0], [1, 1.5, 2, 2.5, 3]],
    ids=["even", "uneven", "late first frame"],
)
def test_both_readers_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: Sequence[float]
) -> None:
    path = tmp_path / "clip.mp4"
    write_frames(path, list(times))
    ours, theirs = (read_with(path, name, monkeypatch, 8.0) for name in READERS)
    assert np.array_equal(ours.frames, theirs.frames)
    assert np.array_equal(ours.times_seconds, theirs.times_seconds)
    assert ours.duration_seconds == pytest.approx(theirs.duration_seconds)
    assert ours.times_seconds.tolist() == pytest.approx([t - times[0] for t in times])


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_text(path: Path) -> None:
    path.write_text("<html>404: not found</html>\n" * 50)


def make_without_index(path: Path) -> None:
    write_mp4(SCENE, path, size=32)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_cut_frames(path: Path) -> None:
    """Cut a clip as a broken download may be: the index, which comes first, looks whole.

    The cut is inside the 29th of 32 frames; those at full seconds can all be read.
    """
    write_frames(path, (np.arange(32) / 8).tolist(), movflags="faststart")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0)]
    start, size = packets[28]
    path.write_bytes(path.read_bytes()[: start + size // 2])


def make_sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (make_empty, "download it again"),
        (make_text, "re-encode"),
        (make_without_index, "re-encode"),
        (make_cut_frames, "re-encode"),
        (make_sound, "re-encode"),
    ],
)
def test_a_bad_file_is_named_with_a_remedy(
    tmp_path: Path, reader: str, make: Callable[[Path], None], remedy: str
) -> None:
    path = tmp_path / "bad clip.mp4"
    make(path)
    with pytest.raises(VideoError, match=remedy) as caught:
        read_clip(path, fps=1.0)
    assert str(path) in str(caught.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.mp4", tmp_path):
        with pytest.raises(FileNotFoundError, match=path.name):
            read_clip(path)


@pytest.mark.parametrize("options", [{"fps": 0.0}, {"fps": -1.0}, {"max_frames": 0}])
def test_impossible_options_are_refused(short: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected fps > 0 and max_frames >= 1"):
        read_clip(short, **options)


def clip_at(times_seconds: Sequence[float]) -> Clip:
    times = np.asarray(times_seconds, dtype=np.float64)
    return noise_clip(len(times))._replace(times_seconds=times, duration_seconds=times[-1] + 1)


@pytest.mark.parametrize(
    "times", [[0.0], np.arange(6) / 2, np.arange(9) * 1001 / 30000, UNEVEN], ids=len
)
def test_metadata_gives_back_the_true_times(times: Sequence[float]) -> None:
    clip = clip_at(times)
    metadata = VideoMetadata(**clip.metadata())
    assert metadata.timestamps == pytest.approx(list(times), abs=5e-4)
    assert metadata.duration == clip.duration_seconds


def test_controls_keep_the_times() -> None:
    clip = clip_at(UNEVEN)
    grey, mixed = blanked(clip), shuffled(clip, seed=1)
    for changed in (grey, mixed):
        assert changed.times_seconds is clip.times_seconds
        assert (changed.duration_seconds, changed.path) == (clip.duration_seconds, clip.path)
        assert changed.frames.shape == clip.frames.shape
        assert changed.frames.dtype == clip.frames.dtype
    assert (grey.frames == GREY).all()
    assert not np.array_equal(mixed.frames, clip.frames)
    assert sorted(f.tobytes() for f in mixed.frames) == sorted(f.tobytes() for f in clip.frames)
    assert np.array_equal(mixed.frames, shuffled(clip, seed=1).frames)


def test_smolvlm_reads_the_true_times() -> None:
    _, processor = FAMILIES["smolvlm"]()
    inputs = prompt_inputs(processor, clip_at(UNEVEN), "When?")
    text = processor.tokenizer.decode(inputs["input_ids"][0])
    stamps = [part[:5] for part in text.split("Frame from ")[1:]]
    assert stamps == ["00:00", "00:01", "00:59", "01:00", "01:01", "01:15"]
    assert "0:01:16" in text  # the clip's whole length


@pytest.mark.parametrize("step_seconds", [0.5, 1.0, 2.0])
def test_qwen_reads_the_true_spacing(step_seconds: float) -> None:
    _, processor = FAMILIES["qwen2_5_vl"]()
    clip = noise_clip(6, step_seconds=step_seconds)
    inputs = prompt_inputs(processor, clip, "When?")
    # A grid is two frames deep, so it lasts twice the spacing.
    patch = processor.video_processor.temporal_patch_size
    assert patch == 2
    assert list(inputs["second_per_grid_ts"]) == pytest.approx([patch * step_seconds])
    assert inputs["video_grid_thw"][0, 0] == 3
