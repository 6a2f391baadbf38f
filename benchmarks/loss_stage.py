"""What scoring answers costs from hidden states to their gradient, beside TRL's own ways.

``python benchmarks/loss_stage.py`` writes ``benchmarks/results/loss_stage.json``. Every way
runs in a process of its own: the seconds are the best of three forward and backward passes,
the peak is what the process grew by over its inputs. The ways take turns, three rounds; of
the rounds the fastest and the leanest count. fp32, on the CPU, a Qwen-sized vocabulary. The
head is frozen (LoRA) or trained; only the gradients wanted are computed.

- ``plain``: all scores at once, ``log_softmax``, pick;
- ``trl_selective``: all scores at once, TRL's ``selective_log_softmax``;
- ``trl_fused``: TRL's ``ChunkedLogProbFunction``, which its trainers use;
- ``chunked``: ``vcr1_lib.grpo.logprobs.chunked_logps``;
- ``foretold``: the same, told the loss's slope as the trainer tells it (a trained head only).

Liger Kernel has no CPU backend (its kernels are Triton's), so it has no row here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from machine import processor

RESULT = Path(__file__).parent / "results" / "loss_stage.json"
VOCABULARY, HIDDEN, TOKENS = 151_936, 256, 1024
WAYS = ("plain", "trl_selective", "trl_fused", "chunked", "foretold")
ROUNDS, PASSES = 3, 3
TEMPERATURE = 0.9


def score(way: str, hidden: Any, head: Any, tokens: Any, pull: Any) -> Any:
    if way in ("chunked", "foretold"):
        from vcr1_lib.grpo.logprobs import chunked_logps

        slope = (lambda _: pull) if way == "foretold" else None
        return chunked_logps(hidden, head, tokens, temperature=TEMPERATURE, loss_slope=slope).logps
    if way == "trl_fused":
        try:
            from trl.kernels.chunked_logprob import ChunkedLogProbFunction
            from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as WIDTH
        except ImportError as error:
            raise SystemExit("trl_fused needs TRL 1.15 or newer") from error

        options = (TEMPERATURE, WIDTH, None, 1.0, ("log_probs",))
        return ChunkedLogProbFunction.apply(hidden, head, None, tokens, *options)[0]
    scores = (hidden @ head.T).float() / TEMPERATURE
    if way == "trl_selective":
        from trl.trainer.utils import selective_log_softmax

        return selective_log_softmax(scores, tokens)
    return scores.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(way: str, trained: bool) -> dict[str, float]:
    """Run in a process of its own."""
    import torch

    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator, requires_grad=True)
    head = torch.randn(VOCABULARY, HIDDEN, generator=generator) / HIDDEN**0.5
    head.requires_grad_(trained)
    tokens = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    pull = torch.randn(TOKENS, generator=generator)
    # A small pass first, so that imports and thread pools do not count.
    score(way, hidden[:2], head[:100], tokens[:2] % 100, pull[:2]).sum().backward()
    hidden.grad = head.grad = None
    before, seconds = resident_bytes(), []
    for _ in range(PASSES):
        start = time.perf_counter()
        (score(way, hidden, head, tokens, pull) * pull).sum().backward()
        seconds.append(time.perf_counter() - start)
        slope = float((head if trained else hidden).grad.norm())
        hidden.grad = head.grad = None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": min(seconds), "peak_mb": (peak - before) / 1e6, "gradient_norm": slope}


def fresh_process(way: str, trained: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, *(["--trained"] if trained else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(trained: bool) -> dict[str, dict[str, float]]:
    ways = [way for way in WAYS if trained or way != "foretold"]
    rounds = [{way: fresh_process(way, trained) for way in ways} for _ in range(ROUNDS)]
    found = {
        way: {key: min(row[way][key] for row in rounds) for key in ("seconds", "peak_mb")}
        for way in ways
    }
    for way in ways:
        found[way]["gradient_norm"] = rounds[0][way]["gradient_norm"]
        for key in ("seconds", "peak_mb"):
            found[way][f"{key}_of_plain"] = found[way][key] / found["plain"][key]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--trained", action="store_true")
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.trained)))
        return
    result = {
        "command": "python benchmarks/loss_stage.py",
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "load_at_start": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "trl")},
        },
        "sizes": {"tokens": TOKENS, "hidden": HIDDEN, "vocabulary": VOCABULARY, "dtype": "fp32"},
        "full_matrix_mb": TOKENS * VOCABULARY * 4 / 1e6,
        "frozen_head": compare(trained=False),
        "trained_head": compare(trained=True),
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
