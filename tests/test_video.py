"""Frames and their seconds travel together, from the file to the model's own processor."""

from __future__ import annotations

import multiprocessing
import re
import struct
import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from tiny import FAMILIES, noise_clip
from transformers.video_utils import VideoMetadata

from vcr1_lib.models import FAMILIES as MODEL_FAMILIES
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.toyworld import Event, Scene, render, write_mp4
from vcr1_lib.video import GREY, Clip, VideoError, blanked, decoders, read_clip, shuffled

# A white square crosses the picture all the time, so that every frame differs.
CROSSING = Event("white", "square", 0.0, 4.0, (0.2, 0.2), (0.8, 0.8), 0.18)
SCENE = Scene(4.0, "plain", (30, 30, 30), (CROSSING,))
READERS = ["decord", "pyav"]
ONE = 1 << 16
UNEVEN = [0.0, 1.0, 59.0, 60.0, 61.5, 75.0]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pyav":
        monkeypatch.setattr(decoders, "decord", None)
    elif decoders.decord is None:
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
            patch.setattr(decoders, "decord", None)
        return read_clip(path, fps=fps)


@pytest.mark.skipif(decoders.decord is None, reason="decord has no wheel here")
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


@pytest.mark.parametrize("times", [UNEVEN, UNEVEN[:5], UNEVEN[:1], [2.0, 2.5, 3.0]])
def test_qwen3_writes_the_true_times_before_their_frames(times: list[float]) -> None:
    model, processor = FAMILIES["qwen3_vl"]()
    frames = np.zeros((len(times), 16, 16, 3), np.uint8)
    frames += 20 * np.arange(len(times), dtype=np.uint8)[:, None, None, None]
    clip = Clip(frames, np.array(times), times[-1] + 1, "steps of grey")
    inputs = prompt_inputs(processor, clip, "When?")
    text = processor.tokenizer.decode(inputs["input_ids"][0])
    # Two frames are one grid, and an odd last frame is a grid with itself.
    padded = [*times, times[-1]] if len(times) % 2 else times
    means = [(a + b) / 2 for a, b in zip(padded[::2], padded[1::2], strict=True)]
    grids = re.findall(
        r"<([\d.]+) seconds><\|vision_start\|>((?:<\|video_pad\|>)+)<\|vision_end\|>", text
    )
    assert [float(stamp) for stamp, _ in grids] == pytest.approx(means, abs=0.05 + 1e-9)
    # Nothing stands around the grids, as when the model was published.
    assert text.count("<|vision_start|>") == len(grids)
    steps, rows, columns = inputs["video_grid_thw"][0].tolist()
    assert [pads.count("video_pad") for _, pads in grids] == [rows * columns // 4] * steps
    # The pixels that fill a grid's tokens are its own two frames'.
    patches = inputs["pixel_values_videos"].reshape(steps, rows * columns, 3, 2, -1)
    shown = ((patches * 0.5 + 0.5) * 255 / 20)[:, 0, 0, :, 0].round().flatten().int().tolist()
    assert shown == [padded.index(time) for time in padded]
    # And their positions lie between the words of their own time and of the next.
    family = MODEL_FAMILIES["qwen3_vl"]
    positions = family.positions(model, dict(inputs))[0, 0]
    seen = inputs["input_ids"][0] == family.placeholder(model)
    assert positions[seen].unique().numel() == steps
    assert (positions.diff() >= 0).all()


CLIPS = sorted((Path(__file__).parents[1] / "data_samples" / "clips").glob("*.mp4"))
SEQUENCE = Path(__file__).parents[1] / "data_samples/formats/got10k/val/TOY_Val_000001"
WAYS: list[dict[str, Any]] = [
    {"fps": 1000.0},
    {"fps": 3.0},
    {"fps": 5.0, "span": (2.2, 4.0)},
    {"num_frames": 8},
    {"num_frames": 5, "span": (4.0, 100.0)},
    {"times_seconds": [3.3, 1.0, 1.05, 5.9]},
    {"max_pixels": 2000},
]


def container_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stamps = sorted(float(p.pts * stream.time_base) for p in container.demux(stream) if p.size)
    return [stamp - stamps[0] for stamp in stamps]


@pytest.mark.skipif(decoders.decord is None, reason="decord has no wheel here")
@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_both_readers_agree_on_every_sample(
    path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = read_clip(path, **options)
    monkeypatch.setattr(decoders, "decord", None)
    theirs = read_clip(path, **options)
    assert ours.frames.shape == theirs.frames.shape
    assert ours.times_seconds == pytest.approx(theirs.times_seconds, abs=1e-5)
    assert ours.duration_seconds == pytest.approx(theirs.duration_seconds, abs=1e-3)
    differences = np.abs(ours.frames.astype(int) - theirs.frames)
    # The two scale with the same filter, rounded differently.
    assert differences.mean() <= (1 if "max_pixels" in options else 0)


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_times_are_the_containers_own(path: Path, reader: str) -> None:
    true = container_times(path)
    clip = read_clip(path, fps=1000.0, max_frames=100_000)
    assert clip.times_seconds.tolist() == pytest.approx(true, abs=1e-5)
    half_a_frame = np.diff(true).min() / 2
    moments = np.arange(0, 5.9, 0.25)
    shown = read_clip(path, times_seconds=moments.tolist()).times_seconds
    expected = [max(t for t in true if t <= moment + 1e-3) for moment in moments]
    assert np.abs(shown - expected).max() < half_a_frame


def test_a_span_and_times_are_what_was_asked_for(reader: str) -> None:
    path = next(p for p in CLIPS if p.stem == "rate12")
    clip = read_clip(path, fps=2.0, span=(2.0, 4.0))
    assert clip.times_seconds.tolist() == pytest.approx([2.0, 2.5, 3.0, 3.5], abs=1e-3)
    assert clip.duration_seconds == pytest.approx(6.0, abs=1e-3)
    whole = read_clip(path, fps=12.0)
    asked = read_clip(path, times_seconds=[4.0, 0.5, 4.01])
    assert asked.times_seconds.tolist() == pytest.approx([4.0, 0.5, 4.0], abs=1e-3)
    assert np.array_equal(asked.frames, whole.frames[[48, 6, 48]])
    halves = read_clip(path, num_frames=2)
    assert halves.times_seconds.tolist() == pytest.approx([0, 3], abs=1e-3)


def test_the_limit_on_pixels_is_applied_and_keeps_the_shape(reader: str) -> None:
    path = next(p for p in CLIPS if p.stem == "portrait")
    whole, small = read_clip(path, fps=1.0), read_clip(path, fps=1.0, max_pixels=1500)
    height, width = small.frames.shape[1:3]
    assert whole.frames.shape[1:3] == (96, 54)
    assert height * width <= 1500 < whole.frames.shape[1] * whole.frames.shape[2]
    assert height / width == pytest.approx(96 / 54, rel=0.1)
    assert small.times_seconds.tolist() == whole.times_seconds.tolist()
    assert small.frames.mean() == pytest.approx(whole.frames.mean(), abs=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"span": (7.0, 9.0)}, "lasts 6 s, but the span 7 to 9 s"),
        ({"times_seconds": [1.0, 7.0]}, "moments from 1 to 7 s"),
        ({"times_seconds": [-1.0]}, "moments from -1 to -1 s"),
    ],
)
def test_what_lies_outside_the_clip_is_named(options: dict[str, Any], told: str) -> None:
    path = next(p for p in CLIPS if p.stem == "late")
    with pytest.raises(VideoError, match=told) as caught:
        read_clip(path, **options)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"num_frames": 0},
        {"max_pixels": 3},
        {"span": (3.0, 3.0)},
        {"span": (-1.0, 3.0)},
        {"times_seconds": []},
        {"times_seconds": [1.0, 2.0], "max_frames": 1},
    ],
)
def test_more_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_clip(CLIPS[0], **options)


