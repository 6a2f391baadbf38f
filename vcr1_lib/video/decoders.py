"""Readers of pictures and their times: decord, PyAV, and folders of pictures.

decord opens a file faster and reads small ones; PyAV decodes fewer of a large file's pictures.

Every reader gives ``starts``, the second at which each picture is first shown, counted from
the first of them, ``end``, and ``read(indices)``. A reader lives within one call and one
process, so data-loading workers may be forked at any time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

try:
    import decord

    decord.logging.set_level(decord.logging.QUIET)  # a bad file is named once, by us
except ImportError:  # no wheel for this platform
    decord = None

log = logging.getLogger(__name__)

Indices = NDArray[np.int64]
Choose = Callable[[NDArray[np.float64], float], Indices]
# Decoding on beats seeking to a key frame this near. (decord's own ``get_batch`` would hold every
# picture twice: ``benchmarks/video.py``.)
SEEK_FRAMES = 16
# From here on what PyAV need not decode outweighs its slower opening (``benchmarks/video.py``).
LARGE_BYTES = 2**20
NO_VIDEO = "has no video stream: remove it or re-encode it"
CUT_OFF = "ends before its last frame: re-encode it with ffmpeg"
CUT_PARTS_TOO = {"advanced_editlist": "0"}
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


class VideoError(ValueError):
    """A file that cannot be used as a video; the message names it and the remedy."""


class Decoded(NamedTuple):
    """Chosen pictures ``(F, H, W, 3)``, when each is first shown, and the whole length."""

    frames: NDArray[np.uint8]
    times_seconds: NDArray[np.float64]
    duration_seconds: float


class Reader(Protocol):
    """What every reader offers."""

    starts: NDArray[np.float64]
    end: float

    def read(self, indices: Indices) -> NDArray[np.uint8]:
        """Return the pictures at increasing indices, ``(F, H, W, 3)`` RGB."""


def decode(
    path: Path, choose: Choose, *, max_pixels: int | None, pictures_per_second: float
) -> Decoded:
    """Decode the pictures that ``choose(starts, end)`` wants.

    Args:
        path: A video file, or a folder of pictures in the order of their names.
        choose: Gets the pictures' times and the end, returns increasing indices.
        max_pixels: Pictures with more are shrunk while decoding; ``None`` keeps them.
        pictures_per_second: The rate of a folder's pictures.

    Raises:
        FileNotFoundError: If there is neither file nor folder of pictures.
        VideoError: If no reader can read it; if it is empty or holds no picture.
    """
    if path.is_dir() and _pictures(path):
        return _decode(FolderReader(path, pictures_per_second, max_pixels), path, choose)
    if not path.is_file():
        raise FileNotFoundError(f"expected a video file, found none at {path}")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes): copy or download it again")
    if decord is None:
        return _decode(PyAVReader(path, max_pixels), path, choose)
    large = path.stat().st_size > LARGE_BYTES
    first, second = (PyAVReader, DecordReader) if large else (DecordReader, PyAVReader)
    try:
        return _decode(first(path, max_pixels), path, choose)
    except UnreadableError as refused:
        decoded = _decode(second(path, max_pixels), path, choose)
        log.warning("%s cannot read %s; %s did: %s", first.name, path, second.name, refused)
        return decoded


class UnreadableError(VideoError):
    """This reader cannot read the file; another one may."""


def _decode(reader: Reader, path: Path, choose: Choose) -> Decoded:
    if not len(reader.starts):
        raise UnreadableError(f"{path} holds no video frame: remove it from the annotation file")
    indices = choose(reader.starts, reader.end)
    return Decoded(reader.read(indices), reader.starts[indices], float(reader.end))


def fit_size(width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
    """Return the largest size of the same shape, even on both sides, within ``max_pixels``.

    >>> fit_size(1280, 720, 100_000)
    (420, 236)
    """
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


def _damaged(path: Path, error: Exception) -> UnreadableError:
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UnreadableError(
        f"{path} cannot be decoded as a video ({detail[:120]}): "
        "check that it plays, or re-encode it with ffmpeg"
    )


class DecordReader:
    """Read by decord."""

    name = "decord"

    def __init__(self, path: Path, max_pixels: int | None) -> None:
        self.path = path
        size: dict[str, int] = {}
        try:
            if max_pixels is not None:
                height, width = decord.VideoReader(str(path), num_threads=1)[0].shape[:2]
                size = dict(
                    zip(("width", "height"), fit_size(width, height, max_pixels), strict=True)
                )
            self.reader = decord.VideoReader(str(path), num_threads=0, **size)
            stamps = self.reader.get_frame_timestamp(range(len(self.reader)))
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise _damaged(path, error) from error
        stamps = np.asarray(stamps, dtype=np.float64).reshape(-1, 2)
        origin = stamps[0, 0] if len(stamps) else 0.0
        if origin < 0:
            raise UnreadableError(f"{path} was cut without encoding it anew: install PyAV")
        self.starts = stamps[:, 0] - origin
        self.end = float(stamps[-1, 1] - origin) if len(stamps) else 0.0

    def read(self, indices: Indices) -> NDArray[np.uint8]:
        """Return the pictures at increasing indices."""
        keys = np.asarray(self.reader.get_key_indices())
        frames: NDArray[np.uint8] | None = None
        position = 0
        try:
            for place, index in enumerate(indices.tolist()):
                key = int(keys[keys <= index].max(initial=0))
                if key > position + SEEK_FRAMES:
                    self.reader.seek_accurate(index)
                elif index > position:
                    self.reader.skip_frames(index - position)
                picture = self.reader.next().asnumpy()
                if frames is None:
                    frames = np.empty((len(indices), *picture.shape), dtype=np.uint8)
                frames[place] = picture
                position = index + 1
        except (decord.DECORDError, RuntimeError, StopIteration) as error:
            raise _damaged(self.path, error) from error
        assert frames is not None
        return frames


class PyAVReader:
    """Read by PyAV, FFmpeg's own libraries."""

    name = "PyAV"

    def __init__(self, path: Path, max_pixels: int | None) -> None:
        self.path, self.max_pixels = path, max_pixels
        with self._opened() as (container, stream):
            # What packets hold is let go at once: a film may be larger than the memory.
            timed = (p for p in container.demux(stream) if p.pts is not None)
            packets = [(p.pts, p.duration or 0, p.is_keyframe, p.is_discard) for p in timed]
            counted, unit, rate = stream.frames, float(stream.time_base or 1), stream.base_rate
        # A clip cut without encoding it anew holds more than it shows: not all come, or are shown.
        if counted > len(packets):
            with self._opened(CUT_PARTS_TOO) as (container, stream):
                if counted > sum(p.pts is not None for p in container.demux(stream)):
                    raise UnreadableError(f"{self.path} {CUT_OFF}")
        shown = {stamp: length for stamp, length, _, hidden in packets if not hidden}
        self.stamps = np.array(sorted(shown), dtype=np.int64)
        self.keys = np.array(sorted(stamp for stamp, _, key, _ in packets if key), dtype=np.int64)
        origin = self.stamps[0] if shown else 0
        self.starts = self.stamps * unit - origin * unit
        # A picture's length is the stream's, as decord has it.
        length = float(1 / rate) if rate else max(shown.values(), default=0) * unit
        self.end = float(self.starts[-1] + length) if shown else 0.0

    @contextmanager
    def _opened(self, options: dict[str, str] | None = None) -> Iterator[tuple[Any, Any]]:
        import av

        try:
            with av.open(str(self.path), options=options) as container:
                if not container.streams.video:
                    raise UnreadableError(f"{self.path} {NO_VIDEO}")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                yield container, stream
        except av.error.FFmpegError as error:
            raise _damaged(self.path, error) from error

    def read(self, indices: Indices) -> NDArray[np.uint8]:
        """Return the pictures at increasing indices."""
        places = {int(self.stamps[index]): place for place, index in enumerate(indices)}
        frames: NDArray[np.uint8] | None = None
        with self._opened() as (container, stream):
            for key, stamps in self._stretches(self.stamps[indices]):
                if key > self.stamps[0]:
                    container.seek(key, stream=stream)
                for frame in self._decode(container, stream, set(stamps)):
                    picture = _picture(frame, self.max_pixels)
                    if frames is None:
                        frames = np.empty((len(indices), *picture.shape), dtype=np.uint8)
                    frames[places.pop(frame.pts)] = picture
        if frames is None or places:
            raise UnreadableError(f"{self.path} {CUT_OFF}")
        return frames

    def _stretches(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int, list[int]]]:
        """Part the wanted stamps where a key frame ahead is worth a jump; yield it with them."""
        # Pictures before the first key frame are sought by their own stamps.
        earlier = np.append(wanted[0], self.keys)
        keys = earlier[np.searchsorted(self.keys, wanted, side="right")]
        ahead = np.searchsorted(self.stamps, keys[1:]) - np.searchsorted(self.stamps, wanted[:-1])
        for part in np.split(np.arange(len(wanted)), np.flatnonzero(ahead > SEEK_FRAMES) + 1):
            yield int(keys[part[0]]), wanted[part].tolist()

    def _decode(self, container: Any, stream: Any, wanted: set[int]) -> Iterator[Any]:
        """Yield the frames of these stamps, decoding no more than they depend on."""
        for packet in container.demux(stream):
            # Other codecs may call a picture unreferenced that a layer above refers to.
            if stream.codec_context.name == "h264":
                spare = packet.pts is not None and packet.pts not in wanted
                stream.codec_context.skip_frame = "NONREF" if spare else "DEFAULT"
            for frame in packet.decode():
                if frame.pts in wanted:
                    wanted.remove(frame.pts)
                    yield frame
            if not wanted:
                return


