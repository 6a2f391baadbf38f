"""Build the course as a static site: ``make site``, or ``python -m tools.build_site build/site``.

Notebooks are shown as stored, nothing is run. The pages are laid out in a folder of their own,
because links that are right on a disk or in a repository are not all right on a site, and Sphinx
reads them there: `site/conf.py`. Then every link of every page is followed.
"""

from __future__ import annotations

import argparse
import ast
import html
import json
import os
import posixpath
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_output
from plotly.offline import get_plotlyjs

from tools.check_site import problems

ROOT = Path(__file__).parents[1]
FRONT = "README.md"
GUIDES = (
    "docs/own_experiment.md", "docs/own_videos.md", "docs/benchmarks.md", "docs/engines.md",
    "docs/one_gpu.md",
)  # fmt: skip
REFERENCE = ("docs/paper_map.md", "docs/exercises.md")
PROJECT = (
    "CONTRIBUTING.md", "CHANGELOG.md", "data_samples/tiny_model/README.md",
    "data_samples/many_tasks_model/README.md",
)  # fmt: skip

LINK = re.compile(r"(\]\()([^)\s]+)(\))|((?:src|href)=\")([^\"]+)(\")")
WHOLE_LINK = re.compile(r"(?<!!)\[([^\]\n]*)\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"^([a-z]+:|//)")
FENCED = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
PLOTLY, WIDGET = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/svg+xml")
LIVE = (
    '<p class="live-only">The widget below asks Python at every move. It moves in Jupyter; this '
    "page has a picture of it.</p>"
)
# Pictures in docs/ that the browser tests compare with the widgets, in the notebook's order.
WIDGETS = {
    "01_video_to_tokens": ("budget",),
    "02_reward_design": ("microscope", "blind_policy"),
    "03_grpo_from_scratch": ("mask",),
    "05_measure_and_diagnose": ("sick_runs",),
    "06_qlora_on_one_gpu": ("labelling",),
}
STORED = (
    '<p class="live-only">What the cells below print is stored: run <a href="{path}" download>the '
    "notebook</a> to see it happen.</p>"
)


def page_name(path: str) -> str:
    """Where a file of the project stands on the site."""
    return "index.md" if path == FRONT else path


def site_link(link: str, page: str) -> str | None:
    """Turn a link of a page into one that is right on the site; a folder has none.

    Args:
        link: As written, relative to the page.
        page: The page's file, relative to the project's root.
    """
    if ELSEWHERE.match(link):
        return link
    file, _, anchor = link.partition("#")
    # Jupyter's anchors keep capitals and signs, the site's do not.
    anchor = "#" + re.sub(r"[^\w-]", "", anchor.lower()) if anchor else ""
    if not file:
        return anchor
    folder = posixpath.dirname(page)
    target = posixpath.normpath(posixpath.join(folder, file))
    if (ROOT / target).is_dir():
        return None
    if target.startswith("vcr1_lib/"):
        target = api_page(target)
    return posixpath.relpath(page_name(target), folder or ".") + anchor


def site_text(text: str, page: str) -> str:
    """Rewrite the links of Markdown; what links to a folder becomes the folder's name."""

    def unlink(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[2]))
        is_link = site_link(match[2], page) is not None
        return match[0] if is_link else f"{match[1]} (`{path}` in the project)"

    def relink(match: re.Match[str]) -> str:
        before, link, after = match.group(1, 2, 3) if match[1] else match.group(4, 5, 6)
        return before + str(site_link(link, page)) + after

    # What looks like a link between fences is code.
    parts = FENCED.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = LINK.sub(relink, WHOLE_LINK.sub(unlink, parts[i]))
    return "".join(parts)


def figure_html(figure: dict[str, Any], label: str, *, script: str) -> str:
    """Write an interactive figure as data that `site/static/pages.js` draws."""
    layout = {key: v for key, v in figure["layout"].items() if key not in ("width", "title")}
    data = json.dumps(figure | {"layout": layout}).replace("</", "<\\/")
    height = int(figure["layout"].get("height", 450))
    return (
        f'{script}<div class="interactive-figure" role="group" style="min-height: {height}px" '
        f'aria-label="{html.escape(label)}"><script type="application/json">{data}</script></div>'
    )


def alt_text(output: Any) -> str | None:
    """Read what a picture shows from its metadata or, of a drawing, from its label."""
    for kind in PICTURES:
        if alt := output.get("metadata", {}).get(kind, {}).get("alt"):
            return str(alt)
    drawing = re.search(r'aria-label="([^"]+)"', str(output.get("data", {}).get(PICTURES[1], "")))
    return html.unescape(drawing[1]) if drawing else None


def site_notebook(notebook: Any, page: str) -> Any:
    """Make a stored notebook showable: links, figures that move, pictures that are told."""
    library = '<script src="../_static/plotly.min.js"></script>'
    heading = title = ""
    prose, widgets = notebook.cells[0], list(WIDGETS.get(Path(page).stem, ()))
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            prose = cell
            cell.source = site_text(cell.source, page)
            title = (re.findall(r"^#+ (.+)", cell.source, re.MULTILINE) or [title])[-1]
            continue
        told = next(filter(None, map(alt_text, cell.outputs)), None)
        heading = told or f"Figure: {title}"
        cell.metadata["mystnb"] = {"image": {"alt": heading}}
        for i, output in enumerate(cell.outputs):
            data = output.get("data", {})
            if PLOTLY in data:
                shown = figure_html(data[PLOTLY], heading, script=library)
                library = ""
            elif WIDGET in data:
                picture = widgets.pop(0)
                shown = f'<img src="../_static/{picture}.png" alt="The widget in JupyterLab.">'
                prose.source = below_heading(prose.source, LIVE)
            else:
                continue
            cell.outputs[i] = new_output("display_data", data={"text/html": shown})
    # Setting up is the same everywhere: one may look at it.
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    setup.metadata.setdefault("tags", []).append("hide-input")
    first = notebook.cells[0]
    first.source += "\n\n" + STORED.format(path=f"../_static/{posixpath.basename(page)}")
    return notebook


def below_heading(text: str, note: str) -> str:
    """Put a note below the heading that a text begins with, or before the text."""
    heading = re.match(r"#+ .*\n", text)
    start = heading.end() if heading else 0
    return f"{text[:start]}\n{note}\n\n{text[start:]}"


def read_map() -> list[tuple[str, str, list[str]]]:
    """List the entries of the library's map: name, what is said of it, its parts."""
    docstring = ast.get_docstring(ast.parse((ROOT / "vcr1_lib/__init__.py").read_text("utf-8")))
    entries = re.split(r"^``(\w+)``", str(docstring), flags=re.MULTILINE)[1:]
    found = []
    for name, told in zip(entries[::2], entries[1::2], strict=True):
        parts = sorted(path.stem for path in (ROOT / "vcr1_lib" / name).glob("*.py"))
        words = " ".join(told.partition("\n\n")[0].split())
        found.append((name, words, [part for part in parts if part != "__init__"]))
    return found


def api_page(path: str) -> str:
    """Name the reference page of a module's file: one for each entry of the map."""
    entry = Path(path).relative_to("vcr1_lib").with_suffix("").parts[0]
    return "api/index.rst" if entry == "__init__" else f"api/{entry}.rst"


def write_reference(folder: Path) -> None:
    """Write a page for each entry of the map; Sphinx fills it from the docstrings."""
    folder.mkdir()
    entries = read_map()
    for name, _, parts in entries:
        texts = [f"{name}\n{'=' * len(name)}"]
        for part in ["", *parts]:
            texts += [f"{part}\n{'-' * len(part)}"] if part else []
            module = ".".join(["vcr1_lib", name, *([part] if part else [])])
            texts.append(f".. automodule:: {module}\n   :members:\n   :ignore-module-all:")
        (folder / f"{name}.rst").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    lines = [f":doc:`{name}`\n   {words}" for name, words, _ in entries]
    toctree = "\n   ".join([".. toctree::\n   :hidden:\n", *(name for name, *_ in entries)])
    text = "The library\n===========\n\nEach entry imports only entries above it.\n\n"
    text += "\n".join(lines) + f"\n\n{toctree}\n"
    (folder / "index.rst").write_text(text, encoding="utf-8")


def toctree(caption: str, pages: tuple[str, ...] | list[str]) -> str:
    lines = "\n".join(f"/{page}" for page in pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def lay_out(source: Path) -> None:
    """Write everything that Sphinx reads."""
    notebooks = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "notebooks").glob("*.ipynb"))
    static = source / "_figures"
    static.mkdir(parents=True)
    for picture in (name for names in WIDGETS.values() for name in names):
        shutil.copy(ROOT / f"docs/{picture}.png", static)
    for page in (FRONT, *GUIDES, *REFERENCE, *PROJECT, *notebooks):
        text = (ROOT / page).read_text(encoding="utf-8")
        target = source / page_name(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        if page in notebooks:
            notebook = nbformat.reads(text, as_version=4)
            prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
            copy_linked(prose, page, source)
            nbformat.write(site_notebook(notebook, page), target)
            shutil.copy(ROOT / page, static)
        else:
            copy_linked(text, page, source)
            target.write_text(site_text(text, page), encoding="utf-8")
    trees = [("Course", notebooks), ("Guides", GUIDES)]
    trees += [("Reference", (*REFERENCE, "api/index")), ("Project", PROJECT)]
    with (source / "index.md").open("a", encoding="utf-8") as front:
        front.writelines(toctree(*tree) for tree in trees)
    write_reference(source / "api")
    (static / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


def copy_linked(text: str, page: str, source: Path) -> None:
    """Put the pictures and files that a page names where its links will look for them."""
    for match in LINK.finditer(text):
        link = (match[2] or match[5]).partition("#")[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
        path = ROOT / target
        is_page = path.suffix in (".md", ".ipynb") or target.startswith("vcr1_lib/")
        if not ELSEWHERE.match(link) and not is_page and path.is_file():
            (source / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, source / target)


def build(site: Path) -> None:
    """Build into ``site``; exit with the reasons if a page warns or a link leads nowhere."""
    from sphinx.cmd.build import main as sphinx

    source = site.with_name(f"{site.name}-pages")
    for folder in (site, source):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    lay_out(source)
    os.environ["VCR1_SITE_PAGES"] = str(source)
    options = ["-W", "--keep-going", "-q", "-b", "html", "-c", str(ROOT / "site")]
    if sphinx([*options, "-d", str(site.with_name(f"{site.name}-read")), str(source), str(site)]):
        sys.exit("error: the pages above make Sphinx warn")
    if found := problems(site):
        sys.exit("\n".join(["error: the site is not whole:", *found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", nargs="?", default="build/site", type=Path, help="folder to fill")
    site = parser.parse_args().site.resolve()
    build(site)
    print(f"{len(list(site.rglob('*.html')))} pages; open {site / 'index.html'}")


if __name__ == "__main__":
    main()
