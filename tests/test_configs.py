"""Every configuration is read by the engine it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp import StateDictType

from vcr1_lib.training.config import read_options

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "configs" / "train").glob("*.yaml"))
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
    # Transformers writes the model at the end under this type alone.
    assert plugin.state_dict_type is StateDictType.FULL_STATE_DICT
    # Every process answers before the training, by weights of its own.
    assert plugin.cpu_ram_efficient_loading is False


@dataclass
class Own:
    """What a script adds."""

    profile: str = "cpu"


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_training_script_reads_every_recipe(recipe: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(recipe.read_text())
    argv = ["--config", str(recipe), "--use_cpu", "true", "--output_dir", str(tmp_path)]
    parts = read_options(Own, argv)
    told = {name: value for part in parts for name, value in vars(part).items()}
    assert {name: told[name] for name in content} == content
    named = re.findall(r"configs/[\w/]+\.yaml", recipe.read_text())
    assert len(named) == 2
    assert all((ROOT / name).is_file() for name in named)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    argv = ["--config", str(ROOT / "configs" / "train" / "dapo.yaml"), "--profile", "cpu"]
    own, _, config = read_options(Own, [*argv, "--beta", "0.5", "--output_dir", str(tmp_path)])
    assert (own.profile, config.beta, config.loss_type) == ("cpu", 0.5, "dapo")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a list", "expected options and their values"),
        ("lerning_rate: 1", "unknown option --lerning_rate; did you mean --learning_rate?"),
        ("compute_environment: LOCAL", "looks like a file for accelerate launch --config_file"),
        ("a: [", "expected a file of YAML or JSON"),
        (None, "expected a file of YAML or JSON"),
    ],
)
def test_a_bad_file_is_one_sentence(
    text: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "options.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit):
        read_options(Own, ["--config", str(path)])
    assert says in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_slurm_script_is_bash_and_names_files_that_exist() -> None:
    script = ROOT / "configs" / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    named = re.findall(r"(?:configs|scripts)/[\w/.]+\w", script.read_text())
    assert len(named) >= 3
    assert all((ROOT / name).is_file() for name in named)
