"""A run killed at any moment and resumed ends as the uninterrupted one, bit for bit.

``VCR1_KILLS=20`` repeats the kill twenty times, each at another moment.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import Trainer

from vcr1_lib.datasets import read_records
from vcr1_lib.models.loading import load_model
from vcr1_lib.rewards import format_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.checkpoints import CheckpointError, find_checkpoint, last_checkpoint
from vcr1_lib.training.config import VideoGRPOConfig

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "data_samples" / "charades_sta"
KILLS = int(os.environ.get("VCR1_KILLS", "1"))
STEPS = 6
OPTIONS = f"""--max_steps {STEPS} --save_steps 1 --save_total_limit 2 --num_generations 4
    --max_completion_length 24 --optim adamw_torch --eval_strategy no --eval_on_start false
    --disable_tqdm true --ddp_timeout 120 --resume_from_checkpoint last""".split()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for six questions to train on and two held out."""
    folder, options = tmp_path_factory.mktemp("clips"), []
    for flag, split, count in (("train", "train", 6), ("eval", "heldout", 2)):
        text = (CLIPS / f"toyworld_sta_{split}.txt").read_text(encoding="utf-8").splitlines()
        (folder / split).with_suffix(".txt").write_text("\n".join(text[:count]) + "\n")
        options += [f"--{flag}_annotations", str(folder / f"{split}.txt")]
    return options


def launch(folder: Path, clips: list[str], processes: int) -> subprocess.Popen[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), "scripts/train_grpo.py"]
    command += [*OPTIONS, *clips, "--per_device_train_batch_size", str(2 // processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--output_dir", str(folder)],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(folder: Path, clips: list[str], processes: int) -> None:
    process = launch(folder, clips, processes)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]


def kill(process: subprocess.Popen[str]) -> None:
    """End a launcher and all that it launched, at once."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    process.communicate(timeout=60)
    psutil.wait_procs(family, timeout=60)


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of rows without what a clock says."""
    text = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in text]


def kill_at_random(folder: Path, clips: list[str], processes: int, chance: random.Random) -> None:
    """Kill a run some time after some step."""
    process = launch(folder, clips, processes)
    metrics, after = folder / "metrics.jsonl", chance.randrange(STEPS)

    def lines() -> int:
        return metrics.read_text().count("\n") if metrics.exists() else -1

    while process.poll() is None and lines() < after:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.5))
    assert process.poll() is None, "it ended before it could be killed"
    kill(process)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clips: list[str]
) -> tuple[int, Path]:
    """A number of processes and the folder of their uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    finish(folder, clips, request.param)
    return request.param, folder


@pytest.mark.parametrize("attempt", range(KILLS))
def test_killed_and_resumed_it_ends_the_same(
    tmp_path: Path, clips: list[str], whole: tuple[int, Path], attempt: int
) -> None:
    (processes, wanted), weights = whole, "model/model.safetensors"
    kill_at_random(tmp_path, clips, processes, random.Random(100 * processes + attempt))
    finish(tmp_path, clips, processes)
    figures = rows(wanted / "metrics.jsonl")
    assert [row["step"] for row in figures] == [*range(1, STEPS + 1), STEPS]
    assert rows(tmp_path / "metrics.jsonl") == figures
    assert rows(tmp_path / "completions.jsonl") == rows(wanted / "completions.jsonl")
    assert (tmp_path / weights).read_bytes() == (wanted / weights).read_bytes()


def small_trainer(folder: Path) -> VideoGRPOTrainer:
    lengths = CLIPS / "toyworld_v1_train.csv"
    records = read_records(CLIPS / "toyworld_sta_train.txt", CLIPS / "videos", lengths=lengths)
    config = VideoGRPOConfig(
        output_dir=str(folder), max_steps=3, save_steps=1, num_generations=2,
        max_completion_length=8, fps=1, max_frames=8, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    model, processor = load_model(ROOT / "data_samples" / "tiny_model")
    return VideoGRPOTrainer(model, [format_reward], config, records[:3], None, processor)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with the checkpoints of three steps."""
    folder = tmp_path_factory.mktemp("saved")
    small_trainer(folder).train()
    return folder


FILES = ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_cut_short_is_passed_over(saved: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(saved, tmp_path / "run")
    assert find_checkpoint("last", str(tmp_path / "run"), world_size=1) == str(
        tmp_path / "run" / "checkpoint-3"
    )
    cut = tmp_path / "run" / "checkpoint-3" / name
    cut.write_bytes(cut.read_bytes()[:-1000] if name != "trainer_state.json" else b'{"epoch": 1')
    assert last_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-2"
    with pytest.raises(CheckpointError, match="expected a whole checkpoint"):
        find_checkpoint(str(cut.parent), "", world_size=1)


def test_with_no_whole_checkpoint_a_run_starts(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    assert find_checkpoint("last", str(tmp_path), world_size=1) is None
    assert find_checkpoint("last", str(tmp_path / "absent"), world_size=1) is None


def test_another_number_of_processes_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"written by 1 process\(es\) and this run has 2"):
        find_checkpoint("last", str(saved), world_size=2)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, write = small_trainer(tmp_path), Trainer._save_optimizer_and_scheduler

    def full(self: Trainer, folder: str) -> None:
        if self.state.global_step == 2:
            raise OSError(28, "No space left on device")
        write(self, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(CheckpointError, match=r"No space left.*checkpoint-1: make room"):
        trainer.train()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    monkeypatch.undo()
    resumed = small_trainer(tmp_path)
    resumed.train(resume_from_checkpoint=find_checkpoint("last", str(tmp_path), world_size=1))
    assert resumed.state.global_step == 3
