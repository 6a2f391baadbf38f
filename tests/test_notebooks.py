"""Every notebook is stored executed, clean and small; every script is what it exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.export_scripts import export

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MAX_BYTES = 1_500_000
MAX_IGNORED_SHARE = 0.25
MEDIAN_CELL_LINES, MAX_CELL_LINES = 8, 30
IGNORING_TAGS = {"nbval-ignore-output", "nbval-skip"}
IGNORING_COMMENTS = re.compile(r"^\s*#\s*(NBVAL_IGNORE_OUTPUT|NBVAL_SKIP)\s*$", re.MULTILINE)
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/+-])/(home|root|Users|work|tmp)/\w|\b[A-Z]:\\")
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|(?:href|src)=\"([^\"]+)\"")
OLD_IMAGE = re.compile(r"IPython\.display import .*\bImage\b")
ELSEWHERE = re.compile(r"^([a-z]+:|//)")


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def is_ignored(cell: Any) -> bool:
    return bool(tags(cell) & IGNORING_TAGS) or IGNORING_COMMENTS.search(cell.source) is not None


def output_texts(cell: Any) -> list[str]:
    """Return what a cell's outputs say, pictures left out."""
    texts = []
    for output in cell.outputs:
        texts += [str(output.get("text", "")), *output.get("traceback", [])]
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/") or kind == "image/svg+xml":
                texts.append(data if isinstance(data, str) else json.dumps(data))
    return texts


def broken_links(path: Path, cells: list[Any]) -> list[str]:
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    links = [a or b for text in prose for a, b in LINK.findall(text)]
    files = [unquote(link.partition("#")[0]) for link in links if not ELSEWHERE.match(link)]
    return [file for file in files if file and not (path.parent / file).exists()]


