"""How pytest runs here: offline, reproducible, and nbval as the notebooks need it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from nbval.plugin import IPyNbCell, IPyNbFile

# Set before anything imports Transformers; the notebooks' kernels inherit them.
os.environ |= {"VCR1_TEST": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

settings.register_profile("reproducible", derandomize=True, database=None, deadline=None)
settings.load_profile("reproducible")

# Progress and warnings, and pages and figures whose numbers a cell prints beside them.
NOT_COMPARED = ("stderr", "text/html", "application/vnd.plotly.v1+json")
FAILED = pytest.StashKey[bool]()
CELLS = pytest.StashKey[list[IPyNbCell]]()


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Tell nbval what not to compare."""
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += NOT_COMPARED


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a notebook's cells after its first failure: they would fail for want of it."""
    if isinstance(item, IPyNbCell) and item.parent.stash.get(FAILED, False):
        pytest.skip("an earlier cell of this notebook failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember a notebook's first failure."""
    report: Any = yield
    if isinstance(item, IPyNbCell) and report.failed:
        item.parent.stash[FAILED] = True
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the notebooks' cells for the summary."""
    session.config.stash[CELLS] = [item for item in session.items if isinstance(item, IPyNbCell)]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how much of the notebooks' output is not compared."""
    cells = config.stash.get(CELLS, [])
    if cells:
        ignored = sum(bool(cell.options["skip"]) or not cell.options["check"] for cell in cells)
        terminalreporter.write_line(
            f"notebooks: the output of {ignored} of {len(cells)} cells "
            f"({ignored / len(cells):.0%}) is ignored"
        )
