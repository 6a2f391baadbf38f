"""Two processes make the same step as one, also where one of them has nothing to learn."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file

from vcr1_lib.models.loading import load_model

NEEDS_DEEPSPEED = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="deepspeed is not installed (it is not in the lock)"
)
CHILD = Path(__file__).parent / "two_processes.py"


def step(processes: int, *arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    command += ["--master_port=29511", str(CHILD), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


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
    one, two = (load_file(tmp_path / f"{n}.safetensors") for n in (1, 2))
    model, _ = load_model(CHILD.parent.parent / "data_samples" / "tiny_model")
    base = dict(model.named_parameters())
    moved = max(float((one[name] - base[name].detach()).abs().max()) for name in one)
    assert moved > 1e-3
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
