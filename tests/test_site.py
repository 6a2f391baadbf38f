"""The site: whole, quiet, drawn by a real browser, and readable by everybody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools.build_site import PLOTLY, site_link, site_notebook, site_text
from tools.check_site import problems

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize(
    ("link", "page", "expected"),
    [
        ("docs/own_videos.md#2-say", "README.md", "docs/own_videos.md#2-say"),
        ("../README.md", "docs/engines.md", "../index.md"),
        ("00_start_here.ipynb#The-map", "notebooks/02.ipynb", "00_start_here.ipynb#the-map"),
        ("../notebooks/02.ipynb#5.-Why?", "docs/paper_map.md", "../notebooks/02.ipynb#5-why"),
        ("#The-map", "notebooks/00_start_here.ipynb", "#the-map"),
        ("../vcr1_lib/metrics/tasks.py", "docs/benchmarks.md", "../api/metrics.rst"),
        ("vcr1_lib/__init__.py", "README.md", "api/index.rst"),
        ("https://arxiv.org/abs/1707.06347", "README.md", "https://arxiv.org/abs/1707.06347"),
        ("configs/accelerate", "README.md", None),
    ],
)
def test_a_link_is_made_right_for_the_site(link: str, page: str, expected: str | None) -> None:
    assert site_link(link, page) == expected


def test_a_link_to_a_folder_becomes_its_name_and_code_stays() -> None:
    text = "[`configs/`](configs/accelerate)\n```\n[x](README.md)\n```\n"
    shown = "`configs/` (`configs/accelerate` in the project)\n```\n[x](README.md)\n```\n"
    assert site_text(text, "README.md") == shown


def test_a_figure_keeps_its_data_and_takes_its_pictures_words() -> None:
    notebook = nbformat.read(ROOT / "notebooks/04_first_grpo_run.ipynb", as_version=4)
    stored = [
        o for c in notebook.cells for o in c.get("outputs", []) if PLOTLY in o.get("data", {})
    ]
    (data,) = [output.data[PLOTLY]["data"] for output in stored]
    site_notebook(notebook, "notebooks/04_first_grpo_run.ipynb")
    pages = [o.data.get("text/html", "") for c in notebook.cells for o in c.get("outputs", [])
             if "data" in o]  # fmt: skip
    (page,) = filter(None, pages)
    drawn = page.partition('type="application/json">')[2].partition("</script>")[0]
    assert json.loads(drawn)["data"] == data
    assert 'aria-label="Reward per function' in page


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('<a href="gone.html">x</a>', "leads nowhere"),
        ('<a href="#gone">x</a>', "names no anchor"),
        ('<img src="data:image/png;base64,AA" alt="">', "a picture without words"),
        ('<script src="https://cdn.example/x.js"></script>', "from elsewhere"),
        ('<a href="https://example.org/">x</a><p id="a"><a href="#a">up</a>', None),
    ],
)
def test_the_guard_sees_a_bad_page(tmp_path: Path, body: str, told: str | None) -> None:
    (tmp_path / "index.html").write_text(body)
    found = problems(tmp_path)
    assert [told in sentence for sentence in found] == [True] * (told is not None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it as ``make site`` does: it fails on any warning and on any dead link."""
    site = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "tools.build_site", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def test_every_notebook_and_module_has_a_page(site: Path) -> None:
    assert {p.stem for p in (site / "notebooks").glob("*.html")} == {p.stem for p in NOTEBOOKS}
    reference = "".join(p.read_text("utf-8") for p in (site / "api").glob("*.html"))
    for path in (ROOT / "vcr1_lib").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        assert name == "vcr1_lib" or f'id="module-{name}"' in reference, name


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None and os.environ.get("VCR1_REQUIRE_BROWSER") != "1":
        pytest.skip("no Chromium on PATH (apt-get install chromium)")
    assert CHROMIUM is not None, "VCR1_REQUIRE_BROWSER=1, but there is no Chromium on PATH"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def listened(browser: Any, address: str, said: list[str], **options: Any) -> Any:
    """Open a tab that writes down errors, and whatever it asks of somebody else."""
    tab = browser.new_page(**options)
    tab.on("console", lambda message: said.append(message.text) if message.type == "error" else 0)
    tab.on("pageerror", lambda error: said.append(str(error)))
    ours = (address, "data:", "blob:")
    tab.on("request", lambda asked: None if asked.url.startswith(ours) else said.append(asked.url))
    return tab


