"""Make a hosted notebook ready: Colab, Kaggle, any Python 3.11 that has pip.

    python tools/bootstrap.py --dry-run    # say what would be done, do nothing

Versions decide, not whether an import works. A package that is new enough stays; the platform's
torch, which fits its driver, is not even moved by what other packages ask for. Bounds come from
``pyproject.toml``, not from the lock: platforms bring their own Python and torch.
"""

from __future__ import annotations

import argparse
import builtins
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, NoReturn

try:
    from packaging.requirements import Requirement
except ImportError:  # a bare environment: pip has a copy of its own
    from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NAME = "vcr1_lib"
OLDEST_PYTHON = (3, 11)
# Built for the machine, or loaded by every kernel: never moved while new enough.
PLATFORM = ("numpy", "torch", "torchvision")
# PEFT refuses to add adapters beside an older one, and nothing here uses it.
HINDRANCE = Requirement("torchao<0.16")
# Colab's page draws widgets for the version that Colab brings; none is moved, one is needed.
ANY_VERSION = "ipywidgets"
# The newest torch on the package index is built for it; an older driver shows it no GPU.
TORCH_CUDA = 13


class Need(NamedTuple):
    requirement: Requirement
    installed: str | None

    @property
    def is_met(self) -> bool:
        wanted = self.requirement.specifier
        return self.installed is not None and wanted.contains(self.installed, prereleases=True)


def version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read_needs(extra: str) -> list[Need]:
    """What the package and one of its extras ask for on this machine."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    if extra and extra not in extras:
        stop(f"expected an extra of {', '.join(extras)}, got {extra!r}")
    texts = [*project["dependencies"], *extras.get(extra, []), *[ANY_VERSION] * bool(extra)]
    needs = []
    for requirement in map(Requirement, texts):
        if requirement.name == NAME:
            needs += [need for inner in sorted(requirement.extras) for need in read_needs(inner)]
        elif requirement.marker is None or requirement.marker.evaluate():
            needs.append(Need(requirement, version_of(requirement.name)))
    return list({need.requirement.name: need for need in needs}.values())


def constraints(needs: list[Need]) -> list[str]:
    """Lower bounds for all; the platform's own builds exactly as they are, if new enough."""
    met = {need.requirement.name for need in needs if need.is_met}
    if "torch" not in met:
        met.discard("torchvision")  # goes with its torch
    return [
        f"{need.requirement.name}=={need.installed}"
        if need.requirement.name in met.intersection(PLATFORM)
        else f"{need.requirement.name}{need.requirement.specifier}"
        for need in needs
    ]


def describe(needs: list[Need]) -> list[str]:
    lines = []
    for requirement, installed in needs:
        is_met = Need(requirement, installed).is_met
        verb = "keep" if is_met else "replace" if installed else "install"
        found = f", {installed} is here" if installed else ""
        lines.append(f"{verb:8}{requirement.name}{requirement.specifier}{found}")
    return lines


def loaded_versions() -> dict[str, str | None]:
    """Distributions of which this process has loaded a module, with their versions."""
    owners = metadata.packages_distributions()
    names = {name for module in list(sys.modules) for name in owners.get(module, ())}
    return {name: version_of(name) for name in names}


def in_the_way() -> bool:
    """Whether the platform brought a package beside which adapters cannot be added."""
    found = version_of(HINDRANCE.name)
    return found is not None and HINDRANCE.specifier.contains(found)


def driver_cuda() -> str | None:
    """The newest CUDA that the NVIDIA driver here can run; ``None`` without a driver."""
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    told = subprocess.run([program], capture_output=True, text=True).stdout
    found = re.search(r"CUDA Version: *(\d+\.\d+)", told)
    return found[1] if found else None


def old_driver(needs: list[Need]) -> str:
    """One sentence if torch is about to be replaced by one that the driver cannot run, or none."""
    moved = any(need.requirement.name == "torch" and not need.is_met for need in needs)
    cuda = driver_cuda() if moved else None
    major = int(cuda.partition(".")[0]) if cuda else TORCH_CUDA
    if major >= TORCH_CUDA:
        return ""
    return (
        f"The driver here runs CUDA up to {cuda}, and pip's newest torch is built for CUDA "
        f"{TORCH_CUDA}: it would see no GPU. First install a torch that is new enough and built "
        f"for CUDA {major}, or choose a runtime with a newer driver."
    )


def stop(message: str) -> NoReturn:
    """End a program, or a notebook's cell: there ``%run`` would go on after a SystemExit."""
    if "get_ipython" in vars(builtins):
        raise RuntimeError(message)
    sys.exit(f"error: {message}")


def install(needs: list[Need], extra: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bounds = Path(folder) / "constraints.txt"
        bounds.write_text("\n".join(constraints(needs)) + "\n", encoding="utf-8")
        targets = [f"{ROOT}[{extra}]" if extra else str(ROOT)]
        targets += [ANY_VERSION] * any(need.requirement.name == ANY_VERSION for need in needs)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        if in_the_way():
            subprocess.run([*pip, "uninstall", "--yes", HINDRANCE.name])
        done = subprocess.run([*pip, "install", "--constraint", str(bounds), *targets])
    if done.returncode:
        stop("pip could not install the packages above; its own message says why")
    importlib.invalidate_caches()


def restart(changed: list[str]) -> None:
    """Only a new process can load a package anew; cells that wait must not run in the old one."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if (kernel := getattr(shell, "kernel", None)) is not None:
        kernel.do_shutdown(True)
    stop(f"Restarting, since {', '.join(changed)} changed. Then run this notebook from the top.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", default="gpu", help="of pyproject.toml; '' for NumPy only")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    told = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        stop("Python 3.11 or newer is needed, this is " + sys.version.split()[0])
    needs = read_needs(told.extra)
    print("\n".join(describe(needs)))
    hindered = in_the_way()
    if hindered:
        print(f"remove  {HINDRANCE.name}, which is too old for PEFT and not needed")
    if all(need.is_met for need in needs) and version_of(NAME) and not hindered:
        print("Everything is here: nothing to install, no restart.")
        return
    print(f"pip installs {NAME} and what is missing, within: {' '.join(constraints(needs))}")
    print("On a bare machine that is 3.5 GB and some minutes. It may say in red that packages of")
    print("the platform, which nothing here uses, wanted other versions: that does no harm.")
    print("If a package changes that is already loaded, the kernel restarts, once, after that.")
    if warning := old_driver(needs):
        print(warning)
    if told.dry_run:
        return
    before = loaded_versions()
    install(needs, told.extra)
    if missing := [
        line for line in describe(read_needs(told.extra)) if not line.startswith("keep")
    ]:
        stop("still not as needed, a restart would not help:\n" + "\n".join(missing))
    if changed := [name for name, version in before.items() if version_of(name) != version]:
        restart(changed)
    else:
        print("Ready.")


if __name__ == "__main__":
    main()
