"""Several processes when something goes wrong: one sentence each, and nobody waits for ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
CHILD = ROOT / "tests" / "several_steps.py"
CLIPS = ROOT / "data_samples" / "charades_sta" / "videos"
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]


def start(*arguments: str, launcher: tuple[str, ...] = ("--standalone",)) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LAUNCH, *launcher, *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], timeout: float = 300) -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=timeout)
    finally:
        for member in [*psutil.Process().children(recursive=True)]:
            member.kill()
    return process.returncode, err


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Four clips to train on."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        shutil.copy(CLIPS / f"T{number:04d}.mp4", folder)
    return folder


def test_a_bad_clip_is_left_out_and_counted(videos: Path, tmp_path: Path) -> None:
    (videos / "T0002.mp4").write_text("not a video " * 99)
    options = ["--output_dir", str(tmp_path / "run"), "--max_steps", "4", "--on_error", "skip"]
    code, err = finish(start(str(CHILD), str(videos), *options))
    assert code == 0, err[-3000:]
    assert "skipped:" in err
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    shares = [row["unreadable_clips"] for row in rows if "loss" in row]
    assert sorted(shares) == [0, 0, 0.5, 0.5]  # one of two clips, once in each of two epochs
    said = (tmp_path / "run" / "completions.jsonl").read_text()
    assert "T0001" in said
    assert "T0002" not in said


def test_otherwise_it_stops_every_process_by_name(videos: Path, tmp_path: Path) -> None:
    (videos / "T0002.mp4").write_text("not a video " * 99)
    options = ["--output_dir", str(tmp_path / "run"), "--max_steps", "4"]
    code, err = finish(start(str(CHILD), str(videos), *options))
    assert code != 0
    own = [line for line in err.splitlines() if "error of process" in line]
    assert own, err[-3000:]  # one or two: torchrun ends the others when the first one leaves
    assert all("T0002.mp4 cannot be decoded" in line for line in own)


def test_a_step_without_any_clip_is_an_error(videos: Path, tmp_path: Path) -> None:
    for clip in videos.iterdir():
        clip.write_bytes(b"")
    options = ["--output_dir", str(tmp_path / "run"), "--max_steps", "4", "--on_error", "skip"]
    code, err = finish(start(str(CHILD), str(videos), *options))
    assert code != 0
    assert err.count("none of a step's clips can be read (1 in all)") >= 1, err[-3000:]


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, err = finish(start(str(CHILD), launcher=("--master_port", port)), timeout=120)
    assert code != 0
    assert "EADDRINUSE" in err
    assert port in err


def running(videos: Path, folder: Path, *options: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a long run and wait for its first step; return it and its two workers."""
    long = ["--output_dir", str(folder), "--max_steps", "9999", *options]
    process = start(str(CHILD), str(videos), *long)
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 200
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr
        time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child.pid for child in children if str(CHILD) in child.cmdline()]
    assert len(workers) == 2
    return process, workers


@pytest.mark.parametrize(("sent", "seconds"), [("SIGKILL", 120), ("SIGSTOP", 240)])
def test_a_process_that_dies_or_hangs_ends_the_run(
    videos: Path, tmp_path: Path, sent: str, seconds: float
) -> None:
    """One that hangs holds the others for ``ddp_timeout``; then torchrun gives it 30 s to leave."""
    process, workers = running(videos, tmp_path / "run", "--ddp_timeout", "60")
    os.kill(workers[1], getattr(signal, sent))
    code, err = finish(process, timeout=seconds)
    assert code != 0
    assert "exitcode" in err
    if sent == "SIGSTOP":
        assert "imed out" in err  # gloo's sentence, from the process that waited
    assert not any(psutil.pid_exists(worker) for worker in workers)


@pytest.mark.parametrize("script", ["train_grpo", "train_sft"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--per_device_train_batch_size", "9999"], "training questions"),
        (["--resume_from_checkpoint", "absent"], "expected a whole checkpoint"),
    ],
)
def test_what_cannot_run_is_refused_before_the_model_is_loaded(
    tmp_path: Path, script: str, options: list[str], says: str
) -> None:
    command = [sys.executable, f"scripts/{script}.py", "--model_name_or_path", "absent", *options]
    command += ["--output_dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_another_number_of_processes_is_refused_by_each(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    with zipfile.ZipFile(checkpoint / "rng_state.pth", "w"):
        pass
    options = ["--model_name_or_path", "absent", "--resume_from_checkpoint", "last"]
    options += ["--output_dir", str(tmp_path), "--per_device_train_batch_size", "8"]
    code, err = finish(start("scripts/train_grpo.py", *options))
    assert code != 0
    assert err.count("was written by 1 process(es) and this run has 2") == 2, err[-3000:]


def test_a_missing_configuration_is_named() -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "absent.yaml"]
    done = subprocess.run(
        [*command, "scripts/train_grpo.py"], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode != 0
    assert "absent.yaml" in done.stderr
