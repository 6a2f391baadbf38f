"""Every function, section and test that ``docs/paper_map.md`` names is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "paper_map.md"
CELL = re.compile(r"\[`?(.+?)`?\]\((\.\./[^)\s]+)\)")
LINES = re.findall(r"^\| (?!what |\*\*)(.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
ROWS = [line.split(" | ") for line in LINES]


def anchors(path: Path) -> set[str]:
    """Name a notebook's sections as Jupyter does."""
    prose = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
    heads = re.findall(r"^#+ (.+)$", "\n".join(prose), flags=re.MULTILINE)
    return {head.strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_leads_to_things_that_exist(row: list[str]) -> None:
    what, source, function, section, test = row
    assert what
    assert source

    ((name, file),) = CELL.findall(function)
    module, _, attribute = f"vcr1_lib.{name}".rpartition(".")
    assert callable(getattr(importlib.import_module(module), attribute))
    home = Path(str(importlib.import_module(module).__file__))
    assert (PAGE.parent / file).resolve() == home

    if section != "planned":
        ((_, link),) = CELL.findall(section)
        notebook, _, anchor = link.partition("#")
        assert unquote(anchor) in anchors(PAGE.parent / notebook)

    ((name, file),) = CELL.findall(test)
    assert f"\ndef {name}(" in (PAGE.parent / file).read_text(encoding="utf-8")


def test_there_are_rows() -> None:
    assert len(ROWS) > 25
