"""The journey of ``docs/own_videos.md``: by scripts, from 20 clips to a reloaded adapter."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.train_grpo import ScriptArguments, load
from vcr1_lib.datasets import AnnotationError, read_moments_and_split, with_durations
from vcr1_lib.datasets.labels import Label, write_label
from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import load_model
from vcr1_lib.toyworld import query_of, sample_scene, write_mp4
from vcr1_lib.training.config import read_options
from vcr1_lib.video import VideoError
from vcr1_lib.video.prescan import ScanReport

ROOT = Path(__file__).parents[1]
NUM_CLIPS = 20
LINE = {"video": "Clip ü 00.mp4", "query": "it moves.", "span": [1, 2]}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Film 20 clips with awkward names and label them as the widget would, without durations."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my clips").mkdir()
    for index in range(NUM_CLIPS):
        scene, name = sample_scene(500 + index, "train"), f"Clip ü {index:02}.mp4"
        event = scene.events[0]
        write_mp4(scene, folder / "my clips" / name)
        span = (event.start_seconds, event.end_seconds)
        write_label(folder / "labels.jsonl", Label(name, query_of(event), span))
    return folder


def run(*command: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


def test_clips_and_a_file_reach_a_reloaded_adapter(own: Path, tmp_path: Path) -> None:
    labels, clips = own / "labels.jsonl", own / "my clips"
    code, out, err = run("-m", "vcr1_lib.video.prescan", clips, "--report", tmp_path / "scan.json")
    assert code == 0, err
    assert "20 videos can be read, 0 cannot" in out

    # Steps so wild that the answers change for certain.
    options = "--max_steps 2 --learning_rate 0.02 --lr_scheduler_type constant --eval_strategy no"
    options += " --per_device_train_batch_size 4 --num_generations 4"
    code, out, err = run(
        "scripts/train_grpo.py", "--annotations", labels, "--videos", clips,
        "--output_dir", tmp_path / "run", "--use_peft", "--load_in_4bit",
        *options.split(), "--eval_on_start", "false",
    )  # fmt: skip
    assert code == 0, err
    assert "16 training questions, 4 held out" in out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["num_clips"] == 4
    adapter = tmp_path / "run" / "model"
    assert (adapter / "adapter_model.safetensors").stat().st_size < 1_000_000

    # What the run said of held-out clips at its end, the reloaded adapter says again.
    model, processor = load_model(adapter, load_in_4bit=True)
    _, heldout = read_moments_and_split(labels, clips)
    loader = PromptLoader(processor, fps=1, max_frames=24)
    answers = answer_greedily(model, loader, heldout, max_completion_length=48)
    said = {
        when: [
            line.split("  ", 3)[-1] for line in out.splitlines() if line.startswith(f"  {when}:")
        ]
        for when in ("before", "after")
    }
    assert len(said["after"]) == 3
    assert said["after"] != said["before"]
    assert set(said["after"]) <= set(answers)


def write_lines(path: Path, *changes: dict) -> Path:
    path.write_text("".join(json.dumps(LINE | x) + "\n" for x in changes), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "at least two clips"),
        ({"video": "gone.mp4"}, "1 of 2 questions have no clip"),
        ({"video": "broken.mp4"}, "cannot be decoded"),
        ({"span": [2, 1]}, "line 2.*--on_error skip"),
        ({"query": None, "span": None, "task": "caption", "events": ["It moves."]}, "'caption'"),
    ],
)
def test_bad_labels_are_named(own: Path, tmp_path: Path, change: dict, says: str) -> None:
    broken = own / "my clips" / "broken.mp4"
    broken.write_text("not a video " * 99)
    path = write_lines(tmp_path / "labels.jsonl", {}, change)
    with pytest.raises((AnnotationError, FileNotFoundError, VideoError), match=says):
        read_moments_and_split(path, own / "my clips")
    broken.unlink()


def test_a_run_that_skips_leaves_bad_lines_out_and_says_so(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = sorted(p.name for p in (own / "my clips").iterdir())[:3]
    bad = {"video": names[2], "span": [2, 1]}
    path = write_lines(tmp_path / "labels.jsonl", {"video": names[0]}, bad, {"video": names[1]})
    train, heldout = read_moments_and_split(path, own / "my clips", on_error="skip")
    assert sorted(Path(r["video"]).name for r in (*train, *heldout)) == names[:2]
    assert "labels.jsonl:2 is left out: expected a span" in caplog.text


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_holds_nothing_out_is_one_sentence(
    own: Path, tmp_path: Path, share: float
) -> None:
    path = write_lines(tmp_path / "labels.jsonl", {}, {"video": "Clip ü 01.mp4"})
    with pytest.raises(AnnotationError, match=r"--heldout 0\.2 keeps a fifth"):
        read_moments_and_split(path, own / "my clips", heldout=share)


def test_training_opens_only_what_a_scan_found_good(own: Path, tmp_path: Path) -> None:
    clips, scan = own / "my clips", tmp_path / "scan.json"
    broken = clips / "broken.mp4"
    broken.write_text("not a video " * 99)
    good = [str(clips / f"Clip ü {i:02}.mp4") for i in range(3)]
    ScanReport(good, {str(broken): "cannot be decoded"}).save(scan)
    lines = [{"video": Path(path).name} for path in (*good, broken)]
    labels = write_lines(tmp_path / "labels.jsonl", *lines)
    argv = ["--annotations", str(labels), "--videos", str(clips), "--output_dir", str(tmp_path)]
    argv += ["--per_device_train_batch_size", "1"]
    with pytest.raises(VideoError, match="cannot be decoded"):
        load(*read_options(ScriptArguments, argv))
    *_, train, heldout = load(*read_options(ScriptArguments, [*argv, "--scan", str(scan)]))
    assert {record["video"] for record in (*train, *heldout)} == set(good)
    broken.unlink()


def test_two_files_of_own_lines_are_measured_too(own: Path, tmp_path: Path) -> None:
    train = write_lines(tmp_path / "train.jsonl", {}, {"video": "Clip ü 01.mp4"})
    apart = write_lines(tmp_path / "apart.jsonl", {"video": "Clip ü 02.mp4"})
    argv = ["--train_annotations", str(train), "--eval_annotations", str(apart)]
    argv += ["--videos", str(own / "my clips"), "--output_dir", str(tmp_path)]
    argv += ["--per_device_train_batch_size", "1"]
    with pytest.raises(AnnotationError, match="--train_lengths"):
        load(*read_options(ScriptArguments, argv))
    argv += ["--train_lengths", "", "--eval_lengths", ""]
    *_, rows, heldout = load(*read_options(ScriptArguments, argv))
    assert [row["duration"] for row in (*rows, *heldout)] == [24.0, 24.0, 24.0]


def test_too_few_questions_are_one_sentence(own: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "labels.jsonl", {}, {"video": "Clip ü 01.mp4"})
    code, _, err = run(
        "scripts/train_grpo.py", "--dataset", "own", "--annotations", path,
        "--videos", own / "my clips", "--output_dir", tmp_path / "run",
        "--eval_on_start", "false", "--disable_tqdm", "true",
    )  # fmt: skip
    assert code == 1
    assert err.endswith("or --gradient_accumulation_steps\n")
    assert "error: expected at least 16 training questions, one step's worth, got 1; label" in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("run/*"))


def test_lengths_that_are_not_told_are_measured(own: Path) -> None:
    when = {"task": "temporal_grounding"}
    records = [
        when | {"video": str(own / "my clips" / "Clip ü 00.mp4"), "duration": None},
        when | {"video": str(own / "my clips" / "Clip ü 01.mp4")},
        when | {"video": "not opened.mp4", "duration": 3.0},
    ]
    assert [row["duration"] for row in with_durations(records)] == [24.0, 24.0, 3.0]


def test_what_is_odd_is_kept_and_said(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lines(own / "odd.jsonl", {"span": [1, 99]}, {"video": "Clip ü 01.mp4"})
    with caplog.at_level(logging.WARNING):
        train, heldout = read_moments_and_split(path, own / "my clips", heldout=0.5)
    assert len(train) == len(heldout) == 1
    (warning,) = caplog.messages
    assert warning.startswith("odd.jsonl:1 is kept")
    assert "ends after the clip's 24 s" in warning


def test_a_run_of_any_seed_is_measured_on_the_same_clips(own: Path) -> None:
    _, heldout = read_moments_and_split(own / "labels.jsonl", own / "my clips")
    again = read_moments_and_split(own / "labels.jsonl", own / "my clips", dataset="own")[1]
    assert [row["id"] for row in heldout] == [row["id"] for row in again]