def test_a_path_may_hold_anything(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "été à la mer, 100% #1 (копия).mp4"
    path.write_bytes(CLIPS[0].read_bytes())
    assert np.array_equal(read_clip(path).frames, read_clip(CLIPS[0]).frames)


def test_one_frame_is_a_clip(tmp_path: Path, reader: str) -> None:
    write_frames(tmp_path / "one.mp4", [0.0])
    clip = read_clip(tmp_path / "one.mp4")
    assert clip.times_seconds.tolist() == [0.0]
    assert clip.duration_seconds > 0
    assert VideoMetadata(**clip.metadata()).timestamps == [0.0]


def patch_header(path: Path, atom: bytes, skip: int, value: int) -> None:
    """Overwrite a 32-bit number in an MP4's header."""
    content = bytearray(path.read_bytes())
    place = content.index(atom) + 4 + skip
    content[place : place + 4] = value.to_bytes(4, "big")
    path.write_bytes(bytes(content))


def test_a_header_of_ten_hours_is_not_believed(short: Path, reader: str) -> None:
    # mvhd: version and flags, two dates, then units a second and the length in units.
    patch_header(short, b"mvhd", 12, 1000)
    patch_header(short, b"mvhd", 16, 10 * 3600 * 1000)
    clip = read_clip(short)
    assert clip.duration_seconds == pytest.approx(4.0)
    assert len(clip.frames) == 8


def test_a_header_without_a_rate_harms_no_time(tmp_path: Path, reader: str) -> None:
    # Matroska need not state a rate: only the pictures' own stamps say when they are shown.
    path = tmp_path / "rateless.mkv"
    write_frames(path, [0.0, 0.7, 0.9, 2.3])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert read_clip(path, fps=100).times_seconds.tolist() == pytest.approx([0, 0.7, 0.9, 2.3])


@pytest.mark.skipif(decoders.decord is None, reason="decord has no wheel here")
def test_pyav_reads_what_decord_cannot_and_says_so(
    short: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = read_clip(short)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("cannot find video stream")

    monkeypatch.setattr(decoders.decord, "VideoReader", refuse)
    clip = read_clip(short)
    assert np.array_equal(clip.frames, whole.frames)
    assert f"decord cannot read {short}; PyAV did" in caplog.text


@pytest.mark.skipif(decoders.decord is None, reason="decord has no wheel here")
def test_large_files_are_read_by_pyav_first(
    short: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = read_clip(short)
    monkeypatch.setattr(decoders, "LARGE_BYTES", short.stat().st_size - 1)
    with monkeypatch.context() as patch:
        patch.setattr(decoders, "DecordReader", None)
        assert np.array_equal(read_clip(short).frames, whole.frames)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise av.error.InvalidDataError(1, "no header")

    monkeypatch.setattr(av, "open", refuse)
    assert np.array_equal(read_clip(short).frames, whole.frames)
    assert f"PyAV cannot read {short}; decord did" in caplog.text


def test_few_frames_are_those_that_decoding_everything_gives(tmp_path: Path, reader: str) -> None:
    path, count = tmp_path / "long.mp4", 200
    write_frames(path, [i / 8 for i in range(count)])
    with av.open(str(path)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        assert len(list(container.decode(video=0))) < count, "nothing could be left out"
    rng = np.random.default_rng(0)
    for size in (1, 3, 40, count):
        indices = np.sort(rng.choice(count, size, replace=False))
        clip = read_clip(path, times_seconds=(indices / 8).tolist())
        assert clip.times_seconds.tolist() == pytest.approx((indices / 8).tolist(), abs=1e-3)
        assert np.array_equal(clip.frames, np.stack([every[i] for i in indices]))


@pytest.mark.parametrize(
    ("matrix", "quarters"),
    [((0, ONE, -ONE, 0), -1), ((-ONE, 0, 0, -ONE), 2), ((0, -ONE, ONE, 0), 1)],
    ids=["clockwise", "half a turn", "anticlockwise"],
)
def test_a_telephones_pictures_stand_upright(
    matrix: tuple[int, int, int, int], quarters: int, short: Path, reader: str
) -> None:
    lying = read_clip(short).frames
    film = bytearray(short.read_bytes())
    # The display matrix stands 40 bytes behind the name of the track's header.
    place, (a, b, c, d) = film.index(b"tkhd") + 44, matrix
    film[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    short.write_bytes(film)
    upright = np.rot90(lying, quarters, axes=(1, 2))
    assert np.array_equal(read_clip(short).frames, upright)


def test_a_clip_cut_without_encoding_starts_where_it_is_shown(tmp_path: Path, reader: str) -> None:
    whole, cut, early = tmp_path / "whole.mp4", tmp_path / "cut.mp4", 12
    write_frames(whole, [i / 8 for i in range(32)])
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.pts is not None:
                packet.pts -= round(early / 8 / stream.time_base)
                packet.dts -= round(early / 8 / stream.time_base)
                packet.stream = copy
                target.mux(packet)
    clip, all_of_it = read_clip(cut, fps=8), read_clip(whole, fps=8)
    assert np.array_equal(clip.frames, all_of_it.frames[early:])
    assert clip.times_seconds.tolist() == pytest.approx([i / 8 for i in range(20)], abs=1e-3)
    assert clip.duration_seconds == pytest.approx(20 / 8, abs=1e-3)


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    clip = read_clip(SEQUENCE, times_seconds=[0.0, 0.3, 1.9])
    assert clip.frames.shape == (3, 96, 96, 3)
    assert clip.times_seconds.tolist() == pytest.approx([0, 0.3, 1.9])
    assert clip.duration_seconds == 2.0
    slow = read_clip(SEQUENCE, fps=1.0, pictures_per_second=2.0)
    assert slow.times_seconds.tolist() == list(range(10))
    (tmp_path / "1.jpg").write_bytes(next(SEQUENCE.glob("*.jpg")).read_bytes())
    (tmp_path / "2.jpg").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"2\.jpg is not a picture"):
        read_clip(tmp_path, fps=10.0)


def frames_sum(path: str) -> int:
    return int(read_clip(path).frames.sum())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_workers_forked_after_decoding_decode_too() -> None:
    paths = [str(path) for path in CLIPS]
    here = [frames_sum(path) for path in paths]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(frames_sum, paths).get(timeout=60) == here


def loader_records() -> list[dict[str, Any]]:
    return [
        {"id": path.stem, "task": "temporal_grounding", "video": str(path), "query": "a."}
        for path in CLIPS[:3]
    ]


def test_a_clip_that_cannot_be_read_is_counted_and_not_replaced(tmp_path: Path) -> None:
    _, processor = FAMILIES["smolvlm"]()
    records = loader_records()
    make_text(tmp_path / "bad.mp4")
    records[1] |= {"video": str(tmp_path / "bad.mp4")}
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        PromptLoader(processor, max_frames=2)(records)
    loader = PromptLoader(processor, max_frames=2, on_error="skip")
    loaded = loader(records)
    assert [r["id"] for r in loaded["records"]] == [records[0]["id"], records[2]["id"]]
    for record, prompt in zip(loaded["records"], loaded["prompts"], strict=True):
        alone = PromptLoader(processor, max_frames=2)([record])["prompts"][0]
        assert torch.equal(prompt["pixel_values"], alone["pixel_values"])
    assert list(loader.skipped) == [records[1]["video"]]
    with pytest.raises(VideoError, match=r"none of the clips can be read \(1 in all\)"):
        loader(records[1:2])


def test_an_object_is_followed_at_its_boxes_times() -> None:
    _, processor = FAMILIES["smolvlm"]()
    boxes = [[0.1, 0.1, 0.5, 0.5]] * 3
    record = {"id": "t", "task": "tracking", "video": str(SEQUENCE), "object": "circle"}
    for given, seconds in (({"times": [0.0, 0.9, 1.9]}, ["00", "00", "01"]), ({}, ["00"] * 2)):
        loader = PromptLoader(processor)
        (prompt,) = loader([record | {"boxes": boxes} | given])["prompts"]
        text = processor.tokenizer.decode(prompt["input_ids"][0])
        stamps = [part[3:5] for part in text.split("Frame from ")[1:]]
        assert len(stamps) == 3
        assert stamps[: len(seconds)] == seconds


@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0, 3.0, 4.0])
def test_qwens_positions_are_seconds(fps: float) -> None:
    model, processor = FAMILIES["qwen2_5_vl"]()
    clip = read_clip(next(p for p in CLIPS if p.stem == "rate12"), fps=fps)
    inputs = prompt_inputs(processor, clip, "When?")
    family = MODEL_FAMILIES["qwen2_5_vl"]
    positions = family.positions(model, dict(inputs))[0, 0]
    visual = positions[inputs["input_ids"][0] == family.placeholder(model)]
    ids = (visual - visual.min()).unique(sorted=True)
    # A grid is two frames; two positions make a second; ids are floored to integers.
    starts = clip.times_seconds[::2]
    per_second = model.config.vision_config.tokens_per_second
    expected = np.floor(starts * per_second + 1e-3)
    assert ids.tolist() == sorted(set(expected))
