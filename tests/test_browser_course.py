"""Every notebook as a reader opens it in JupyterLab: drawn whole, and quiet."""

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
    STEP_SECONDS,
    lab,
    wait_for_server,
)

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what is served: the notebooks as they are stored."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
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
