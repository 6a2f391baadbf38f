"""The README's table of notebooks is made from their metadata and from receipts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import notebook_table
from tools.notebook_table import HOW, RECEIPTS, cells, colab_link, readme, run, table

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
RECEIPT = {"seconds": 61.0, "cpu_seconds": 80.0, "peak_gb": 1.25, "busy_before_percent": 2.5}


def test_the_readme_shows_what_the_tool_writes() -> None:
    stored, made = readme()
    assert stored == made, "run python -m tools.notebook_table"


@pytest.mark.skipif(not RECEIPTS.exists(), reason="not measured yet")
def test_every_notebook_has_a_receipt_and_no_other() -> None:
    told = json.loads(RECEIPTS.read_text(encoding="utf-8"))
    assert set(told["notebooks"]) == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert all(set(receipt) == set(RECEIPT) for receipt in told["notebooks"].values())


def test_minutes_are_rounded_up_and_a_busy_machine_is_marked() -> None:
    assert cells(RECEIPT) == ("2", "1.2")
    assert cells(RECEIPT | {"busy_before_percent": 90.0}) == ("2 \\*", "1.2")
    assert cells(None) == ("not measured", "not measured")


def test_a_link_to_colab_is_made_for_a_known_address_only() -> None:
    path = "notebooks/00_start_here.ipynb"
    opened = f"[open](https://colab.research.google.com/github/me/course/blob/HEAD/{path})"
    assert colab_link("https://github.com/me/course", path) == opened
    assert colab_link("https://github.com/me/course.git", path) == opened
    assert colab_link("", path) == colab_link("https://example.org/me/course", path) == HOW


def written(folder: Path, **vcr1: str) -> Path:
    (folder / "notebooks").mkdir()
    path = folder / "notebooks" / "03_odd.ipynb"
    code = {"cell_type": "code", "id": "b", "metadata": {}, "execution_count": None,
            "outputs": [],
            "source": "import time\nheld = b'x' * 200_000_000\ntime.sleep(1)"}  # fmt: skip
    title = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# 03 · Odd"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook: dict[str, Any] = {
        "cells": [title, code], "metadata": {"kernelspec": kernel, "vcr1": vcr1},
        "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def test_a_notebook_without_a_goal_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, tier="cpu")
    monkeypatch.setattr(notebook_table, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"03_odd\.ipynb: expected"):
        table({}, "")


def test_a_run_is_measured_with_its_kernel(tmp_path: Path) -> None:
    receipt = run(written(tmp_path, goal="nothing", tier="cpu"))
    assert set(receipt) == set(RECEIPT)
    assert receipt["seconds"] > 0
    # The kernel's 200 MB are in another process than the one that was started.
    assert 0.2 < receipt["peak_gb"] < 2
