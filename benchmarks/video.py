"""Reading 16, 64 and 256 frames of a 720p clip of 60 s, beside other ways to read them.

``python benchmarks/video.py`` films a clip in a temporary folder, lets every system read the
same evenly spread frames in a process of its own, takes turns over the rounds, and writes
``benchmarks/results/video.json``. Seconds are of opening and reading; memory is the process's
peak above what it held after its imports. Systems that are not installed are named and left
out. Linux only: peaks are read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "video.json"
HEIGHT, WIDTH, RATE, SECONDS = 720, 1280, 30, 60
COUNTS = (16, 64, 256)
SMALL_PIXELS = 360 * 640
WARM_BYTES = 2 * 2**30


def film(path: Path) -> None:
    import av

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 4, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(RATE * SECONDS):
            left = index * 5 % WIDTH
            picture = np.ascontiguousarray(scene[:, left : left + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def ours(path: str, indices: np.ndarray) -> np.ndarray:
    from vcr1_lib.video import read_clip

    return read_clip(path, num_frames=len(indices)).frames


def ours_shrunk(path: str, indices: np.ndarray) -> np.ndarray:
    from vcr1_lib.video import read_clip

    return read_clip(path, num_frames=len(indices), max_pixels=SMALL_PIXELS).frames


def bare_decord(path: str, indices: np.ndarray) -> np.ndarray:
    import decord

    return decord.VideoReader(path).get_batch(indices).asnumpy()


def bare_pyav(path: str, indices: np.ndarray) -> np.ndarray:
    import av

    wanted, frames = set(indices.tolist()), []
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == len(wanted):
                break
    return np.stack(frames)


def opencv(path: str, indices: np.ndarray) -> np.ndarray:
    import cv2

    wanted, frames = set(indices.tolist()), []
    video = cv2.VideoCapture(path)
    for index in range(int(indices[-1]) + 1):
        video.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def torchcodec(path: str, indices: np.ndarray) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=0)
    return decoder.get_frames_at(indices.tolist()).data.numpy()


SYSTEMS = {
    "ours": (ours, "vcr1_lib.video"),
    "ours, shrunk to 360p": (ours_shrunk, "vcr1_lib.video"),
    "decord": (bare_decord, "decord"),
    "PyAV": (bare_pyav, "av"),
    "OpenCV": (opencv, "cv2"),
    "torchcodec": (torchcodec, "torchcodec.decoders"),
}


def memory_mib(name: str) -> float:
    text = Path("/proc/self/status").read_text()
    return float(text.split(f"{name}:")[1].split()[0]) / 1024


def run_child(system: str, path: str, count: int) -> dict[str, Any]:
    read, module = SYSTEMS[system]
    __import__(module)
    indices = (np.arange(count) * RATE * SECONDS / count).astype(int)
    # On a virtual machine memory nobody used lately is slow to get; whoever came after a larger
    # system would find it ready.
    np.ones(WARM_BYTES, dtype=np.uint8)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    held, start = memory_mib("VmRSS"), time.perf_counter()
    frames = read(path, indices)
    seconds = time.perf_counter() - start
    assert len(frames) == count
    kept = frames.nbytes / 2**20
    return {"seconds": seconds, "peak_mib": memory_mib("VmHWM") - held, "kept_mib": kept}


def ask(system: str, path: Path, count: int) -> dict[str, Any] | str:
    command = [sys.executable, __file__, "--child", system, str(path), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return next((x for x in reversed(lines) if "Error" in x), "failed").split("/")[0]
    return json.loads(done.stdout.splitlines()[-1])


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def summary(runs: list[dict[str, Any]], count: int) -> dict[str, float]:
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {
        "frames_per_second": round(count / middle["seconds"], 1),
        "seconds": round(middle["seconds"], 3),
        "fastest_seconds": round(min(run["seconds"] for run in runs), 3),
        "peak_mib": round(middle["peak_mib"]),
        "kept_mib": round(middle["kept_mib"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        system, path, count = told.child
        print(json.dumps(run_child(system, path, int(count))))
        return
    figures: dict[str, dict[str, list[Any]]] = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        film(path)
        size = path.stat().st_size
        for turn in range(told.rounds):
            first = turn % len(SYSTEMS)
            for count in COUNTS:
                for system in [*SYSTEMS][first:] + [*SYSTEMS][:first]:
                    if system in absent:
                        continue
                    got = ask(system, path, count)
                    if isinstance(got, str):
                        absent[system] = got
                    else:
                        figures.setdefault(system, {}).setdefault(str(count), []).append(got)
    packages = ("av", "decord", "numpy", "opencv-python-headless", "torch", "torchcodec")
    result = {
        "command": f"python benchmarks/video.py --rounds {told.rounds}",
        "clip": {"height": HEIGHT, "width": WIDTH, "fps": RATE, "seconds": SECONDS, "bytes": size},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_at_the_end": [round(x, 1) for x in os.getloadavg()],
        },
        "versions": {"python": platform.python_version()}
        | {name: version for name in packages if (version := version_of(name))},
        "figures": {
            system: {count: summary(runs, int(count)) for count, runs in counts.items()}
            for system, counts in figures.items()
        },
        "absent": absent,
    }
    told.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["figures"], indent=1), absent)


if __name__ == "__main__":
    main()
