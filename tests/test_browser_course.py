"""Every notebook as a reader opens it in JupyterLab: drawn whole, quiet, and moved by keys."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from test_browser import (
    CHROMIUM,
    FLAGS,
    NOTEBOOK,
    RUN_SECONDS,
    STEP_SECONDS,
    keep,
    lab,
    run_all_cells,
    wait_for_server,
)

from vcr1_lib.plots.token_views import describe_budget

__all__ = ["lab"]

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# How JupyterLab marks what it has drawn of each kind of output. Widgets need a kernel that has run
# their notebook, and SVG a reader who trusts it: the next test and ``test_browser`` run some.
DRAWN = {
    "application/vnd.plotly.v1+json": ".jp-RenderedPlotly:has(.main-svg)",
    "image/png": ".jp-OutputArea-output.jp-RenderedImage img",
}
ERRORS = "[data-mime-type*=error]"
WITH_WIDGETS = ("03_grpo_from_scratch",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what is served, beside what it reads: notebooks as stored, and without outputs."""
    folder = tmp_path_factory.mktemp("course")
    for place in (folder, folder / "fresh"):
        shutil.copytree(ROOT / "notebooks", place / "notebooks")
        for name in ("benchmarks", "configs", "data_samples", "docs", "scripts"):
            (place / name).symlink_to(ROOT / name)
    for path in (folder / "fresh" / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.pop("widgets", None)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    return folder


@pytest.fixture(scope="module")
def tab(lab: str) -> Iterator[Any]:
    from playwright.sync_api import Error, sync_playwright

    assert CHROMIUM is not None, "VCR1_REQUIRE_BROWSER=1, but there is no Chromium on PATH"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        tab.set_default_timeout(1000 * STEP_SECONDS)
        tab.refused, tab.said = Error, []
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.on("console", lambda m: tab.said.append(m.text) if m.type == "error" else None)
        wait_for_server(tab, lab)
        yield tab
        browser.close()


def open_notebook(tab: Any, lab: str, path: str) -> Any:
    """Open a notebook in a workspace of its own; return its panel."""
    tab.said.clear()
    workspace = re.sub(r"\W", "-", path)
    tab.goto(lab.replace("/tree/", f"/workspaces/{workspace}/tree/").replace(NOTEBOOK, path))
    panel = tab.locator(".jp-NotebookPanel:visible")
    panel.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    return panel


def kinds(notebook: Any) -> Counter[str]:
    """Count the outputs of a notebook by the kind that JupyterLab chooses to draw."""
    outputs = [o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", [])]
    return Counter(next((kind for kind in DRAWN if kind in data), "text") for data in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_shows_all_its_outputs(tab: Any, lab: str, path: Path) -> None:
    panel = open_notebook(tab, lab, f"notebooks/{path.name}")
    notebook = nbformat.read(path, as_version=4)
    wanted = kinds(notebook)
    for kind, place in DRAWN.items():
        if wanted[kind]:
            panel.locator(place).nth(wanted[kind] - 1).wait_for(state="attached")
        assert panel.locator(place).count() == wanted[kind], kind
    assert panel.locator(".jp-Cell").count() == len(notebook.cells)
    assert panel.locator(ERRORS).count() == 0
    # Plotly keeps an empty picture for its snapshots.
    broken = "all => all.filter(i => i.getAttribute('src') && !i.naturalWidth).map(i => i.alt)"
    assert panel.locator("img").evaluate_all(broken) == []
    assert tab.said == []


def text_of(widget: Any) -> str:
    return widget.locator(".widget-output pre").first.inner_text().strip()


def changed(tab: Any, widget: Any, before: str) -> str:
    for _ in range(STEP_SECONDS):
        pre = widget.locator(".widget-output pre")
        if pre.count() and (now := text_of(widget)) != before:
            return now
        tab.wait_for_timeout(200)
    pytest.fail(f"a key was pressed, and it still shows {before!r}")


@pytest.mark.parametrize("name", WITH_WIDGETS)
def test_a_notebook_runs_and_its_dials_follow_the_keys(tab: Any, lab: str, name: str) -> None:
    panel = open_notebook(tab, lab, f"fresh/notebooks/{name}.ipynb")
    run_all_cells(tab)
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    count = sum(cell.cell_type == "code" for cell in cells)
    last = panel.locator(".jp-InputPrompt", has_text=re.compile(rf"^\[{count}\]:$"))
    last.wait_for(timeout=1000 * RUN_SECONDS)
    assert panel.locator(ERRORS).count() == 0

    widget = panel.locator(".widget-interact")
    widget.scroll_into_view_if_needed()
    shown = text_of(widget)
    # The notebook's own sweep has left every control at its end.
    for role, key in (("slider", "ArrowLeft"), ("combobox", "ArrowUp")):
        for control in widget.get_by_role(role).all():
            control.focus()
            control.press(key)
            shown = changed(tab, widget, shown)
    assert widget.locator("[role=slider], select").count() >= 2
    if name.startswith("01"):
        fps, pixels = (float(t) for t in widget.locator(".widget-readout").all_inner_texts())
        assert shown == describe_budget(fps, int(pixels))
    keep(widget, f"dials_{name[:2]}")
    assert tab.said == []
