from pathlib import Path

import pytest

from vcr1_lib.doctor import Machine, Tier, inspect_machine, judge_tiers, main
from vcr1_lib.hardware import PROFILES

BARE = Machine(
    python=(3, 11, 9), torch="2.15.0", gpus=(), capability=None, bf16=False, gpu_gib=0.0,
    bitsandbytes="0.50.2", quantises=frozenset({"cpu"}), decoders=("av",), free_memory_gib=8.0,
    free_disk_gib=50.0, cached_models=(),
)  # fmt: skip
COLAB = BARE._replace(
    gpus=("Tesla T4",), capability=(7, 5), gpu_gib=14.5, quantises=frozenset({"cpu", "cuda"})
)


def tier(name: str, machine: Machine) -> Tier:
    (found,) = [t for t in judge_tiers(machine) if t.name == name]
    return found


def test_a_line_for_every_profile() -> None:
    assert [t.name for t in judge_tiers(BARE)] == list(PROFILES)


def test_without_a_gpu_only_the_first_tier_runs() -> None:
    assert [t.runs for t in judge_tiers(BARE)] == [True] + [False] * (len(PROFILES) - 1)
    assert "1 CUDA GPU, 0 here" in tier("t4", BARE).why[0]


def test_a_t4() -> None:
    assert tier("t4", COLAB).runs
    assert "downloads Qwen/Qwen2.5-VL-3B-Instruct, 7.0 GiB" in tier("t4", COLAB).todo[0]
    cached = COLAB._replace(cached_models=("Qwen/Qwen2.5-VL-3B-Instruct",), free_disk_gib=3.0)
    assert tier("t4", cached) == Tier("t4", True, (), ())
    assert "no bf16" in " ".join(tier("gpu24", COLAB).why)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"quantises": frozenset({"cpu"})}, "cannot quantise on this GPU"),
        ({"gpu_gib": 4.0}, "GiB of GPU memory, 4.0 are there"),
        ({"free_disk_gib": 1.0}, "1.0 GiB of disk"),
        ({"decoders": ()}, "neither decord nor PyAV"),
        ({"python": (3, 10, 1)}, "Python is 3.10.1"),
    ],
)
def test_what_is_missing_is_named_with_a_remedy(changed: dict, why: str) -> None:
    found = tier("t4", COLAB._replace(**changed))
    assert not found.runs
    assert why in " ".join(found.why)
    assert found.todo


def test_too_little_memory_for_the_embedded_model() -> None:
    assert not tier("cpu", BARE._replace(free_memory_gib=0.5)).runs


def test_this_machine_is_seen() -> None:
    machine = inspect_machine()
    assert machine.python >= (3, 11)
    assert machine.decoders
    assert machine.free_disk_gib > 0
    assert bool(machine.gpus) == (machine.gpu_gib > 0)


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main([str(tmp_path)])
    told = capsys.readouterr().out
    for name in PROFILES:
        assert f"\n{name} " in told
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none")])
    assert "expected a folder" in capsys.readouterr().err.splitlines()[-1]
