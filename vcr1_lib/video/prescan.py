"""Try every video of a folder before a run does: ``python -m vcr1_lib.video.prescan FOLDER``.

A native decoder that hangs cannot be interrupted from within its process, so files are read in
worker processes that can be killed. A worker that takes too long or dies costs one file.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, Literal, NamedTuple

from vcr1_lib.metrics.scoring import many
from vcr1_lib.video import VideoError, read_clip

log = logging.getLogger(__name__)

Check = Callable[[str], None]
SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v"}
LIMIT_SECONDS = 60.0
# Spread over the file, small: enough to make the decoder walk through all of it.
NUM_FRAMES, MAX_PIXELS = 16, 4096
# A fresh process loads NumPy and a decoder before its first file.
START_SECONDS = 60.0
READY = "ready"


class ScanReport(NamedTuple):
    """What a scan found.

    Attributes:
        good: Paths that can be read, sorted.
        bad: Path -> why it cannot.
    """

    good: list[str]
    bad: dict[str, str]

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        text = json.dumps(self._asdict(), indent=1, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


def load_report(path: str | Path) -> ScanReport:
    """Read a report.

    Raises:
        FileNotFoundError: If there is none.
        VideoError: If the file holds something else.
    """
    try:
        return ScanReport(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise VideoError(
            f"expected a report of python -m vcr1_lib.video.prescan FOLDER --report {path}, "
            "the file holds something else"
        ) from error


def check_video(path: str) -> None:
    """Read a few frames from all over a file.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If it cannot be read.
    """
    read_clip(path, num_frames=NUM_FRAMES, max_pixels=MAX_PIXELS)


def scan(
    paths: Sequence[str | Path],
    *,
    limit_seconds: float = LIMIT_SECONDS,
    num_workers: int = 2,
    progress: str | None = None,
    check: Check = check_video,
) -> ScanReport:
    """Try files in worker processes; one that takes too long is killed.

    Args:
        paths: The files.
        limit_seconds: Time limit for one file.
        num_workers: Processes.
        progress: Label of a progress bar; ``None`` shows none.
        check: What to try; raises ``VideoError`` or ``OSError`` on a bad file. A function of
            a module, since it is sent to the workers.

    Raises:
        ValueError: If ``limit_seconds`` or ``num_workers`` is not positive.
        RuntimeError: If a worker cannot start at all.
    """
    if limit_seconds <= 0 or num_workers < 1:
        raise ValueError(
            "expected limit_seconds > 0 and num_workers >= 1, "
            f"got {limit_seconds} and {num_workers}"
        )
    from tqdm import tqdm  # not in a plain install, which reads annotations

    names = sorted(map(str, paths))
    mine, started = local(), list[_Worker]()

    def ask(name: str) -> str | None:
        if getattr(mine, "worker", None) is None:
            mine.worker = _Worker(check)
            started.append(mine.worker)
        why: str | None = mine.worker.ask(name, limit_seconds)
        if not mine.worker.alive:
            mine.worker = None
        return why

    try:
        with ThreadPoolExecutor(num_workers) as pool:
            answers = pool.map(ask, names)
            whys = list(tqdm(answers, total=len(names), desc=progress, disable=progress is None))
    finally:
        for worker in started:
            worker.kill()
    found = dict(zip(names, whys, strict=True))
    good = [name for name, why in found.items() if why is None]
    return ScanReport(good, {name: why for name, why in found.items() if why is not None})


class _Worker:
    """A process that checks files, one at a time, and may be killed."""

    def __init__(self, check: Check) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, check), daemon=True)
        self.process.start()
        other.close()
        self.alive = True
        if self._answer(START_SECONDS) != READY:
            self.kill()
            raise RuntimeError("a worker process cannot start: run from a script or a module")

    def ask(self, name: str, limit_seconds: float) -> str | None:
        self.pipe.send(name)
        try:
            why = self._answer(limit_seconds)
        except TimeoutError:
            self.kill()
            return f"takes longer than {limit_seconds:g} s: re-encode it with ffmpeg"
        except EOFError:
            self.kill()
            return f"ends the decoder's process (code {self.process.exitcode}): re-encode it"
        return why

    def _answer(self, limit_seconds: float) -> str | None:
        if not self.pipe.poll(limit_seconds):
            raise TimeoutError(f"no answer within {limit_seconds:g} s")
        answer: str | None = self.pipe.recv()
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.alive = False


def _serve(pipe: Any, check: Check) -> None:
    """Answer each name with ``None`` or why it is bad, until killed."""
    pipe.send(READY)
    while True:
        name = pipe.recv()
        try:
            check(name)
        except (VideoError, OSError) as error:
            pipe.send(str(error))
        else:
            pipe.send(None)


def find_videos(folder: str | Path) -> list[Path]:
    """Return the videos below a folder, by the end of their names.

    Raises:
        FileNotFoundError: If there is no such folder, or no video in it.
    """
    found = [path for path in sorted(Path(folder).rglob("*")) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise FileNotFoundError(f"expected videos {sorted(SUFFIXES)} below {folder}, found none")
    return found


def readable(
    records: Sequence[dict[str, Any]],
    report: ScanReport | str | Path,
    *,
    on_error: Literal["raise", "skip"] = "raise",
) -> list[dict[str, Any]]:
    """Return the records whose video the scan could read, in order; the log says how many others.

    Args:
        records: See :mod:`vcr1_lib.datasets`.
        report: What a scan found, or the file that says so; ``""`` for no scan and all records.
        on_error: Without a scan, ``"raise"`` looks whether all clips are there.

    Raises:
        FileNotFoundError: If there is no such file, or clips are missing; it says how many.
        VideoError: If it is not a report.
    """
    if not report and on_error == "skip":
        return list(records)
    if not report:
        missing = [record for record in records if not Path(record["video"]).exists()]
        if missing:
            first = missing[0]
            raise FileNotFoundError(
                f"{len(missing)} of {len(records)} questions have no clip, the first "
                f"{first.get('source', first['id'])}: expected {first['video']}; give the folder "
                "that holds the clips, or leave such questions out with --on_error skip"
            )
        return list(records)
    if not isinstance(report, ScanReport):
        report = load_report(report)
    good = {str(Path(path).resolve()) for path in report.good}
    kept = [record for record in records if str(Path(record["video"]).resolve()) in good]
    if lost := len(records) - len(kept):
        log.warning("%d of %d questions left out: the scan did not find their clips good",
                    lost, len(records))  # fmt: skip
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Scan a folder, print what is bad, and return 1 if anything is."""
    parser = argparse.ArgumentParser(description="Try every video of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit_seconds", type=float, default=LIMIT_SECONDS)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--report", type=Path, help="write the result here, as JSON")
    told = parser.parse_args(argv)
    try:
        videos = find_videos(told.folder)
    except FileNotFoundError as error:
        parser.error(str(error))
    report = scan(
        videos,
        limit_seconds=told.limit_seconds,
        num_workers=told.num_workers,
        progress="scanning",
    )
    for path, why in report.bad.items():
        print(why if path in why else f"{path} {why}")  # noqa: T201
    print(f"{many(len(report.good), 'video')} can be read, {len(report.bad)} cannot")  # noqa: T201
    if told.report is not None:
        report.save(told.report)
    return int(bool(report.bad))


if __name__ == "__main__":
    raise SystemExit(main())
