"""How Sphinx shows the course; ``tools/build_site.py`` lays out what it reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

import vcr1_lib

PAGES = Path(os.environ["VCR1_SITE_PAGES"])

project = "VideoChat-R1, from the first reward to the last GPU"
html_title = "Video GRPO, the course"
version = release = vcr1_lib.__version__
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Notebooks are shown as they are stored, and nothing is loaded from elsewhere.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}
nb_output_stderr = "remove"
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"
exclude_patterns = ["_figures"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_use_ivar = True

html_theme = "furo"
html_static_path = ["static", str(PAGES / "_figures")]
html_css_files = ["site.css"]
html_js_files = ["pages.js"]
html_favicon = "static/icon.svg"
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False


def keep_member(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool:
    """Leave out what a named tuple says of its fields; their class says it better."""
    return skip or str(getattr(obj, "__doc__", "")).startswith("Alias for field number")


def inline_math(writer: Any, node: nodes.math) -> None:
    """Write a formula as MathML, which browsers draw without a script."""
    writer.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block_math(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own; a long one scrolls on a phone."""
    formula = tex2mathml(node.astext().strip(), as_block=True)
    writer.body.append(f'<div class="formula" tabindex="0">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Tell Sphinx about the functions above."""
    app.connect("autodoc-skip-member", keep_member)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
