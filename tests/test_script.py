"""``scripts/train_grpo.py`` from outside: a whole run, and bad input in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SAMPLES = "data_samples/charades_sta"
QUICK = ["--per_device_train_batch_size", "2", "--num_generations", "2", "--eval_on_start", "false"]
QUICK += ["--eval_strategy", "no"]


def start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "scripts/train_grpo.py", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def run(*options: str) -> tuple[int, str, str]:
    process = start(*options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture
def few(tmp_path: Path) -> list[str]:
    """Options for a run on a handful of questions."""
    options = ["--output_dir", str(tmp_path / "run"), *QUICK]
    for flag, split in (("train", "train"), ("eval", "heldout")):
        text = (ROOT / SAMPLES / f"toyworld_sta_{split}.txt").read_text().splitlines()[:6]
        path = tmp_path / f"{split}.txt"
        path.write_text("\n".join(text) + "\n")
        options += [f"--{flag}_annotations", str(path)]
    return options


def test_a_run_leaves_everything_it_promises(few: list[str], tmp_path: Path) -> None:
    code, out, err = run(*few, "--max_steps", "2")
    assert code == 0, err
    for name in ("config.json", "metrics.jsonl", "reward_curve.html", "reward_curve.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["verdict"] in out
    assert "best fixed span" in out
    assert "before:" in out


def test_interrupted_it_saves_and_says_how_to_go_on(few: list[str], tmp_path: Path) -> None:
    process = start(*few, "--max_steps", "500")
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    (line,) = [x for x in err.splitlines() if x.startswith("  --output_dir")]
    folder = Path(line.split()[-1])
    assert (folder / "model.safetensors").exists()
    step = int(folder.name.split("-")[1])
    resumed = [*few, "--max_steps", str(step + 2), "--resume_from_checkpoint", str(folder)]
    code, _, err = run(*resumed)
    assert code == 0, err
    steps = [json.loads(x).get("step") for x in metrics.read_text().splitlines()]
    assert max(steps) == step + 2
    assert sorted(steps) == steps


@pytest.mark.parametrize(
    ("make", "says"),
    [
        ("missing annotations", "found none at"),
        ("span outside", "after the clip's"),
        ("missing clip", "1 of 6 questions have no clip"),
        ("empty clip", "is empty (0 bytes)"),
        ("text clip", "cannot be decoded"),
        ("no weights", "model.safetensors"),
        ("unknown option", "unknown option --learning_rat"),
    ],
)
def test_bad_input_is_one_sentence(few: list[str], tmp_path: Path, make: str, says: str) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(ROOT / SAMPLES / "videos", videos)
    extra = ["--videos", str(videos)]
    if make == "missing annotations":
        extra += ["--train_annotations", str(tmp_path / "absent.txt")]
    elif make == "span outside":
        (tmp_path / "train.txt").write_text("T0000 25.0 26.0##a red circle is on screen.\n")
    elif make == "missing clip":
        (videos / "T0001.mp4").unlink()
    elif make == "empty clip":
        (videos / "T0001.mp4").write_bytes(b"")
    elif make == "text clip":
        (videos / "T0001.mp4").write_text("not a video " * 99)
    elif make == "no weights":
        shutil.copytree(ROOT / "data_samples/tiny_model", tmp_path / "model")
        os.remove(tmp_path / "model" / "model.safetensors")
        extra += ["--model_name_or_path", str(tmp_path / "model")]
    else:
        extra += ["--learning_rat", "1"]
    code, _, err = run(*few, *extra)
    assert code != 0
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists(), "nothing half-written may be left"
