"""Write the README's table of notebooks from their metadata and from measured receipts.

    python -m tools.notebook_table                # write the table
    python -m tools.notebook_table --measure      # run every notebook first, about 10 minutes
    python -m tools.notebook_table --measure 05   # only those whose names begin so

A notebook says in its metadata what its reader can do at the end and where it runs:
``{"vcr1": {"goal": ..., "tier": "cpu"}}``. Time and memory are what a run of all its cells took,
as the tests run them, on an otherwise idle machine; `benchmarks/results/notebooks.json` has them.
A link to Colab needs the project's address: ``Repository`` under ``project.urls`` of
``pyproject.toml``, on GitHub.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
RECEIPTS = ROOT / "benchmarks" / "results" / "notebooks.json"
START, END = "<!-- python -m tools.notebook_table -->\n", "<!-- end -->"
HEAD = (
    "| # | notebook | you can, at the end | tier | minutes | peak GB | Colab |\n"
    "|---|---|---|---|---|---|---|\n"
)
HOW = "[how](docs/own_videos.md#on-colab-and-kaggle)"
POLL_SECONDS = 0.2
BUSY_PERCENT, BUSY = 20, " \\*"


def run(notebook: Path) -> dict[str, float]:
    """Run a notebook as the tests do, into a file that is thrown away; watch its processes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute"]
        command += ["--output-dir", folder, "--log-level", "ERROR", str(notebook)]
        quiet = {"VCR1_TEST": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        busy = psutil.cpu_percent(interval=2)  # of all cores, by others
        began = time.perf_counter()
        process = psutil.Popen(command, cwd=ROOT, env=os.environ | quiet)
        peak, used = 0, {}
        while process.poll() is None:
            resident = 0
            for one in [process, *process.children(recursive=True)]:
                try:
                    with one.oneshot():
                        resident += one.memory_info().rss
                        times = one.cpu_times()
                        used[one.pid] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, resident)
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(sum(used.values()), 1),
        "peak_gb": round(peak / 1e9, 2),
        "busy_before_percent": busy,
    }


def measure(names: list[str]) -> None:
    """Run notebooks one after the other, and keep what each took."""
    told = json.loads(RECEIPTS.read_text(encoding="utf-8")) if RECEIPTS.exists() else {}
    told |= {
        "command": "python -m tools.notebook_table --measure",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, Python {platform.python_version()}",
        "peak_gb": "resident memory of the run's processes, added up, every 0.2 s",
    }
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if not names or path.name.startswith(tuple(names)):
            told.setdefault("notebooks", {})[path.stem] = run(path)
            print(path.stem, told["notebooks"][path.stem])
            RECEIPTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def colab_link(address: str, path: str) -> str:
    """Link to a notebook on Colab, or to how it is brought there where no address is known.

    >>> colab_link("https://github.com/me/course", "notebooks/00_start_here.ipynb")
    '[open](https://colab.research.google.com/github/me/course/blob/HEAD/notebooks/00_start_here.ipynb)'
    """
    project = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?/?", address)
    if project is None:
        return HOW
    return f"[open](https://colab.research.google.com/github/{project[1]}/blob/HEAD/{path})"


def cells(receipt: dict[str, float] | None) -> tuple[str, str]:
    """Write minutes, rounded up, and GB; a time beside other work is marked."""
    if receipt is None:
        return "not measured", "not measured"
    minutes = f"{-(-receipt['seconds'] // 60):.0f}"
    minutes += BUSY * (receipt["busy_before_percent"] > BUSY_PERCENT)
    return minutes, f"{receipt['peak_gb']:.1f}"


def table(receipts: dict[str, Any], address: str) -> str:
    """Write the table; a notebook that does not say its goal and tier is named."""
    rows = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        told = notebook["metadata"].get("vcr1", {})
        if not {"goal", "tier"} <= set(told):
            wanted = 'expected {"vcr1": {"goal": ..., "tier": ...}} in the metadata'
            raise ValueError(f"{path.name}: {wanted}, got {told}")
        number, title = re.findall(r"# (\d+) · (.+)", "".join(notebook["cells"][0]["source"]))[0]
        place = path.relative_to(ROOT).as_posix()
        minutes, memory = cells(receipts.get("notebooks", {}).get(path.stem))
        row = [f"[{number}]({place})", title, told["goal"], told["tier"], minutes, memory]
        rows.append(f"| {' | '.join([*row, colab_link(address, place)])} |\n")
    text = HEAD + "".join(rows)
    mark = f"\n{BUSY.strip()} beside other work; alone it is quicker.\n"
    text += mark * any(BUSY in row for row in rows)
    source = f"\nMinutes and memory: [receipts]({RECEIPTS.relative_to(ROOT).as_posix()}).\n"
    return text + source * bool(receipts)


def readme() -> tuple[str, str]:
    """Return the README as it is, and as it should be."""
    told = json.loads(RECEIPTS.read_text(encoding="utf-8")) if RECEIPTS.exists() else {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END, 1)
    made = table(told, project.get("urls", {}).get("Repository", ""))
    return text, before + START + made + END + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs="*", metavar="NAME", help="run notebooks first")
    names = parser.parse_args().measure
    if names is not None:
        measure(names)
    (ROOT / "README.md").write_text(readme()[1], encoding="utf-8")


if __name__ == "__main__":
    main()