def problems(path: Path) -> list[str]:
    """Return what keeps a notebook from being shipped, one sentence each."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    lengths = [len(cell.source.splitlines()) for cell in code if "export" not in tags(cell)]
    found = []
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        found.append(f"not a valid notebook: {error.message}")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("not executed from top to bottom in a fresh kernel")
    if any(output.output_type == "error" for output in outputs):
        found.append("an output is an error")
    if any(ABSOLUTE_PATH.search(text) for cell in code for text in output_texts(cell)):
        found.append("an output holds an absolute path")
    if any(OLD_IMAGE.search(cell.source) for cell in code):
        found.append("IPython 7.34, which Colab has, knows no alt: take vcr1_lib.plots.Picture")
    if path.stat().st_size > MAX_BYTES:
        found.append(f"larger than {MAX_BYTES} bytes")
    if sum(map(is_ignored, code)) > MAX_IGNORED_SHARE * len(code):
        found.append("too many cells whose output is not compared")
    if lengths and (median(lengths) > MEDIAN_CELL_LINES or max(lengths) > MAX_CELL_LINES):
        found.append(f"code cells too long: median {median(lengths)}, longest {max(lengths)} lines")
    found += [f"a link leads nowhere: {link}" for link in broken_links(path, notebook.cells)]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_can_be_shipped(path: Path) -> None:
    assert problems(path) == []


def test_every_roadmap_is_the_same_road_with_another_step_lit() -> None:
    said = {}
    for path in NOTEBOOKS[1:]:
        first = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells[0].source
        said[path.name] = re.findall(r"^\*\*Roadmap\*\*: (.*)$", first, re.MULTILINE)
    assert all(len(roads) == 1 for roads in said.values()), said
    (road,) = {re.sub(r"\*\*(.+) \(here\)\*\*", r"\1", one) for (one,) in said.values()}
    assert "here" not in road
    assert len({one for (one,) in said.values()}) == len(said)


def test_scripts_are_what_the_notebooks_export() -> None:
    exported = dict(filter(None, map(export, NOTEBOOKS)))
    written = {path.name: path.read_bytes() for path in (ROOT / "scripts").glob("*.py")}
    assert sorted(written) == sorted(exported), "run python -m tools.export_scripts"
    for name, text in exported.items():
        assert written[name] == text.encode(), f"{name}: run python -m tools.export_scripts"


def executed(source: str, count: int, *, outputs: tuple[Any, ...] = (), **metadata: Any) -> Any:
    return new_code_cell(source, execution_count=count, outputs=list(outputs), metadata=metadata)


def sound_notebook() -> Any:
    said = new_output(
        "stream", name="stdout", text="https://example.org/home/page and tests/home/x\n"
    )
    cells = [
        new_markdown_cell("[next](next.ipynb#top), [site](https://example.org), [up](#top)"),
        *(executed(f"print({i})", i, outputs=(said,)) for i in range(1, 5)),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def no_change(notebook: Any) -> None:
    pass


def unexecuted(notebook: Any) -> None:
    notebook.cells[2].execution_count = None


def out_of_order(notebook: Any) -> None:
    notebook.cells[2].execution_count = 7


def with_error(notebook: Any) -> None:
    error = new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
    notebook.cells[1].outputs = [error]


def with_path_in_text(notebook: Any) -> None:
    notebook.cells[1].outputs = [new_output("stream", text="saved to /" + "tmp/run")]


def with_path_in_repr(notebook: Any) -> None:
    data = {"text/plain": "WindowsPath('C:\\\\run')"}
    notebook.cells[1].outputs = [new_output("execute_result", data=data, execution_count=1)]


def with_path_in_figure(notebook: Any) -> None:
    data = {"application/vnd.plotly.v1+json": {"layout": {"title": "in /" + "root/run"}}}
    notebook.cells[1].outputs = [new_output("display_data", data=data)]


def too_large(notebook: Any) -> None:
    data = {"image/png": "A" * (MAX_BYTES + 1)}
    notebook.cells[1].outputs = [new_output("display_data", data=data)]


def mostly_ignored(notebook: Any) -> None:
    notebook.cells[1].metadata["tags"] = ["nbval-skip"]
    notebook.cells[2].source += "\n# NBVAL_IGNORE_OUTPUT"


def one_long_cell(notebook: Any) -> None:
    notebook.cells[1].source = "x = 1\n" * (MAX_CELL_LINES + 1)


def many_longish_cells(notebook: Any) -> None:
    for cell in notebook.cells[2:]:
        cell.source = "x = 1\n" * (MEDIAN_CELL_LINES + 1)


def long_but_exported(notebook: Any) -> None:
    notebook.cells[1].source = "x = 1\n" * (MAX_CELL_LINES + 1)
    notebook.cells[1].metadata["tags"] = ["export"]


def other_kernel(notebook: Any) -> None:
    notebook.metadata.kernelspec.name = "my-venv"


def dead_link(notebook: Any) -> None:
    notebook.cells[0].source += " [gone](gone.ipynb)"


def invalid(notebook: Any) -> None:
    notebook.cells[1].outputs = [{"output_type": "stream", "text": 3, "name": "stdout"}]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (no_change, []),
        (unexecuted, ["not executed from top to bottom in a fresh kernel"]),
        (out_of_order, ["not executed from top to bottom in a fresh kernel"]),
        (with_error, ["an output is an error"]),
        (with_path_in_text, ["an output holds an absolute path"]),
        (with_path_in_repr, ["an output holds an absolute path"]),
        (with_path_in_figure, ["an output holds an absolute path"]),
        (too_large, ["larger than 1500000 bytes"]),
        (mostly_ignored, ["too many cells whose output is not compared"]),
        (one_long_cell, ["code cells too long: median 1.0, longest 31 lines"]),
        (many_longish_cells, ["code cells too long: median 9.0, longest 9 lines"]),
        (long_but_exported, []),
        (other_kernel, ["the kernel is not python3"]),
        (dead_link, ["a link leads nowhere: gone.ipynb"]),
        (invalid, ["not a valid notebook: 3 is not valid under any of the given schemas"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_guard_sees_a_bad_notebook(
    tmp_path: Path, change: Callable[[Any], None], expected: list[str]
) -> None:
    notebook = sound_notebook()
    change(notebook)
    (tmp_path / "next.ipynb").touch()
    path = tmp_path / "this.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert problems(path) == expected


def test_a_script_is_its_tagged_cells_and_a_call_of_main(tmp_path: Path) -> None:
    notebook = sound_notebook()
    notebook.metadata["vcr1"] = {"script": "run"}
    notebook.cells[1].metadata["tags"] = ["export"]
    notebook.cells[3].metadata["tags"] = ["export", "nbval-skip"]
    path = tmp_path / "this.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    footer = 'if __name__ == "__main__":\n    main()\n'
    assert export(path) == ("run.py", f"print(1)\n\n\nprint(3)\n\n\n{footer}")
    del notebook.metadata["vcr1"]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert export(path) is None


def test_nbval_compares_what_matters_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    notebook = sound_notebook()
    env = "import os, sys\nprint(os.environ['VCR1_TEST'], os.environ['HF_HUB_OFFLINE'])"
    said = [new_output("stream", name="stdout", text=text) for text in ("1 1\n", "before\n")]
    notebook.cells[1:] = [
        executed(env, 1, outputs=(said[0],)),
        executed("print('now', file=sys.stderr)", 2),
        executed("print('now')", 3, outputs=(said[1],), tags=["nbval-ignore-output"]),
        executed("print('now')", 4, outputs=(said[1],)),
        executed("print('after a failure')", 5),
    ]
    (tmp_path / "this.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    shutil.copy(ROOT / "conftest.py", tmp_path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval",
        "--nbval-current-env",
        "-W",
        "error",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "1 failed, 3 passed, 1 skipped" in run.stdout
    assert "the output of 1 of 5 cells (20%) is ignored" in run.stdout
