"""Decode a video and keep its time: frames and their seconds travel together.

decord reads; where it has no wheel (Apple silicon) PyAV stands in behind the same
function. Times are the container's own, counted from the first frame of the stream.
"""

from __future__ import annotations

import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

try:
    import decord
except ImportError:  # no wheel for this platform
    decord = None

MILLISECONDS = 1000
GREY = 100
DEFAULT_FPS = 2.0
DEFAULT_MAX_FRAMES = 768


class VideoError(ValueError):
    """A file that cannot be used as a video; the message names it and the remedy."""


class Clip(NamedTuple):
    """Chosen frames of a video.

    Attributes:
        frames: ``(F, H, W, 3)`` uint8, RGB.
        times_seconds: ``(F,)`` when each frame is first shown, from the video's first frame.
        duration_seconds: Length of the whole video, not of the chosen part.
        path: Where it came from.
    """

    frames: NDArray[np.uint8]
    times_seconds: NDArray[np.float64]
    duration_seconds: float
    path: str

    def metadata(self) -> dict[str, Any]:
        """Return the times as Transformers' ``VideoMetadata`` fields.

        Processors compute times as ``frames_indices / fps``; counting in milliseconds keeps
        them true for any spacing, where a frame rate would only be true for one.
        """
        indices = np.rint(self.times_seconds * MILLISECONDS).astype(int)
        step = (indices[-1] - indices[0]) / (len(indices) - 1) if len(indices) > 1 else MILLISECONDS
        return {
            "fps": float(MILLISECONDS),
            "frames_indices": indices.tolist(),
            "total_num_frames": round(step * len(indices)),
            "duration": self.duration_seconds,
        }


def read_clip(
    path: str | Path,
    *,
    fps: float = DEFAULT_FPS,
    max_frames: int = DEFAULT_MAX_FRAMES,
) -> Clip:
    """Decode the frames shown at 0, 1/fps, 2/fps, ... seconds.

    Args:
        path: A video file.
        fps: Frames to take per second of video. A frame shown at two of these moments is
            taken once.
        max_frames: Above this many frames, ``max_frames`` moments are spread evenly instead.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If the file is empty, damaged, not a video, or holds no frame.
        ValueError: If ``fps`` or ``max_frames`` is not positive.
    """
    if fps <= 0 or max_frames < 1:
        raise ValueError(f"expected fps > 0 and max_frames >= 1, got {fps} and {max_frames}")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a video file, found none at {path}")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes): copy or download it again")
    reader = _PyAVReader(path) if decord is None else _DecordReader(path)
    starts, end = reader.starts, reader.end
    if not len(starts):
        raise VideoError(f"{path} holds no video frame: remove it from the annotation file")
    moments = np.arange(0, max(end, 1e-9), 1 / fps)
    if len(moments) > max_frames:
        moments = np.linspace(0, end, max_frames, endpoint=False)
    # The frame on screen at a moment is the last that has started; allow for rounded stamps.
    indices = np.unique(np.searchsorted(starts, moments + 1e-6, side="right") - 1).clip(min=0)
    return Clip(reader.read(indices), starts[indices], float(end), str(path))


def blanked(clip: Clip) -> Clip:
    """Paint every frame grey, times untouched: what can be answered without looking?"""
    return clip._replace(frames=np.full_like(clip.frames, GREY))


def shuffled(clip: Clip, *, seed: int = 0) -> Clip:
    """Put the frames in a random order, times untouched: what can be answered without time?

    Each file has an order of its own: one order for all clips would still tell early from late.
    """
    name = zlib.crc32(Path(clip.path).name.encode())
    order = np.random.default_rng((seed, name)).permutation(len(clip.frames))
    return clip._replace(frames=clip.frames[order])


def _damaged(path: Path, error: Exception) -> VideoError:
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return VideoError(
        f"{path} cannot be decoded as a video ({detail[:120]}): "
        "check that it plays, or re-encode it with ffmpeg"
    )


class _DecordReader:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.reader = decord.VideoReader(str(path), num_threads=1)
            stamps = self.reader.get_frame_timestamp(range(len(self.reader)))
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise _damaged(path, error) from error
        stamps = np.asarray(stamps, dtype=np.float64).reshape(-1, 2)
        origin = stamps[0, 0] if len(stamps) else 0.0
        self.starts = stamps[:, 0] - origin
        self.end = float(stamps[-1, 1] - origin) if len(stamps) else 0.0

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        try:
            return self.reader.get_batch(indices).asnumpy()
        except (decord.DECORDError, RuntimeError) as error:
            raise _damaged(self.path, error) from error


class _PyAVReader:
    def __init__(self, path: Path) -> None:
        import av

        self.path = path
        self.error = av.error.FFmpegError
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise VideoError(f"{path} has no video stream: remove it or re-encode it")
                stream = container.streams.video[0]
                unit, rate = stream.time_base or Fraction(1), stream.base_rate or Fraction(1)
                stamps = sorted(
                    float(packet.pts * unit)
                    for packet in container.demux(stream)
                    if packet.pts is not None
                )
        except self.error as error:
            raise _damaged(path, error) from error
        if stream.frames > len(stamps):
            raise VideoError(f"{path} ends before its last frame: re-encode it with ffmpeg")
        starts = np.array(stamps)
        self.starts = starts - starts[0] if stamps else starts
        self.end = float(self.starts[-1] + 1 / rate) if stamps else 0.0

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        import av

        wanted, frames = set(indices.tolist()), []
        try:
            with av.open(str(self.path)) as container:
                for index, frame in enumerate(container.decode(video=0)):
                    if index in wanted:
                        frames.append(frame.to_ndarray(format="rgb24"))
                    if len(frames) == len(wanted):
                        break
        except self.error as error:
            raise _damaged(self.path, error) from error
        if len(frames) < len(wanted):
            raise VideoError(f"{self.path} ends before its last frame: re-encode it with ffmpeg")
        return np.stack(frames)
