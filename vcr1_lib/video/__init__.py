"""Choose frames of a video and keep their time: frames and their seconds travel together.

decord reads small files and PyAV large ones; each stands in where the other cannot read a file,
PyAV also where decord has no wheel (Apple silicon).
Times are the container's own, counted from the first frame of the stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vcr1_lib.video.decoders import Indices, VideoError, decode

__all__ = ["Clip", "VideoError", "blanked", "read_clip", "shuffled"]

MILLISECONDS = 1000
GREY = 100
DEFAULT_FPS = 2.0
DEFAULT_MAX_FRAMES = 768
# Time stamps are rounded to the container's clock; Matroska's counts milliseconds.
SLACK_SECONDS = 1e-3
# A time taken from another file may be rounded to its frames.
PAST_END_SECONDS = 0.1


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

    @property
    def evenly_spaced(self) -> bool:
        """Whether counting frames from second 0 tells their times, to a quarter of a step."""
        places = np.arange(len(self.times_seconds))
        step = self.times_seconds[-1] / max(1, places[-1])
        return bool(np.abs(self.times_seconds - places * step).max() <= step / 4)

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
    num_frames: int | None = None,
    times_seconds: Sequence[float] | None = None,
    span: tuple[float, float] | None = None,
    max_pixels: int | None = None,
    pictures_per_second: float = 10.0,
) -> Clip:
    """Decode the frames on screen at chosen moments: 0, 1/fps, 2/fps, ... seconds.

    Args:
        path: A video file, or a folder of pictures in the order of their names.
        fps: Frames to take per second of video. A frame shown at two of these moments is
            taken once.
        max_frames: Above this many frames, ``max_frames`` moments are spread evenly instead.
        num_frames: Instead of ``fps``: the starts of so many equal parts.
        times_seconds: Instead of ``fps``: these moments, one frame each, in this order; a
            frame on screen at two of them comes twice.
        span: Take moments between these seconds only; an end past the video is cut.
        max_pixels: Pictures with more pixels are shrunk while decoding, shape kept.
        pictures_per_second: The rate of a folder's pictures; GOT-10k's are 10 a second.

    Raises:
        FileNotFoundError: If there is no such file or folder of pictures.
        VideoError: If the file is empty, damaged, not a video, holds no frame, or ends before
            the span or the moments asked for.
        ValueError: If an option is impossible.
    """
    if fps <= 0 or max_frames < 1:
        raise ValueError(f"expected fps > 0 and max_frames >= 1, got {fps} and {max_frames}")
    if num_frames is not None and num_frames < 1:
        raise ValueError(f"expected num_frames >= 1, got {num_frames}")
    if max_pixels is not None and max_pixels < 4:
        raise ValueError(f"expected max_pixels >= 4, got {max_pixels}")
    if span is not None and not 0 <= span[0] < span[1]:
        raise ValueError(f"expected a span with 0 <= start < end, got {span}")
    if times_seconds is not None and not 1 <= len(times_seconds) <= max_frames:
        raise ValueError(f"expected 1 to {max_frames} times_seconds, got {len(times_seconds)}")
    order: list[Indices] = []

    def choose(starts: NDArray[np.float64], end: float) -> Indices:
        moments = _moments(end, fps, max_frames, num_frames, times_seconds, span, path)
        # The frame on screen at a moment is the last that has started.
        shown = np.searchsorted(starts, moments + SLACK_SECONDS, side="right") - 1
        indices, places = np.unique(shown.clip(min=0), return_inverse=True)
        order.append(places)
        return indices

    frames, times, end = decode(
        Path(path), choose, max_pixels=max_pixels, pictures_per_second=pictures_per_second
    )
    if times_seconds is not None:
        frames, times = frames[order[-1]], times[order[-1]]
    return Clip(frames, times, end, str(path))


def _moments(
    end: float,
    fps: float,
    max_frames: int,
    num_frames: int | None,
    times_seconds: Sequence[float] | None,
    span: tuple[float, float] | None,
    path: str | Path,
) -> NDArray[np.float64]:
    """Return the moments to show, in seconds, once the video's end is known."""
    first, last = (0.0, end) if span is None else (span[0], min(span[1], end))
    if times_seconds is not None:
        times = np.asarray(times_seconds, dtype=np.float64)
        if times.min() < 0 or times.max() > end + PAST_END_SECONDS:
            raise VideoError(
                f"{path} lasts {end:g} s, but moments from {times.min():g} to {times.max():g} s "
                "are asked for: correct the annotation"
            )
        return times
    if span is not None and first >= end:
        raise VideoError(
            f"{path} lasts {end:g} s, but the span {span[0]:g} to {span[1]:g} s is asked for: "
            "correct the annotation"
        )
    moments = np.arange(first, max(last, first + SLACK_SECONDS), 1 / fps)
    wanted = len(moments) if num_frames is None else num_frames
    if num_frames is not None or wanted > max_frames:
        moments = np.linspace(first, last, min(wanted, max_frames), endpoint=False)
    return moments


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
