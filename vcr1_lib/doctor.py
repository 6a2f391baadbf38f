"""Say what this machine can do: ``python -m vcr1_lib.doctor``.

Nothing is downloaded and nothing asks the network; only what is here is looked at.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import torch
from huggingface_hub import CacheNotFound, scan_cache_dir

from vcr1_lib.hardware import PROFILES
from vcr1_lib.planner import CARD
from vcr1_lib.planning.advice import plan_memory
from vcr1_lib.planning.footprint import GIB
from vcr1_lib.planning.setup import Setup, read_setup
from vcr1_lib.planning.shapes import PUBLISHED

OLDEST_PYTHON: Final = (3, 11)
# What a run of the embedded model takes, as notebook 00 says, with room for the system.
CPU_MEMORY_GIB: Final = 2.0
# Adapters, optimizer states and logs of two checkpoints.
RUN_DISK_GIB: Final = 2.0


class Machine(NamedTuple):
    """What was found.

    Attributes:
        python: Version.
        torch: Version.
        gpus: Name of each CUDA GPU.
        capability: Of the first GPU, ``None`` without one.
        bf16: Whether the first GPU computes in bf16 itself.
        gpu_gib: Memory of the smallest GPU, 0 without one.
        bitsandbytes: Version, or why it does not import.
        quantises: Devices that bitsandbytes has kernels for.
        decoders: Which of decord and PyAV are here.
        free_memory_gib: Of the machine.
        free_disk_gib: Where the run would write.
        cached_models: Names in the hub's cache.
    """

    python: tuple[int, int, int]
    torch: str
    gpus: tuple[str, ...]
    capability: tuple[int, int] | None
    bf16: bool
    gpu_gib: float
    bitsandbytes: str
    quantises: frozenset[str]
    decoders: tuple[str, ...]
    free_memory_gib: float
    free_disk_gib: float
    cached_models: tuple[str, ...]


class Tier(NamedTuple):
    """What a profile can do here.

    Attributes:
        name: Of the profile.
        runs: Whether it does.
        why: What is missing, a clause each.
        todo: What to do about it, or before the first run.
    """

    name: str
    runs: bool
    why: tuple[str, ...]
    todo: tuple[str, ...]


def inspect_machine(folder: str | Path = ".") -> Machine:
    """Look at this machine.

    Args:
        folder: Where runs are written.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    version, devices = _bitsandbytes()
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(count)]
    return Machine(
        python=sys.version_info[:3],
        torch=torch.__version__,
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(count)),
        capability=torch.cuda.get_device_capability(0) if count else None,
        bf16=bool(count) and torch.cuda.is_bf16_supported(including_emulation=False),
        gpu_gib=min(sizes, default=0) / GIB,
        bitsandbytes=version,
        quantises=devices,
        decoders=tuple(name for name in ("decord", "av") if find_spec(name)),
        free_memory_gib=psutil.virtual_memory().available / GIB,
        free_disk_gib=shutil.disk_usage(folder).free / GIB,
        cached_models=_cached_models(),
    )


def _bitsandbytes() -> tuple[str, frozenset[str]]:
    try:
        bnb = import_module("bitsandbytes")
    except (ImportError, OSError, RuntimeError) as error:
        return str(error).partition("\n")[0] or type(error).__name__, frozenset()
    native = bnb.cextension.lib
    devices = {"cuda"} if getattr(native, "compiled_with_cuda", False) else set()
    if isinstance(native, bnb.cextension.BNBNativeLibrary):
        devices.add("cpu")
    return metadata.version("bitsandbytes"), frozenset(devices)


def _cached_models() -> tuple[str, ...]:
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return ()
    return tuple(sorted(repo.repo_id for repo in repos if repo.repo_type == "model"))


def judge_tiers(machine: Machine) -> list[Tier]:
    """Say of each profile whether it runs on a machine, why not, and what to do."""
    return [_judge(name, machine) for name in PROFILES]


def _judge(name: str, machine: Machine) -> Tier:
    lacks = list(_lacks_everywhere(machine))
    if name == "cpu":
        if machine.free_memory_gib < CPU_MEMORY_GIB:
            found = f"{machine.free_memory_gib:.1f} GiB of memory are free"
            lacks.append((found, f"close programs until {CPU_MEMORY_GIB:g} GiB are"))
        return _tier(name, lacks, [])
    card, count, strategy = CARD[name]
    setup = read_setup(PROFILES[name] | {"num_gpus": count, "strategy": strategy})
    model = setup.model_name_or_path
    if len(machine.gpus) < count:
        there = f"it is for {count} CUDA GPU{'s' * (count > 1)}, {len(machine.gpus)} here"
        lacks.append((there, f"take a machine with {count} x {card}"))
    else:
        lacks += _lacks_on_gpu(name, setup, machine)
    download = 0.0
    before = []
    if model not in machine.cached_models:
        download = 2 * PUBLISHED[model] / GIB
        before.append(f"its first run downloads {model}, {download:.1f} GiB")
    if machine.free_disk_gib < download + RUN_DISK_GIB:
        there = f"{machine.free_disk_gib:.1f} GiB of disk are free"
        lacks.append((there, f"free {download + RUN_DISK_GIB:.1f} GiB"))
    return _tier(name, lacks, before)