def test_every_page_opens_without_an_error_and_is_readable_by_everybody(
    browser: Any, address: str, site: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    said: list[str] = []
    tab, axe = listened(browser, address, said), Axe()
    # Of pages that no person wrote, one of each kind.
    made = {"search.html", "api/index.html", "api/rewards.html", "api/grpo.html"}
    pages = [p.relative_to(site).as_posix() for p in sorted(site.rglob("*.html"))]
    for page in pages:
        if page.startswith("api/") and page not in made:
            continue
        tab.goto(address + page)
        figures = tab.locator(".interactive-figure")
        for figure in figures.all():
            figure.locator(".main-svg").first.wait_for()
        found = axe.run(tab, options={"runOnly": STANDARDS}).response["violations"]
        assert not [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found], page
    tab.close()
    assert said == []


def test_a_figure_answers_the_mouse_and_plays(browser: Any, address: str) -> None:
    said: list[str] = []
    tab = listened(browser, address, said)
    tab.goto(address + "notebooks/02_reward_design.html")
    figure = tab.locator(".interactive-figure").last
    figure.scroll_into_view_if_needed()
    figure.locator(".main-svg").first.wait_for()
    frames = "f => Plotly.animate(f, null, {frame: {duration: 0}, transition: {duration: 0}})"
    before = figure.evaluate("f => JSON.stringify(f.data.map(t => t.y ?? t.x))")
    figure.evaluate(f"f => ({frames})(f).then(() => 0)")
    assert figure.evaluate("f => JSON.stringify(f.data.map(t => t.y ?? t.x))") != before
    tab.close()
    assert said == []


def test_search_finds_and_a_phone_scrolls_one_way(browser: Any, address: str) -> None:
    said: list[str] = []
    tab = listened(browser, address, said, viewport=PHONE)
    tab.goto(address + "search.html?q=advantage")
    tab.locator("#search-results li", has_text="GRPO from scratch").first.wait_for()
    for page in ("index", "notebooks/02_reward_design", "api/rewards", "docs/benchmarks"):
        tab.goto(f"{address}{page}.html")
        assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"], page
    tab.close()
    assert said == []


def test_figures_fit_a_phone_and_let_a_finger_scroll(browser: Any, address: str) -> None:
    said: list[str] = []
    tab = listened(browser, address, said, viewport=PHONE, is_mobile=True, has_touch=True)
    for page in ("02_reward_design", "04_first_grpo_run", "05_measure_and_diagnose"):
        tab.goto(f"{address}notebooks/{page}.html")
        for figure in tab.locator(".interactive-figure").all():
            figure.locator(".main-svg").first.wait_for()
            assert figure.evaluate("f => f.scrollWidth") <= PHONE["width"]
            assert figure.evaluate("f => f._fullLayout.dragmode") is False
            plots = [plot.bounding_box() for plot in figure.locator(".nsewdrag").all()]
            assert min(plot["width"] for plot in plots) > PHONE["width"] / 2
            assert len({plot["y"] for plot in plots}) == len(plots), "graphs stand side by side"
            legend = figure.locator(".legend")
            if legend.count():
                place = legend.bounding_box()
                ends = [(plot["y"], plot["y"] + plot["height"]) for plot in plots]
                assert all(not top < place["y"] < bottom for top, bottom in ends)
    tab.close()
    assert said == []


def test_a_notebooks_page_says_what_is_stored_and_has_it(browser: Any, address: str) -> None:
    tab = listened(browser, address, [])
    tab.goto(address + "notebooks/05_measure_and_diagnose.html")
    with tab.expect_download() as download:
        tab.get_by_role("link", name="the notebook", exact=True).click()
    assert Path(download.value.path()).read_bytes() == NOTEBOOKS[5].read_bytes()
    told = tab.locator("section#dial-through-them").inner_text()
    assert told.index("asks Python") < told.index("interact(")
    tab.close()
