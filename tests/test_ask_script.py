"""``scripts/ask.py`` from outside: every way of asking, and bad input in one sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from call_script import script_caller

ROOT = Path(__file__).parent.parent
VIDEO = "data_samples/clue_sets/videos/slow00.mp4"
WHEN = ("a green cross is on screen.", "--when")
LIST = "List every visit with its times."


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return script_caller("ask", monkeypatch, capsys)


def test_it_answers_from_a_shell() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/ask.py", VIDEO, LIST],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^answer: \w+ \w+ \d+ to \d+", done.stdout, re.MULTILINE)
    assert "24 frames from 0.0 to 19." in done.stdout


@pytest.mark.parametrize(
    ("options", "looks"),
    [
        ((*WHEN,), [24]),
        ((*WHEN, "--clues"), [12, 12]),
        ((*WHEN, "--passes", "2"), [12, 12]),
        (("What colour is the cross?", "--clues", "--find", LIST), [12, 12]),
    ],
)
def test_looks_share_the_frames(options: tuple[str, ...], looks: list[int], run: Any) -> None:
    code, said = run(VIDEO, *options)
    assert code == 0, said
    frames = [int(n) for n in re.findall(r"^(\d+) frames from", said, re.MULTILINE)]
    # A look close up may meet the clip's own frames: each is shown once.
    assert frames[0] == looks[0]
    assert len(frames) == len(looks)
    assert all(0 < seen <= most for seen, most in zip(frames, looks, strict=True))


def test_it_talks_until_an_empty_line(run: Any) -> None:
    first, second = "Which object comes first?", "And which one comes next?"
    code, said = run(VIDEO, "--chat", typed=f"{first}\n{second}\n\nnot asked\n")
    assert code == 0
    assert len(said.strip().splitlines()) == 2
    assert run(VIDEO, first, "--chat", typed=f"{second}\n")[1] == said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("none.mp4", "What?"), "error: "),
        (("README.md", "What?"), "error: "),
        ((VIDEO,), "say a question or --chat"),
        ((VIDEO, "What?", "--passes", "2", "--clues"), "neither"),
        ((VIDEO, "What?", "--passes", "0"), "passes >= 1"),
        ((VIDEO, "What?", "--clue"), "did you mean --clues?"),
        ((VIDEO, "What?", "--model_name_or_path", "nowhere/at_all"), "nowhere/at_all"),
    ],
)
def test_bad_input_is_one_sentence(options: tuple[str, ...], told: str, run: Any) -> None:
    code, said = run(*options)
    assert code not in (0, None)
    assert told in f"{code}{said}"
    assert "Traceback" not in said
