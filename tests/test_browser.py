"""JupyterLab in a real browser: what widgets show is what the library computes and saves."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from vcr1_lib.datasets import read_charades_sta, read_jsonl
from vcr1_lib.grpo import group_advantages
from vcr1_lib.overlap import box_iou, interval_iou
from vcr1_lib.prompts import render_boxes, render_span
from vcr1_lib.rewards import format_reward, temporal_iou_reward, track_iou_reward
from vcr1_lib.rewards.blind_policy import blind_game, train_blind_policy
from vcr1_lib.widgets.drawings import blind_sentence

ROOT = Path(__file__).parents[1]
NOTEBOOK = "notebooks/02_reward_design.ipynb"
OWN = "notebooks/own_clips.ipynb"
LABELLING = """\
from vcr1_lib.widgets import label_spans

label_spans("../my clips", "../labels.jsonl")"""
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
if CHROMIUM is None and os.environ.get("VCR1_REQUIRE_BROWSER") != "1":
    pytest.skip("no Chromium on PATH (apt-get install chromium)", allow_module_level=True)

TOKEN = "reader"
RUN_SECONDS, STEP_SECONDS = 900, 90
# Measured: one widget in five fonts differs by up to 0.39, two widgets by 0.56 and more.
LOOKS_ALIKE, OTHERWISE = 0.45, 0.5
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what is served: a copy of the notebook without its outputs, and own clips."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "my clips").mkdir()
    shutil.copy(ROOT / "data_samples/clips/rate12.mp4", folder / "my clips" / "Tür zu.mp4")
    shutil.copytree(ROOT / "data_samples" / "charades_sta", folder / "data_samples/charades_sta")
    notebook = nbformat.read(ROOT / NOTEBOOK, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / NOTEBOOK)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    own = new_notebook(cells=[new_code_cell(LABELLING)], metadata={"kernelspec": kernel})
    nbformat.write(own, folder / OWN)
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    """Serve the folder; yield the notebook's address."""
    # All cells stay in the page, scrolled to or not, and nothing pops up over them.
    for name, settings in (
        ("notebook-extension/tracker", {"windowingMode": "none"}),
        ("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
    ):
        path = folder / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {
        "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}?token={TOKEN}"
        finally:
            server.terminate()
            server.wait(timeout=STEP_SECONDS)


def wait_for_server(page: Any, address: str) -> None:
    for _ in range(STEP_SECONDS):
        try:
            page.goto(address)
        except page.refused:
            page.wait_for_timeout(1000)
        else:
            return
    pytest.fail("JupyterLab did not start")


def run_all_cells(page: Any) -> None:
    """Use the menu, again if it came before the kernel: then nothing runs, or a dialog asks."""
    for _ in range(STEP_SECONDS):
        page.wait_for_timeout(2000)
        if page.locator(".jp-Dialog").count():
            page.keyboard.press("Escape")
            continue
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_timeout(2000)
        if page.locator(".jp-InputPrompt", has_text=re.compile(r"^\[[*\d]+\]:$")).count():
            return
    pytest.fail("the notebook does not start to run")


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator[Any]:
    """Open the notebook and run all of it."""
    from playwright.sync_api import Error, sync_playwright

    assert CHROMIUM is not None, "VCR1_REQUIRE_BROWSER=1, but there is no Chromium on PATH"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(1000 * STEP_SECONDS)
        page.refused = Error
        wait_for_server(page, lab)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        run_all_cells(page)
        code = [c for c in nbformat.read(ROOT / NOTEBOOK, 4).cells if c.cell_type == "code"]
        last = page.locator(".jp-InputPrompt", has_text=re.compile(rf"^\[{len(code)}\]:$"))
        last.wait_for(timeout=1000 * RUN_SECONDS)
        assert page.locator(".jp-RenderedText[data-mime-type*=error]").count() == 0
        yield page
        browser.close()


def unlike(one: bytes, other: bytes) -> float:
    """Return the share of two pictures' ink that lies elsewhere, seen from afar: 0 to 1."""
    ink = [
        1 - np.asarray(Image.open(BytesIO(picture)).convert("L").resize((64, 36)), float) / 255
        for picture in (one, other)
    ]
    return float(np.abs(ink[0] - ink[1]).sum() / (ink[0] + ink[1]).sum())


def keep(place: Any, name: str) -> None:
    """Compare with the picture in ``docs``, if there is one; ``VCR1_SCREENSHOTS`` keeps the new."""
    taken = place.screenshot()
    if folder := os.environ.get("VCR1_SCREENSHOTS"):
        Path(folder, f"{name}.png").write_bytes(taken)
    known = ROOT / "docs" / f"{name}.png"
    if known.is_file():
        gap = unlike(taken, known.read_bytes())
        assert gap < LOOKS_ALIKE, f"{name} looks otherwise than docs/{name}.png: {gap:.3f}"


def test_kept_pictures_are_told_apart() -> None:
    kept = {path.stem: path.read_bytes() for path in (ROOT / "docs").glob("*.png")}
    for one, other in combinations(kept, 2):
        assert unlike(kept[one], kept[other]) > OTHERWISE, f"{one}, {other}"
    white = BytesIO()
    Image.new("L", (64, 36), 255).save(white, "png")
    for name, picture in kept.items():
        assert unlike(picture, picture) == 0
        assert unlike(picture, white.getvalue()) > OTHERWISE, name


def assert_labelled(scope: Any) -> None:
    """Check that each control has a name; ipywidgets gives a slider's only to the eye."""
    roles = "button|checkbox|combobox|listbox|spinbutton|tab|textbox"
    assert re.findall(rf'- (?:{roles})\b(?! ").*', scope.aria_snapshot()) == []
    for slider in scope.locator(".widget-slider:visible").all():
        assert slider.locator(".widget-label").inner_text()


def drag(scope: Any, name: str, value: float) -> None:
    readout = scope.locator(".widget-slider:visible", has_text=name).locator(".widget-readout")
    readout.click()
    readout.press("Control+A")
    readout.press_sequentially(f"{value:g}")
    readout.press("Enter")


def numbers_on_screen(scope: Any, says: str) -> list[list[float]]:
    """Wait until answer 1 says so; return IoU, reward and advantage of every answer."""
    table = scope.locator("table.group:visible")
    table.locator("tr:nth-child(2) td:nth-child(2)", has_text=says).wait_for()
    rows = table.locator("tr").all_inner_texts()[1:]
    return [[float(word) for word in row.split("\t")[2:]] for row in rows]


def expected(rewards: list[float], ious: list[float]) -> list[list[float]]:
    advantages = group_advantages(torch.tensor([rewards], dtype=torch.float64))[0].tolist()
    rows = zip(ious, rewards, advantages, strict=True)
    return [[round(x, 3) + 0.0 for x in row] for row in rows]


def span_numbers(spans: list[tuple[float, float]], truth: list[float]) -> list[list[float]]:
    texts = [render_span(*span, thought="Seen.") for span in spans]
    gold = {"span": [truth] * len(spans)}
    paid = zip(format_reward(texts, **gold), temporal_iou_reward(texts, **gold), strict=True)
    return expected([f + a for f, a in paid], [interval_iou(span, truth) for span in spans])


SPANS = [(7.0, 14.0), (4.0, 9.0), (0.0, 24.0), (15.0, 20.0)]
BOXES = [(0.3, 0.3, 0.7, 0.7), (0.1, 0.2, 0.5, 0.6), (0, 0, 1, 1), (0.6, 0.6, 0.9, 0.9)]


def truth_of_the_clip() -> list[float]:
    folder = ROOT / "data_samples" / "charades_sta"
    annotations = (folder / "toyworld_sta_heldout.txt", folder / "toyworld_v1_heldout.csv")
    return read_charades_sta(*annotations, folder / "videos")[0]["span"]


def test_the_microscope_shows_the_librarys_numbers(page: Any) -> None:
    scope, truth = page.locator(".widget-tab").nth(0), truth_of_the_clip()
    scope.scroll_into_view_if_needed()
    assert_labelled(scope)
    assert numbers_on_screen(scope, "7 to 14") == span_numbers(SPANS, truth)
    # The truth itself; a short one; the whole clip; one that misses; one that runs backwards.
    for start, end in [(5.1, 10.9), (6.5, 8.0), (0.0, 24.0), (12.0, 13.5), (9.0, 5.0)]:
        drag(scope, "start (s)", start)
        drag(scope, "end (s)", end)
        shown = numbers_on_screen(scope, f"{start:g} to {end:g}")
        assert shown == span_numbers([(start, end), *SPANS[1:]], truth)
        if start == 5.1:
            keep(scope, "microscope")
    handle = scope.locator(".widget-slider:visible", has_text="start (s)").get_by_role("slider")
    handle.focus()
    handle.press("ArrowLeft")
    assert numbers_on_screen(scope, "8.9 to 5")
    scope.get_by_role("button", name="all answers alike").click()
    page.get_by_text("All rewards are equal: nothing is pushed.").first.wait_for()
    assert {row[2] for row in numbers_on_screen(scope, "8.9 to 5")} == {0.0}


def test_the_box_tab_shows_the_librarys_numbers(page: Any) -> None:
    scope = page.locator(".widget-tab").nth(0)
    scope.get_by_role("tab", name="a box").click()
    drag(scope, "left", 0.2)
    boxes = [(0.2, *BOXES[0][1:]), *BOXES[1:]]
    truth = (0.2, 0.25, 0.6, 0.65)
    texts = [f"<think>Seen.</think><answer>{render_boxes([box])}</answer>" for box in boxes]
    paid = track_iou_reward(texts, boxes=[[truth]] * 4)
    numbers = expected([1 + p for p in paid], [box_iou(box, truth) for box in boxes])
    assert numbers_on_screen(scope, "[[0.2, 0.3, 0.7, 0.7]]") == numbers
    keep(scope, "microscope_box")


def test_the_blind_policy_is_played(page: Any) -> None:
    tabs = page.locator(".widget-tab").nth(1)
    tabs.scroll_into_view_if_needed()
    assert_labelled(tabs)
    sentence = tabs.locator("p[role=status]:visible")
    assert sentence.inner_text().startswith("Step 0: reward 0.18")
    tabs.get_by_role("button").first.click()
    sentence.filter(has_text="Step 200:").wait_for()
    game = blind_game(temporal_iou_reward, "temporal_grounding")
    run = train_blind_policy(game.payoffs, game.quality)
    assert sentence.inner_text() == blind_sentence(game, run, 200)
    tabs.locator("select:visible").select_option("any guess counts")
    sentence.filter(has_text="true mIoU 0.00").wait_for()
    assert float(re.findall(r"reward (\S+)", sentence.inner_text())[0]) > 0.7
    drag(tabs, "step", 31)
    sentence.filter(has_text="Step 31:").wait_for()
    keep(tabs, "blind_policy")
    tabs.get_by_role("tab", name="inside one group").click()
    assert len(numbers_on_screen(tabs, "7 to 14")) == 8
    keep(tabs, "one_group")


def test_a_clip_is_labelled_with_keyboard_and_mouse(page: Any, lab: str, folder: Path) -> None:
    page.goto(lab.replace(NOTEBOOK, OWN))
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]:visible").wait_for()
    run_all_cells(page)
    widget = page.locator(".jp-OutputArea-output:visible")
    status = widget.locator("p[role=status]")
    status.filter(has_text="Tür zu.mp4: 6.00 s; clips without a label: 1").wait_for()
    assert_labelled(widget)
    frame = widget.locator(".widget-slider", has_text="frame").get_by_role("slider")
    frame.focus()
    for _ in range(12):
        frame.press("ArrowRight")
    widget.get_by_alt_text("on show, 1.000 s").wait_for()
    widget.get_by_role("button", name="starts here").press("Enter")
    widget.get_by_alt_text("first inside, 1.000 s").wait_for()
    _, last = widget.locator(".widget-slider", has_text="from, to").get_by_role("slider").all()
    last.focus()
    last.press("ArrowLeft")
    widget.get_by_alt_text("last inside, 5.833 s").wait_for()
    keep(widget, "labelling")
    widget.get_by_placeholder("the door opens.").fill("a shape is on screen.")
    widget.get_by_role("button", name="save label").click()
    status.filter(has_text="saved in line 1; clips without a label: 0").wait_for()
    (record,) = read_jsonl(folder / "labels.jsonl", folder / "my clips")
    assert record["query"] == "a shape is on screen."
    assert record["span"] == pytest.approx([1.0, 71 / 12], abs=1e-3)