def _lacks_on_gpu(name: str, setup: Setup, machine: Machine) -> list[tuple[str, str]]:
    lacks = []
    need = plan_memory(setup).total / GIB
    if machine.gpu_gib < need:
        there = f"it needs {need:.1f} GiB of GPU memory, {machine.gpu_gib:.1f} are there"
        lacks.append((there, f"see python -m vcr1_lib.planner --profile {name}"))
    if setup.bf16 and not machine.bf16:
        lacks.append(("the GPU has no bf16", "use fp16 as in profile t4"))
    if setup.load_in_4bit and "cuda" not in machine.quantises:
        there = f"bitsandbytes cannot quantise on this GPU ({machine.bitsandbytes})"
        lacks.append((there, "install the gpu extra, in a version for this CUDA"))
    return lacks


def _lacks_everywhere(machine: Machine) -> list[tuple[str, str]]:
    lacks = []
    if machine.python < OLDEST_PYTHON:
        lacks.append((f"Python is {platform_version(machine)}", "install Python 3.11 or newer"))
    if not machine.decoders:
        lacks.append(("neither decord nor PyAV is here", "install the train extra"))
    return lacks


def _tier(name: str, lacks: list[tuple[str, str]], before: list[str]) -> Tier:
    why, todo = tuple(w for w, _ in lacks), tuple(t for _, t in lacks)
    return Tier(name, not lacks, why, todo or tuple(before))


def platform_version(machine: Machine) -> str:
    """Write Python's version.

    >>> platform_version(inspect_machine()) == platform.python_version().rstrip("+")
    True
    """
    return ".".join(map(str, machine.python))


def format_machine(machine: Machine) -> str:
    """Write what was found, a line each."""
    if machine.gpus:
        number = ".".join(map(str, machine.capability or ()))
        floats = "bf16" if machine.bf16 else "no bf16: fp16 with a scaler"
        gpu = f"{', '.join(machine.gpus)}; {machine.gpu_gib:.1f} GiB, capability {number}, {floats}"
    else:
        gpu = "none"
    kernels = ", ".join(sorted(machine.quantises)) or "no device"
    lines = {
        "Python": f"{platform_version(machine)} on {platform.system()} {platform.machine()}",
        "torch": machine.torch,
        "CUDA GPU": gpu,
        "bitsandbytes": f"{machine.bitsandbytes}; native library for {kernels}",
        "video readers": ", ".join(machine.decoders) or "none",
        "free memory": f"{machine.free_memory_gib:.1f} GiB",
        "free disk": f"{machine.free_disk_gib:.1f} GiB",
        "cached models": ", ".join(machine.cached_models) or "none",
    }
    return "\n".join(f"{name:<14} {value}" for name, value in lines.items())


def format_tiers(tiers: Sequence[Tier]) -> str:
    """Write one line per tier.

    >>> print(format_tiers([Tier("t4", False, ("no GPU",), ("get one",))]))
    t4      does not run because no GPU; to do: get one
    """
    lines = []
    for name, runs, why, todo in tiers:
        state = "runs" if runs else f"does not run because {', and '.join(why)}"
        lines.append(f"{name:<7} {state}" + (f"; to do: {'; '.join(todo)}" if todo else ""))
    return "\n".join(line.replace("runs; to do: its", "runs; its") for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print what is here and what each tier can do; return 1 if not even ``cpu`` runs."""
    parser = argparse.ArgumentParser(description="Say what this machine can do.")
    parser.add_argument("folder", nargs="?", default=".", help="where runs are written")
    folder = parser.parse_args(argv).folder
    if not Path(folder).is_dir():
        parser.error(f"expected a folder, found none at {folder}")
    machine = inspect_machine(folder)
    tiers = judge_tiers(machine)
    print(format_machine(machine), format_tiers(tiers), sep="\n\n")  # noqa: T201
    return int(not tiers[0].runs)


if __name__ == "__main__":
    raise SystemExit(main())
