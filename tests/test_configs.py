"""Every configuration is read by the engine it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

ROOT = Path(__file__).parents[1]
ENGINES = sorted((ROOT / "configs" / "accelerate").glob("*.yaml"))


def launch_options(config: Path) -> Namespace:
    """Read a file as ``accelerate launch`` does."""
    args = launch_command_parser().parse_args(["--config_file", str(config), "train.py"])
    return _validate_launch_command(args)[0]


@pytest.mark.parametrize("config", ENGINES, ids=lambda path: path.stem)
def test_accelerate_knows_every_option(config: Path) -> None:
    read = ClusterConfig.from_yaml_file(str(config))  # refuses unknown keys
    assert read.num_processes == 8 * read.num_machines
    launcher = vars(launch_command_parser().parse_args(["train.py"]))
    content: dict[str, Any] = yaml.safe_load(config.read_text())
    nested = content.get("fsdp_config", {}) | content.get("deepspeed_config", {})
    assert set(nested) <= set(launcher)


@pytest.mark.parametrize(
    "config", [path for path in ENGINES if "fsdp" in path.name], ids=lambda path: path.stem
)
def test_fsdp_gets_what_the_file_says(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = launch_options(config)
    args.main_process_ip = args.main_process_ip or "localhost"
    for name, value in prepare_multi_gpu_env(args).items():
        if name.startswith(("FSDP_", "ACCELERATE_")) and os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.cpu_ram_efficient_loading is True


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_slurm_script_is_bash_and_names_files_that_exist() -> None:
    script = ROOT / "configs" / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    named = re.findall(r"(?:configs|scripts)/[\w/.]+\w", script.read_text())
    assert len(named) >= 3
    assert all((ROOT / name).is_file() for name in named)
