"""The examples of ``docs/own_experiment.md`` end by saying what is printed below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(
    r"^## ([^\n]+)\n.*?```python\n(.*?)```\s*```\n(.*?)```",
    (ROOT / "docs" / "own_experiment.md").read_text(encoding="utf-8"),
    flags=re.DOTALL | re.MULTILINE,
)


def test_there_are_three_examples() -> None:
    titles = ["Your reward, in TRL", "Your dataset, in our trainer"]
    assert [title for title, *_ in EXAMPLES] == [*titles, "Our metrics, on your predictions"]


# TRL itself warns, and it says how training goes.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("code", "printed"), [e[1:] for e in EXAMPLES], ids=lambda _: "")
def test_an_example_says_what_stands_below_it(
    code: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "own_experiment.md", "exec"), {"__name__": "__main__"})
    ours = [line for line in said.getvalue().splitlines() if not line.startswith("{'")]
    assert printed.strip()
    assert ours == printed.splitlines()
