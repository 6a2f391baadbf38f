"""The bootstrap of hosted notebooks, planned for bare and for odd machines."""

from __future__ import annotations

import builtins
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement

from tools import bootstrap

ROOT = Path(__file__).parents[1]
SETUP = """\
import os
from pathlib import Path

if Path.cwd().name == "notebooks":
    os.chdir("..")
if not Path("data_samples").exists():  # on Colab, first: %env VCR1_REPOSITORY=ADDRESS
    if not Path("course/pyproject.toml").exists():
        address = os.environ["VCR1_REPOSITORY"]
        !git clone --depth 1 {address} course
    %cd course
    %run tools/bootstrap.py
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with pip and nothing else; return its Python."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin" / "python"


def pretend(folder: Path, **versions: str) -> Path:
    """Write what tells of installed packages, without the packages."""
    for name, version in versions.items():
        about = folder / f"{name}-{version}.dist-info"
        about.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (about / "METADATA").write_text(text)
    return folder


def plan(
    python: Path, *options: str, beside: Path | None = None, tools: Path | None = None
) -> dict[str, str]:
    """Return what is to be done with each package; the constraints under the key ``within``."""
    path = f"{tools}:/usr/bin:/bin" if tools else "/usr/bin:/bin"
    environment = {"PATH": path} | ({"PYTHONPATH": str(beside)} if beside else {})
    command = [str(python), "tools/bootstrap.py", "--dry-run", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(keep|replace|install) +([\w-]+)", done.stdout, re.MULTILINE)
    steps = {name: step for step, name in found}
    steps["within"] = "".join(re.findall(r"within: (.*)", done.stdout))
    steps["said"] = done.stdout
    return steps


def test_on_a_bare_machine_all_is_installed_within_the_bounds(bare: Path) -> None:
    steps = plan(bare)
    assert steps["torch"] == steps["numpy"] == steps["bitsandbytes"] == "install"
    bounds = {r.name: r for r in map(Requirement, steps["within"].split())}
    assert set(bounds) == set(steps) - {"within", "said"}
    assert all("==" not in str(bound) for bound in bounds.values()), "bounds, not the lock"
    assert str(bounds["torch"].specifier) == ">=2.11"
    assert "restarts, once" in steps["said"], "announced before anything is done"


def test_a_torch_that_is_new_enough_is_not_moved(bare: Path, tmp_path: Path) -> None:
    here = pretend(tmp_path, torch="2.12.1+cu128", torchvision="0.27.1+cu128", numpy="2.0.2",
                   transformers="5.0.0", trl="1.12.0", ipywidgets="7.7.1")  # fmt: skip
    steps = plan(bare, beside=here)
    assert [steps[name] for name in ("torch", "torchvision", "numpy", "trl", "ipywidgets")] == (
        ["keep"] * 5
    )
    assert (steps["transformers"], steps["peft"]) == ("replace", "install")
    within = steps["within"].split()
    assert {"torch==2.12.1+cu128", "torchvision==0.27.1+cu128", "numpy==2.0.2"} <= set(within)
    assert {"transformers>=5.20", "trl>=1.10"} <= set(within), "may still move, within bounds"


@pytest.mark.parametrize("version", ["2.6.0+cu124", "2.10.0", "2.11.0a0", "1.13.1"])
def test_a_torch_below_the_floor_is_replaced_with_its_partner(
    bare: Path, tmp_path: Path, version: str
) -> None:
    steps = plan(bare, beside=pretend(tmp_path, torch=version, torchvision="0.26.0"))
    assert steps["torch"] == "replace"
    assert {"torch>=2.11", "torchvision>=0.26"} <= set(steps["within"].split())


@pytest.mark.parametrize(
    ("torch", "cuda", "warned"),
    [
        ("2.6.0+cu124", "12.4", True),
        ("2.6.0+cu124", "13.0", False),
        ("2.12.1+cu128", "12.8", False),  # stays
        ("2.6.0+cu124", None, False),
    ],
)
def test_a_driver_too_old_for_the_new_torch_is_named_before_it_is_installed(
    bare: Path, tmp_path: Path, torch: str, cuda: str | None, warned: bool
) -> None:
    driver = tmp_path / "nvidia-smi"
    told = f"CUDA Version: {cuda}" if cuda else "couldn't communicate with the NVIDIA driver"
    driver.write_text(f'#!/bin/sh\necho "| NVIDIA-SMI 550.54.15   {told}     |"\n')
    driver.chmod(0o755)
    said = plan(bare, beside=pretend(tmp_path / "here", torch=torch), tools=tmp_path)["said"]
    assert (f"The driver here runs CUDA up to {cuda}" in said) == warned
    assert ("would see no GPU" in said) == warned


def test_the_cuda_that_drivers_are_compared_with_is_the_locks() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.findall(r"^cuda-toolkit==(\d+)", lock, re.MULTILINE) == [str(bootstrap.TORCH_CUDA)]


def test_where_all_is_here_nothing_is_done(bare: Path, tmp_path: Path) -> None:
    needed = {need.requirement.name: "99.0" for need in bootstrap.read_needs("gpu")}
    steps = plan(bare, beside=pretend(tmp_path, **needed, vcr1_lib="0.1.0"))
    assert "nothing to install, no restart" in steps["said"]
    assert steps["within"] == ""


def test_an_unknown_extra_is_named(bare: Path) -> None:
    done = subprocess.run(
        [bare, "tools/bootstrap.py", "--extra", "gpus"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: expected an extra of train, ")


def test_it_never_restarts_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    restarts: list[list[str]] = []
    installed = {"numpy": "1.0"}
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--extra", ""])
    monkeypatch.setattr(bootstrap, "version_of", installed.get)
    monkeypatch.setattr(bootstrap, "restart", restarts.append)
    monkeypatch.setattr(bootstrap, "loaded_versions", lambda: {"numpy": installed["numpy"]})

    monkeypatch.setattr(bootstrap, "install", lambda needs, extra: None)
    with pytest.raises(SystemExit, match="a restart would not help"):
        bootstrap.main()
    assert restarts == [], "what pip did not mend, a restart does not either"

    def install(needs: object, extra: str) -> None:
        installed.update(numpy="2.4.6", vcr1_lib="0.1.0")

    monkeypatch.setattr(bootstrap, "install", install)
    bootstrap.main()
    assert restarts == [["numpy"]]
    bootstrap.main()
    assert restarts == [["numpy"]]
    assert "nothing to install, no restart" in capsys.readouterr().out


def test_nothing_loaded_changed_so_nothing_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: dict[str, str] = {}
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--extra", ""])
    monkeypatch.setattr(bootstrap, "version_of", installed.get)
    monkeypatch.setattr(bootstrap, "loaded_versions", lambda: {"packaging": None})
    monkeypatch.setattr(bootstrap, "restart", lambda changed: pytest.fail("restarted"))
    monkeypatch.setattr(
        bootstrap, "install", lambda *_: installed.update(numpy="2.4.6", vcr1_lib="0.1.0")
    )
    bootstrap.main()


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_notebook_starts_with_the_same_cell(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert f"{code[0].source}\n".startswith(SETUP)


def test_the_first_cell_fetches_the_project_where_only_a_page_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, page_only = tmp_path / "project", tmp_path / "content"
    for name in ("pyproject.toml", "tools/bootstrap.py", "data_samples/PROVENANCE.md"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    page_only.mkdir()
    who = ["-c", "user.name=a", "-c", "user.email=b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    monkeypatch.setenv("VCR1_REPOSITORY", str(project))
    where = new_code_cell("print(Path.cwd().name, sorted(map(str, Path().glob('*.toml'))))")
    for _ in range(2):  # the second time as after a restart: the project is there already
        page = new_notebook(cells=[new_code_cell(SETUP), where])
        place = {"metadata": {"path": str(page_only)}}
        NotebookClient(page, timeout=120, resources=place).execute()
        said = "".join(output.text for output in page.cells[0].outputs)
        assert "nothing to install, no restart" in said
        assert page.cells[1].outputs[0].text == "course ['pyproject.toml']\n"
    assert "already exists" not in said
    monkeypatch.delenv("VCR1_REPOSITORY")
    page = new_notebook(cells=[new_code_cell(SETUP)])
    place = {"metadata": {"path": str(tmp_path)}}
    with pytest.raises(CellExecutionError, match="'VCR1_REPOSITORY'"):
        NotebookClient(page, timeout=120, resources=place).execute()


def test_in_a_notebook_it_stops_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="error: no"):
        bootstrap.stop("no")
    monkeypatch.setattr(builtins, "get_ipython", lambda: None, raising=False)
    with pytest.raises(RuntimeError, match="no"):
        bootstrap.stop("no")


def test_what_pip_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Widgets of any version are a need of no extra, and an old torchao keeps PEFT from work."""
    told: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        told.append(command[command.index("--disable-pip-version-check") + 1 :])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bootstrap.subprocess, "run", run)
    for found, removed in (("0.10.0", True), ("0.16.0", False), (None, False)):
        told.clear()
        monkeypatch.setattr(bootstrap, "version_of", {"torchao": found}.get)
        bootstrap.install(bootstrap.read_needs("gpu"), "gpu")
        assert (["uninstall", "--yes", "torchao"] in told) is removed
        assert told[-1][-2:] == [f"{ROOT}[gpu]", "ipywidgets"]
