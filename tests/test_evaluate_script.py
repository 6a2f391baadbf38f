"""``scripts/evaluate.py`` from outside: its files, a restart, and bad input in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from call_script import script_caller

from vcr1_lib.prompts import TEMPLATES

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "data_samples" / "charades_sta"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return script_caller("evaluate", monkeypatch, capsys)


@pytest.fixture
def few(tmp_path: Path) -> list[str]:
    """Options for an evaluation of six questions as a user's own Charades-STA files."""
    lines = (FOLDER / "toyworld_sta_heldout.txt").read_text().splitlines()[:6]
    (tmp_path / "few.txt").write_text("\n".join(lines) + "\n")
    options = ["--benchmark", "charades_sta", "--annotations", str(tmp_path / "few.txt")]
    options += ["--lengths", str(FOLDER / "toyworld_v1_heldout.csv")]
    options += ["--videos", str(FOLDER / "videos"), "--silent", "true"]
    return [*options, "--output_dir", str(tmp_path / "out")]


def test_it_writes_what_others_can_read_and_goes_on(
    few: list[str], tmp_path: Path, run: Any
) -> None:
    code, said = run(*few)
    assert code == 0, said
    assert "6 questions" in said
    (missing,) = [line for line in said.splitlines() if "best fixed span" in line]
    assert missing.startswith("Without best fixed span:")  # nothing to fit it on
    assert "--train_annotations" in missing
    out = tmp_path / "out"
    result = json.loads((out / "result.json").read_text())
    (rows,) = result.values()
    assert list(rows) == ["whole clip", "first half", "model", "model, strict parsing"]
    assert len(json.loads((out / "official" / "charades_sta.json").read_text())) == 6
    files = {path: path.read_bytes() for path in out.rglob("*.*")}
    log = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join(log[:3]) + log[3][:9])
    assert run(*few)[0] == 0
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == files


def test_own_lines_without_a_length_say_which_baselines_they_miss(tmp_path: Path, run: Any) -> None:
    own, clips = tmp_path / "own.jsonl", FOLDER / "videos"
    line = {"video": "H0000.mp4", "query": "a cyan square is on screen.", "span": [5.1, 10.9]}
    asked = ["--benchmark", "own", "--annotations", str(own), "--videos", str(clips)]
    asked += ["--train_annotations", str(own), "--silent", "true", "--max_frames", "4"]
    own.write_text(json.dumps(line) + "\n")
    code, said = run(*asked, "--output_dir", str(tmp_path / "a"))
    assert code == 0, said
    assert "Without whole clip, first half and best fixed span: add 'duration'" in said
    assert "(lacking: 1 of 1)" in said
    assert "add &#x27;duration&#x27;" in (tmp_path / "a" / "report.html").read_text()
    assert "1 question; report" in said
    own.write_text(json.dumps(line | {"duration": 24.0}) + "\n")
    code, said = run(*asked, "--output_dir", str(tmp_path / "b"))
    assert code == 0, said
    assert "Without" not in said
    assert "best fixed span" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--benchmark", "nope"], "unknown benchmark 'nope'; there is toyworld, charades_sta"),
        (["--benchmark", "samples/nope"], "unknown benchmark 'samples/nope'"),
        (["--benchmark", "charades_sta"], "charades_sta needs --annotations --lengths --videos"),
        (["--benchmark", "charades_sta"], "Licence: sentences: none stated; Charades: non-commer"),
        (["--videos", "absent"], "expected a folder of videos, found none at absent"),
        (["--spans", "x.json"], "takes no spans"),
        (["--annotations", "absent.txt"], "found none at absent.txt"),
        (["--model_name_or_path", "absent"], "absent"),
        (["--fsp", "2"], "unknown option --fsp; did you mean --fps?"),
        (["--fps", "many"], "invalid float value: 'many'"),
    ],
)
def test_bad_input_is_one_sentence(options: list[str], says: str, tmp_path: Path, run: Any) -> None:
    code, said = run("--output_dir", str(tmp_path / "out"), *options)
    assert code not in (0, None)
    assert says in f"{said}{code}"
    assert not (tmp_path / "out").exists()


def test_another_runs_answers_are_not_scored(few: list[str], tmp_path: Path, run: Any) -> None:
    (tmp_path / "out").mkdir()
    header = {"run": {"model": "another"}}
    (tmp_path / "out" / "predictions.jsonl").write_text(json.dumps(header) + "\n")
    assert "another run's answers" in str(run(*few)[0])


def test_one_command_evaluates_the_samples_of_every_task(tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out"
    options = ["--benchmark", "samples", "--silent", "true", "--output_dir", str(out)]
    code, said = run(*options, "--max_completion_length", "16")
    assert code == 0, said
    result = json.loads((out / "result.json").read_text())
    assert {rows["model"]["task"] for rows in result.values()} == set(TEMPLATES)
    page = (out / "report.html").read_text()
    assert all(f">{name}</h2>" in page for name in result)
    assert "http" not in page


def test_help_explains_every_option(run: Any) -> None:
    code, said = run("--help")
    assert code == 0
    for name in ("benchmark", "annotations", "videos", "fps", "silent", "output_dir"):
        assert re.search(rf"--{name} .*?\w+.*?\(default:", said, flags=re.DOTALL), name