def _picture(frame: Any, max_pixels: int | None) -> NDArray[np.uint8]:
    width, height = fit_size(frame.width, frame.height, max_pixels)
    picture: NDArray[np.uint8] = frame.to_ndarray(
        format="rgb24", width=width, height=height, interpolation="BILINEAR"
    )
    # A telephone held upright writes lying pictures and how to turn them, as decord does.
    return np.rot90(picture, round(frame.rotation / 90))


class FolderReader:
    """Read a folder of pictures, such as a GOT-10k sequence."""

    def __init__(self, path: Path, pictures_per_second: float, max_pixels: int | None) -> None:
        self.paths, self.max_pixels = _pictures(path), max_pixels
        self.starts = np.arange(len(self.paths)) / pictures_per_second
        self.end = len(self.paths) / pictures_per_second

    def read(self, indices: Indices) -> NDArray[np.uint8]:
        """Return the pictures at increasing indices."""
        pictures = [self._read(self.paths[index]) for index in indices]
        for (one, first), (other, second) in pairwise(zip(indices, pictures, strict=True)):
            if first.shape != second.shape:
                raise VideoError(
                    f"expected pictures of one size, got {first.shape} in {self.paths[one]} "
                    f"and {second.shape} in {self.paths[other]}"
                )
        return np.stack(pictures)

    def _read(self, path: Path) -> NDArray[np.uint8]:
        import av

        try:
            with av.open(str(path)) as container:
                frames: Iterator[Any] = container.decode(video=0)
                return _picture(next(frames), self.max_pixels)
        except (av.error.FFmpegError, StopIteration, IndexError) as error:
            raise VideoError(f"{path} is not a picture: copy or download it again") from error


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
