"""Two processes make the same step as one, also where one of them has nothing to learn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny import FAMILIES
from torch import nn

from vcr1_lib.models.loading import load_model
from vcr1_lib.training.checkpoints import last_checkpoint

NEEDS_DEEPSPEED = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="deepspeed is not installed (it is not in the lock)"
)
CHILD = Path(__file__).parent / "two_processes.py"
ROOT = CHILD.parent.parent
TINY_MODEL = ROOT / "data_samples" / "tiny_model"


def torchrun(processes: int) -> list[str]:
    run = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [sys.executable, "-m", *run]


def accelerate(config: str) -> list[str]:
    """Launch by one of our files; what a CPU has not got is overruled."""
    file = ROOT / "configs" / "accelerate" / f"{config}.yaml"
    command = ["accelerate.commands.launch", "--config_file", str(file), "--num_processes", "2"]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command += ["--mixed_precision", "no", "--main_process_port", str(port)]
    return [sys.executable, "-m", *command]


def launch(command: list[str], *arguments: str) -> None:
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def step(processes: int, *arguments: str) -> None:
    launch(torchrun(processes), str(CHILD), *arguments)


def furthest(folder: Path, model: nn.Module | None = None) -> float:
    """How far any weight of two processes is from that of one; both have moved."""
    one, two = (load_file(folder / f"{n}.safetensors") for n in (1, 2))
    base = dict((model or load_model(TINY_MODEL)[0]).named_parameters())
    assert max(float((one[name] - base[name].detach()).abs().max()) for name in one) > 1e-3
    return max(float((one[name] - two[name]).abs().max()) for name in one)


@pytest.mark.parametrize(
    ("loss_type", "rewards", "engine"),
    [
        ("grpo", "all", "ddp"),
        ("dapo", "all", "ddp"),
        ("grpo", "flat", "ddp"),
        ("dapo", "all", "fsdp2"),
        ("grpo", "flat", "fsdp2"),
        pytest.param("dapo", "all", "zero2", marks=NEEDS_DEEPSPEED),
        pytest.param("dapo", "all", "zero3", marks=NEEDS_DEEPSPEED),
        pytest.param("grpo", "flat", "zero3", marks=NEEDS_DEEPSPEED),
    ],
)
def test_two_processes_make_the_step_of_one(
    tmp_path: Path, loss_type: str, rewards: str, engine: str
) -> None:
    step(1, str(tmp_path), loss_type, rewards, "ddp")
    step(2, str(tmp_path), loss_type, rewards, engine)
    assert furthest(tmp_path) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_decoder_of_every_family_is_sharded(tmp_path: Path, family: str) -> None:
    """And its tower is not: it runs before the whole model's ``forward``."""
    step(1, str(tmp_path), "dapo", "length", "ddp", family)
    step(2, str(tmp_path), "dapo", "length", "fsdp2", family)
    assert furthest(tmp_path, FAMILIES[family]()[0]) < 1e-5


def test_four_bits_in_pieces_make_the_step_of_one_process(tmp_path: Path) -> None:
    """They lie in float numbers, which FSDP2 shards; only the adapters move."""
    step(1, str(tmp_path), "dapo", "all", "nf4")
    step(2, str(tmp_path), "dapo", "all", "nf4-fsdp2")
    one, two = (load_file(tmp_path / f"{n}.safetensors") for n in (1, 2))
    assert all("lora_" in name for name in one)
    assert max(float(one[name].abs().max()) for name in one if "lora_B" in name) > 1e-3
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5


@pytest.mark.parametrize(("config", "engine"), [("ddp", "ddp"), ("fsdp2", "fsdp2")])
def test_accelerate_launches_what_our_files_say(tmp_path: Path, config: str, engine: str) -> None:
    step(1, str(tmp_path), "dapo", "all", "ddp")
    launch(accelerate(config), str(CHILD), str(tmp_path), "dapo", "all", engine)
    assert furthest(tmp_path) < 1e-5


def few_clips(folder: Path) -> list[str]:
    """Return a script's options for four clips of each kind, in two processes."""
    options = ["--per_device_train_batch_size", "2", "--output_dir", str(folder / "run")]
    options += ["--eval_strategy", "no", "--eval_on_start", "false", "--disable_tqdm", "true"]
    for flag, split in (("train", "train"), ("eval", "heldout")):
        source = ROOT / "data_samples" / "charades_sta" / f"toyworld_sta_{split}.txt"
        few = folder / f"{split}.txt"
        few.write_text("\n".join(source.read_text().splitlines()[:4]) + "\n")
        options += [f"--{flag}_annotations", str(few)]
    return [*options, "--save_strategy", "no"]


@pytest.mark.parametrize("script", ["train_grpo", "train_sft"])
def test_accelerate_launches_the_scripts(tmp_path: Path, script: str) -> None:
    options = [*few_clips(tmp_path), "--max_steps", "1"]
    launch(accelerate("ddp"), f"scripts/{script}.py", *options)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["max_steps"] == 1
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.skipif(shutil.which("pkill") is None, reason="no bash or pkill here")
def test_the_slurm_script_stops_at_its_time_limit(tmp_path: Path) -> None:
    """Two processes on one node; what stands for srun starts the task and tells its number."""
    told = tmp_path / "task"
    commands = {"srun": f'echo $$ > "{told}"\nshift\nexec "$@"', "scontrol": "echo localhost"}
    python = f"{sys.executable} -m accelerate.commands.launch --mixed_precision no"
    commands["accelerate"] = f'shift\nexec {python} "$@"'  # bf16 crawls on a CPU
    for name, lines in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    slurm = {"JOB_NODELIST": "here", "NNODES": "1", "GPUS_ON_NODE": "2", "NODEID": "0"}
    slurm |= {"CPUS_PER_TASK": "1"}
    process = subprocess.Popen(
        ["bash", "configs/slurm.sh", *few_clips(tmp_path), "--max_steps", "2000"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": path}
        | {f"SLURM_{name}": value for name, value in slurm.items()},
    )  # fmt: skip
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(int(told.read_text()), signal.SIGUSR1)
    out, err = process.communicate(timeout=120)
    assert err.count("Stopped at step") == 1, out[-3000:] + err[-3000:]
    checkpoint = last_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert len(list(checkpoint.glob("rng_state_*.pth"))) == 2, "both processes saved"
