"""The examples of ``docs/own_experiment.md`` end by saying what is printed below them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(
    r"^## ([^\n]+)\n.*?```python\n(.*?)```\s*```\n(.*?)```",
    (ROOT / "docs" / "own_experiment.md").read_text(encoding="utf-8"),
    flags=re.DOTALL | re.MULTILINE,
)


def test_there_are_three_examples() -> None:
    titles = ["Your reward, in TRL", "Your dataset, in our trainer"]
    assert [title for title, *_ in EXAMPLES] == [*titles, "Our metrics, on your predictions"]


# TRL itself warns, and it says how training goes.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("code", "printed"), [e[1:] for e in EXAMPLES], ids=lambda _: "")
def test_an_example_says_what_stands_below_it(
    code: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "own_experiment.md", "exec"), {"__name__": "__main__"})
    ours = [line for line in said.getvalue().splitlines() if not line.startswith("{'")]
    assert printed.strip()
    assert ours == printed.splitlines()


def test_the_papers_mixture_trains_on_samples_of_its_files(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "one_gpu.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (command,) = re.findall(r"^python train_18k.py (.*?)\n(?! )", page, re.DOTALL | re.MULTILINE)
    script = tmp_path / "train_18k.py"
    script.write_text(code, encoding="utf-8")
    options = command.replace("\\\n", " ").replace("runs/18k-samples", str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, str(script), *options.split(), "--log_completions", "true"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "got10k: 1 row, the paper has 9335" in done.stderr
    rows = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = {key for row in map(json.loads, rows) for key in row}
    for reward in ("format", "temporal_iou", "track_iou", "interval_set_iou", "option"):
        assert any(key.startswith(f"rewards/{reward}_reward") for key in logged), reward
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
