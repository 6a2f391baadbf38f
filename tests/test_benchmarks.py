"""Benchmarks by name: their page, their sentences, their samples, their official files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcr1_lib.datasets import FORMATS, AnnotationError
from vcr1_lib.datasets.benchmarks import (
    BENCHMARKS,
    METRICS,
    find_benchmark,
    read_benchmark,
    render_baselines,
    render_table,
    sample_names,
    score_sections,
)
from vcr1_lib.metrics.official import WRITERS, write_got10k, write_official
from vcr1_lib.metrics.scoring import MAIN_SCORE
from vcr1_lib.overlap import track_iou
from vcr1_lib.prompts import TEMPLATES, render_gold

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def perfect(records: list[dict[str, Any]]) -> list[str]:
    return [render_gold(r["task"], r, thought="Seen.") for r in records]


def test_the_page_holds_the_table() -> None:
    assert render_table() in PAGE


def test_every_format_has_a_benchmark_and_every_task_a_sample() -> None:
    assert {row.dataset for row in BENCHMARKS.values()} == set(FORMATS)
    everything, train = read_benchmark("samples")
    assert {record["dataset"] for record in everything} == set(FORMATS)
    assert {record["task"] for record in everything} == set(TEMPLATES)
    assert train
    assert len({record["id"] for record in everything}) == len(everything)
    for name, row in BENCHMARKS.items():
        assert row.task in METRICS, name
        assert set(row.wants) >= {o for o in FORMATS[row.dataset].files if o != "videos"} or (
            row.shipped
        ), name


@pytest.mark.parametrize("name", sample_names())
def test_perfect_answers_score_1_and_empty_ones_0(name: str, tmp_path: Path) -> None:
    records, _ = read_benchmark(name)
    for texts, worth in ((perfect(records), 1.0), ([""] * len(records), 0.0)):
        for section in score_sections(texts, records).values():
            table = section.rows["model"].table
            assert set(table["scores"].values()) == {worth}, table
            assert table["unparsed"] == 1 - worth
            assert set(section.rows["model"].values) == {worth}
            listed = METRICS[table["task"]].split(", ")
            assert listed[0] == MAIN_SCORE[table["task"]]
            assert set(table["scores"]) - {"macro"} == set(listed)
            write_official(tmp_path, section.texts, section.records)
    told = find_benchmark(name).official.split(", ")
    written = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")]
    sequence = Path(records[0]["video"]).name
    assert sorted(written) == sorted(file.replace("SEQUENCE", sequence) for file in told if file)


def test_a_benchmark_without_its_files_says_what_to_get() -> None:
    for name, row in BENCHMARKS.items():
        if row.wants:
            with pytest.raises(FileNotFoundError) as caught:
                read_benchmark(name)
            said = str(caught.value)
            assert all(f"--{option}" in said for option in row.wants)
            assert row.source in said
            assert row.licence in said
    with pytest.raises(FileNotFoundError, match=r"found none at y\.json.*Licence: MIT"):
        read_benchmark("next_gqa", annotations="x.csv", spans="y.json", videos="data_samples")
    with pytest.raises(AnnotationError, match="unknown benchmark 'toy'; there is toyworld"):
        read_benchmark("toy")


def test_trivial_scores_need_no_videos() -> None:
    shipped = dict(BENCHMARKS["toyworld"].shipped or {})
    shipped.pop("videos")
    told = render_baselines("charades_sta", **shipped)
    assert told.startswith("charades_sta: temporal grounding, 96 questions")
    assert re.search(r"^best fixed span +29\.0", told, flags=re.MULTILINE)
    assert "model" not in told
    assert "no answer without looking" in render_baselines("samples/dream_1k")


def test_files_given_go_before_the_benchmarks_own(tmp_path: Path) -> None:
    shipped = BENCHMARKS["toyworld"].shipped or {}
    line = Path(shipped["annotations"]).read_text().splitlines()[0]
    (tmp_path / "one.txt").write_text(line + "\n")
    records, train = read_benchmark("toyworld", annotations=str(tmp_path / "one.txt"), spans="")
    assert len(records) == 1
    assert len(train) == 128
    assert {record["dataset"] for record in records} == {"charades_sta"}


def test_moments_for_activitynet_by_hand(tmp_path: Path) -> None:
    records, _ = read_benchmark("samples/activitynet_captions")
    write_official(tmp_path, ["<answer>1 to 2.5</answer>", *["dunno"] * 3], records)
    content = json.loads((tmp_path / "activitynet_captions.json").read_text())
    assert content["version"] == "VERSION 1.0"
    first = {"sentence": "a cyan square is on screen.", "timestamp": [1.0, 2.5]}
    assert content["results"]["H0000"] == [first]
    assert content["results"]["H0001"][0]["timestamp"] == [0.0, 0.0]


def test_tracks_for_got10k_by_hand(tmp_path: Path) -> None:
    (record,) = read_benchmark("samples/got10k")[0]
    write_got10k(tmp_path, perfect([record]), [record])
    file = tmp_path / "TOY_Val_000001" / "TOY_Val_000001_001.txt"
    boxes = np.loadtxt(file, delimiter=",")
    truth = np.loadtxt(Path(record["video"]) / "groundtruth.txt", delimiter=",")
    assert boxes.shape == truth.shape == (20, 4)
    # The truth moves evenly up to a pixel's rounding, and so do boxes between answered frames.
    assert np.abs(boxes - truth).max() < 0.5
    corners = [np.column_stack([b[:, :2], b[:, :2] + b[:, 2:]]) / 96 for b in (boxes, truth)]
    assert track_iou(*(c.clip(0, 1).tolist() for c in corners)) > 0.97
    write_got10k(tmp_path, [None], [record])
    lost = np.loadtxt(file, delimiter=",")
    assert lost[0] == pytest.approx(truth[0], abs=0.01)  # the given box
    # Boxes without an area from the second answered frame, the third picture, on.
    assert (lost[3:] == 0).all()


def test_captions_for_dream_by_hand(tmp_path: Path) -> None:
    records, _ = read_benchmark("samples/dream_1k")
    write_official(tmp_path, ["<answer>A dog.</answer>"], records)
    (row,) = read_lines(tmp_path / "dream_1k.jsonl")
    assert row["idx"] == "TOY_1"
    assert row["prediction"] == "A dog."
    assert row["events"] == records[0]["events"]
    assert row["response"].startswith("A yellow circle")


def test_datasets_without_an_official_form_write_nothing(tmp_path: Path) -> None:
    records, _ = read_benchmark("samples/vidtab_qa")
    assert records[0]["dataset"] not in WRITERS
    write_official(tmp_path / "none", ["", ""], records)
    assert not (tmp_path / "none").exists()


def test_lmms_eval_has_answered_and_knows_the_tasks_of_the_page() -> None:
    folder = ROOT / "benchmarks" / "engines" / "lmms_eval"
    result = json.loads((folder / "result.json").read_text())
    pins = (folder / "requirements.lock").read_text()
    assert f"\nlmms-eval=={result['versions']['lmms-eval']}\n" in pins
    assert "://" not in pins
    told = re.findall(r"^\| [^|]*[A-Z][^|]* \| (`[a-z_`, ]+`) \|", PAGE, flags=re.MULTILINE)
    names = [name.strip("`") for cell in told for name in cell.split(", ")]
    assert names == result["known_public_tasks"]
    for task, file in (("vcr1_when", "when"), ("vcr1_choice", "choice")):
        asked = read_lines(folder / "tasks" / f"{file}.jsonl")
        answers = result["answers"][task]
        assert [row["id"] for row in answers] == [row["id"] for row in asked]
        assert all(row["said"] for row in answers)
    named = [
        [letter for letter, text in zip("ABCD", row["options"], strict=True) if text in a["said"]]
        for row, a in zip(asked, answers, strict=True)
    ]
    right = [found == [row["answer"]] for found, row in zip(named, asked, strict=True)]
    assert result["scores"]["vcr1_choice"]["accuracy"] == pytest.approx(np.mean(right))
    assert f"{sum(right)} of {len(right)} training clips" in PAGE
    assert f"mIoU {100 * result['scores']['vcr1_when']['mIoU']:.1f}" in PAGE
