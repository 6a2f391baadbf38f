"""Every notebook as a reader opens it in JupyterLab: drawn whole, run, moved by keys, hovered."""

from __future__ import annotations

import base64
import json
import re
import shutil
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from test_browser import (
    CHROMIUM,
    FLAGS,
    NOTEBOOK,
    RUN_SECONDS,
    STEP_SECONDS,
    TOKEN,
    assert_labelled,
    keep,
    lab,
    run_all_cells,
    wait_for_server,
)

from vcr1_lib.inference.clues import denser_times
from vcr1_lib.plots import read_log, smooth
from vcr1_lib.plots.answers import kept_answers
from vcr1_lib.plots.mask_view import mask_picture
from vcr1_lib.plots.token_views import describe_budget
from vcr1_lib.video import read_clip
from vcr1_lib.widgets.labelling import NUM_FRAMES, VIEW_PIXELS

__all__ = ["lab"]

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# How JupyterLab marks what it has drawn of each kind of output. Widgets need a kernel that has run
# their notebook, and SVG a reader who trusts it: the second test and ``test_browser`` run all.
DRAWN = {
    "application/vnd.plotly.v1+json": ".jp-RenderedPlotly:has(.main-svg)",
    "image/png": ".jp-OutputArea-output.jp-RenderedImage img",
}
ERRORS = "[data-mime-type*=error]"
REPLAY = """\
from vcr1_lib.plots import read_log, run_figure, show
from vcr1_lib.plots.answers import kept_answers, with_answers

run = "data_samples/runs/sick/healthy/"
answers = kept_answers(read_log(run + "completions.jsonl"))
show(with_answers(run_figure(read_log(run + "metrics.jsonl")), answers))"""
# Where a point of a Plotly figure lies in the window.
PLACE = """(plot, [curve, point]) => {
  const trace = plot._fullData[curve], box = plot.getBoundingClientRect();
  const [x, y] = ["x", "y"].map(way => {
    const axis = plot._fullLayout[way + "axis" + trace[way + "axis"].slice(1)];
    return axis._offset + axis.d2p(trace[way] ? trace[way][point] : point);
  });
  return [box.x + x, box.y + y];
}"""
# A closed list leaves the arrows to the notebook, which moves from cell to cell.
KEYS = {"slider": ["ArrowLeft"], "combobox": ["Alt+ArrowDown", "ArrowUp", "Enter"]}
DATA = "(plot, curve) => Array.from(plot._fullData.find(t => t.name === curve).y)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what is served, beside what it reads: notebooks as stored, and without outputs."""
    folder = tmp_path_factory.mktemp("course")
    for place in (folder, folder / "fresh"):
        shutil.copytree(ROOT / "notebooks", place / "notebooks")
        for name in ("benchmarks", "configs", "data_samples", "docs", "scripts", "tools"):
            (place / name).symlink_to(ROOT / name)
    for path in (folder / "fresh" / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.pop("widgets", None)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    kernel = notebook.metadata.kernelspec
    replay = new_notebook(cells=[new_code_cell(REPLAY)], metadata={"kernelspec": kernel})
    nbformat.write(replay, folder / "fresh" / "replay.ipynb")
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


@pytest.fixture(autouse=True)
def one_kernel(tab: Any, lab: str) -> Iterator[None]:
    """End a notebook's kernel after its test: ten of them would need 15 GB."""
    yield
    tab.goto("about:blank")
    site, headers = lab.partition("/lab")[0], {"Authorization": f"token {TOKEN}"}
    for session in tab.request.get(f"{site}/api/sessions", headers=headers).json():
        tab.request.delete(f"{site}/api/sessions/{session['id']}", headers=headers)


def open_notebook(tab: Any, lab: str, path: str) -> Any:
    """Open a notebook in a workspace of its own; return its panel."""
    tab.said.clear()
    workspace = re.sub(r"\W", "-", path)
    tab.goto(lab.replace("/tree/", f"/workspaces/{workspace}/tree/").replace(NOTEBOOK, path))
    panel = tab.locator(".jp-NotebookPanel:visible")
    panel.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    return panel


def run_notebook(tab: Any, lab: str, folder: Path, path: str) -> Any:
    """Run all cells of a notebook; return its panel once the last is done."""
    panel = open_notebook(tab, lab, path)
    run_all_cells(tab)
    cells = nbformat.read(folder / path, as_version=4).cells
    count = sum(cell.cell_type == "code" for cell in cells)
    last = panel.locator(".jp-InputPrompt", has_text=re.compile(rf"^\[{count}\]:$"))
    errors = panel.locator(ERRORS)
    for _ in range(RUN_SECONDS):
        if last.count() or errors.count():
            break
        tab.wait_for_timeout(1000)
    assert errors.all_inner_texts() == []
    last.wait_for()
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
    # A bar that stands upright may be too low for the pointer.
    first = "p => p._fullData.find(t => t.hoverinfo !== 'skip' && t.orientation !== 'v').name"
    for plot in panel.locator(".js-plotly-plot").all():
        curve = plot.evaluate(first)
        assert hover(tab, plot, curve, 1), f"{curve} says nothing under the pointer"
    assert tab.said == []


def values_of(widget: Any) -> list[str]:
    """Return what each control of ``interact`` is set to, as it says itself."""
    read = "all => all.map(c => c.selectedOptions ? c.selectedOptions[0].label : c.textContent)"
    return widget.locator(".widget-readout, select").evaluate_all(read)


def wait_until_it_shows(
    tab: Any, widget: Any, wanted: Callable[..., str], *, before: list[str]
) -> None:
    """Wait until a control has moved and the output has followed, which comes in pieces."""
    shown = widget.locator(".widget-output pre")
    for _ in range(5 * STEP_SECONDS):
        now, text = values_of(widget), "".join(shown.all_inner_texts()).strip()
        if now != before and text == wanted(*now).strip():
            return
        tab.wait_for_timeout(200)
    assert now != before
    assert text == wanted(*now).strip()


def turn(tab: Any, panel: Any, wanted: Callable[..., str]) -> Any:
    """Move every control of ``interact`` by keys; what is printed follows."""
    widget = panel.locator(".widget-interact")
    widget.scroll_into_view_if_needed()
    # The notebook's own sweep has left every control at its end.
    wait_until_it_shows(tab, widget, wanted, before=[])
    for role, keys in KEYS.items():
        for control in widget.get_by_role(role).all():
            before = values_of(widget)
            control.focus()
            for key in keys:
                tab.keyboard.press(key)
            wait_until_it_shows(tab, widget, wanted, before=before)
            changed = [old != new for old, new in zip(before, values_of(widget), strict=True)]
            assert sum(changed) == 1, role
    assert_labelled(widget)
    return widget


def turn_the_budget(tab: Any, panel: Any, _: Path) -> None:
    keep(turn(tab, panel, lambda fps, pixels: describe_budget(float(fps), int(pixels))), "budget")


def turn_the_mask(tab: Any, panel: Any, _: Path) -> None:
    def lengths(answers: str, longest: str) -> list[int]:
        return [1 + i % int(longest) for i in range(int(answers))]

    def wanted(prompt: str, answers: str, longest: str) -> str:
        spoken = sum(lengths(answers, longest))
        apart = int(answers) * int(prompt) + spoken
        return f"{int(prompt) + spoken} tokens in one row, {apart} in rows of their own"

    widget = turn(tab, panel, wanted)
    prompt, *rest = values_of(widget)
    encoded = widget.locator(".jp-RenderedImage img").get_attribute("src").partition(",")[2]
    assert base64.b64decode(encoded) == mask_picture(int(prompt), lengths(*rest))
    keep(widget, "mask")


def turn_the_sick_runs(tab: Any, panel: Any, _: Path) -> None:
    ward = ROOT / "data_samples" / "runs" / "sick"
    names = sorted(path.name for path in ward.iterdir() if path.name != "healthy")
    runs = dict(zip("ABCDEF", names, strict=True)) | {"healthy": "healthy"}

    def wanted(key: str, step: str, count: str) -> str:
        lines = (ward / runs[key] / "completions.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if row["step"] == int(step)]
        told = [(" ".join(f"{v:.2f}" for v in r["rewards"].values()), r) for r in rows]
        return "\n".join(f"paid {paid}  {r['completion'][:66]}" for paid, r in told[: int(count)])

    keep(turn(tab, panel, wanted), "sick_runs")
    # The curves above: the healthy run's score under the pointer is the log's.
    plot = panel.locator(".js-plotly-plot").nth(1)
    scores = [
        r["eval_mIoU"] for r in read_log(ward / "healthy" / "metrics.jsonl") if "eval_mIoU" in r
    ]
    name, words = hover(tab, plot, "healthy", 2)
    assert name == "healthy"
    assert literal_eval(words) == pytest.approx((20, scores[2]), abs=1e-5)


def label_by_key(tab: Any, panel: Any, folder: Path) -> None:
    frame = panel.locator(".widget-slider", has_text="frame")
    frame.scroll_into_view_if_needed()
    choice = panel.locator(".widget-dropdown", has_text="clip").locator("select")
    name = choice.evaluate("c => c.selectedOptions[0].label").split()[1]
    path = folder / "fresh/runs/notebook-06-cpu/videos" / name
    times = read_clip(path, num_frames=NUM_FRAMES, max_pixels=VIEW_PIXELS).times_seconds
    middle = (len(times) - 1) // 2
    panel.get_by_alt_text(f"on show, {times[middle]:.3f} s").wait_for()
    frame.get_by_role("slider").press("ArrowRight")
    panel.get_by_alt_text(f"on show, {times[middle + 1]:.3f} s").wait_for()
    panel.get_by_role("button", name="starts here").press("Enter")
    panel.get_by_alt_text(f"first inside, {times[middle + 1]:.3f} s").wait_for()


def hover(tab: Any, plot: Any, curve: str, point: int) -> list[str]:
    """Put the pointer on a point of a figure; return the words that appear."""
    plot.scroll_into_view_if_needed()
    find = "(plot, name) => plot._fullData.findIndex(t => t.name === name)"
    x, y = plot.evaluate(PLACE, [plot.evaluate(find, curve), point])
    words = plot.locator(".hoverlayer text")
    tab.mouse.move(x + 3, y)
    tab.mouse.move(x, y)
    words.first.wait_for(state="attached")
    tab.wait_for_timeout(300)  # it follows the pointer with a delay
    return words.evaluate_all("all => all.map(text => text.dataset.unformatted)")


def read_the_training_curve(tab: Any, panel: Any, _: Path) -> None:
    plot = panel.locator(".js-plotly-plot").first
    step, *words, said = hover(tab, plot, "temporal iou", 30)
    assert step == "31"
    assert re.match(r"best, paid [\d.]+: .*<br>worst, paid [\d.]+: ", said)
    shown = {name: float(number) for name, _, number in (word.partition(" : ") for word in words)}
    drawn = {name: plot.evaluate(DATA, name)[30] for name in ("format", "temporal iou")}
    assert shown == pytest.approx(drawn, abs=1e-5)
    keep(plot, "training_curve")


def read_each_tasks_curve(tab: Any, panel: Any, _: Path) -> None:
    log = read_log(ROOT / "data_samples/runs/many_tasks/joint-seed0/metrics.jsonl")
    rewards = smooth([row["reward/grounded_qa"] for row in log if "reward" in row])
    plot = panel.locator(".js-plotly-plot").first
    name, words = hover(tab, plot, "grounded_qa", 100)
    assert name == "grounded_qa"
    assert literal_eval(words) == pytest.approx((101, rewards[100]), abs=1e-5)


def read_the_time_line(tab: Any, panel: Any, _: Path) -> None:
    plot = panel.locator(".js-plotly-plot").last
    seconds = denser_times([], duration_seconds=20, num_frames=12)
    assert hover(tab, plot, "first look", 1) == ["first look", f"{seconds[1]:.2f} s"]
    keep(plot, "time_line")


PARTS = {
    "01_video_to_tokens": turn_the_budget,
    "03_grpo_from_scratch": turn_the_mask,
    "04_first_grpo_run": read_the_training_curve,
    "05_measure_and_diagnose": turn_the_sick_runs,
    "06_qlora_on_one_gpu": label_by_key,
    "07_many_tasks": read_each_tasks_curve,
    "08_clue_driven_reasoning": read_the_time_line,
}


# ``test_browser`` runs 02.
@pytest.mark.parametrize("name", [p.stem for p in NOTEBOOKS if p.name not in NOTEBOOK])
def test_a_notebook_runs_and_its_moving_parts_follow(
    tab: Any, lab: str, folder: Path, name: str
) -> None:
    panel = run_notebook(tab, lab, folder, f"fresh/notebooks/{name}.ipynb")
    if name in PARTS:
        PARTS[name](tab, panel, folder)
    assert tab.said == []


def test_a_steps_answers_appear_under_the_pointer(tab: Any, lab: str, folder: Path) -> None:
    panel = run_notebook(tab, lab, folder, "fresh/replay.ipynb")
    run = ROOT / "data_samples" / "runs" / "sick" / "healthy"
    answers = kept_answers(read_log(run / "completions.jsonl"))
    plot = panel.locator(".js-plotly-plot")
    for point, (step, lines) in enumerate(answers.items()):
        first, *words = hover(tab, plot, "answers kept", point)
        assert (first, words[-1]) == (f"{step}", "<br>".join(map(escape, lines)))
    keep(plot, "answers")
    assert tab.said == []
