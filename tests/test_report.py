"""The verdict on a run: it says no when it must, and names what it compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from vcr1_lib.evaluation import Predictions
from vcr1_lib.evaluation.report import (
    REMAP_NAME,
    blind_baselines,
    compare_runs,
    render_examples,
    render_table,
    write_result,
)
from vcr1_lib.metrics import bootstrap_interval, span_ious

NAN = float("nan")


def record(span: list[float], *, clip: int = 0, duration: float = 24.0) -> dict[str, Any]:
    return {
        "video": f"{clip}.mp4",
        "query": f"question about clip {clip}",
        "span": span,
        "duration": duration,
    }


def many_records(seed: int) -> list[dict[str, Any]]:
    """Sixty questions on twenty clips."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(2, 12, 60)
    ends = starts + rng.uniform(4, 8, 60)
    return [record([s, e], clip=i // 3) for i, (s, e) in enumerate(zip(starts, ends, strict=True))]


TRAIN, HELDOUT = many_records(0), many_records(1)


def answers(
    records: list[dict[str, Any]], *, shift: ArrayLike = 0.0, noise: float = 0.0
) -> Predictions:
    """Answer the truth, moved by ``shift`` and by noise that no shift can undo."""
    truth = np.array([r["span"] for r in records])
    off = np.random.default_rng(2).choice([-noise, noise], (len(truth), 1))
    spans = truth + np.asarray(shift) + off
    texts = [f"<answer>{start:.1f} to {end:.1f}</answer>" for start, end in spans]
    return Predictions(texts, spans, span_ious(spans, truth))


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return compare_runs(
        answers(HELDOUT, **before),
        answers(HELDOUT, **after),
        HELDOUT,
        train_before=answers(TRAIN, **before),
        train_records=TRAIN,
    )


def test_blind_answers_by_hand() -> None:
    records = [record([0, 12]), record([20, 30], duration=40.0)]
    train = [record([6, 12]), record([10, 20], duration=40.0)]
    ious = blind_baselines(records, train_records=train)
    # Whole clip: 12 of 24 s, 10 of 40 s. First half: 0-12 exactly; 0-20 only touches 20-30.
    # In training the second quarter is always right: 6-12 is half of 0-12, 10-20 misses 20-30.
    assert {name: values.tolist() for name, values in ious.items()} == {
        "whole clip": [0.5, 0.25],
        "first half": [1.0, 0.0],
        "best fixed span": [0.5, 0.0],
    }


def test_learned() -> None:
    result = compare({"noise": 5.0}, {})
    assert result["learned"] is True
    assert result["verdict"].startswith("It learned: ")
    assert "clear of the base's own spans shifted at best" in result["verdict"]
    assert "to 1.000" in result["verdict"]
    assert "60 questions, 20 clips" in result["verdict"]
    assert result["gain"][1] > 0


def test_learned_perhaps_without_looking() -> None:
    # Every span three seconds late: a shift fitted on training clips does as well.
    result = compare({"shift": 3.0}, {})
    assert result["learned"] is True
    assert result["remap"] == [-3.0, -3.0]
    assert result["rows"][REMAP_NAME]["mIoU"] == pytest.approx(1.0)
    assert result["verdict"].startswith("It learned, but perhaps without looking: ")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"noise": 5.0}, {"noise": 5.0}, "It did not learn: "),
        ({}, {"noise": 5.0}, "It got worse: "),
    ],
)
def test_did_not_learn(before: dict[str, Any], after: dict[str, Any], words: str) -> None:
    result = compare(before, after)
    assert result["learned"] is False
    assert result["verdict"].startswith(words)


def test_a_gain_on_too_few_clips_is_no_proof() -> None:
    # Twelve questions on one clip went better and four on another worse: many questions
    # taken one by one, but one time in four a draw of two clips is the worse one twice.
    records = [record([4, 12], clip=int(i >= 12)) for i in range(16)]
    before, after = answers(records, shift=2.0), answers(records)
    after.ious[12:] = before.ious[12:] / 2
    result = compare_runs(before, after, records, train_before=answers(TRAIN), train_records=TRAIN)
    alone = bootstrap_interval(after.ious - before.ious)
    assert result["gain"][0] == alone.value > alone.low > 0
    assert result["learned"] is False
    assert result["verdict"].startswith("Too few held-out clips to tell")
    assert "--heldout 0.5" in result["verdict"]


def test_rows_are_the_scores_of_each_answer() -> None:
    before = answers(HELDOUT, noise=5.0)
    before.spans[:15] = NAN
    before = before._replace(ious=span_ious(before.spans, [r["span"] for r in HELDOUT]))
    result = compare_runs(
        before, answers(HELDOUT), HELDOUT, train_before=answers(TRAIN), train_records=TRAIN
    )
    assert list(result["rows"]) == [
        "whole clip",
        "first half",
        "best fixed span",
        "base",
        REMAP_NAME,
        "tuned",
    ]
    assert result["rows"]["base"]["mIoU"] == pytest.approx(before.ious.mean())
    assert result["rows"]["tuned"]["R1@0.7"] == 1.0
    assert result["unparsed"] == {"base": 0.25, "tuned": 0.0}
    # A base that answers the training truth needs no shift.
    assert result["remap"] == [0.0, 0.0]
    assert before.scores(HELDOUT)["unparsed"] == 0.25


def test_table_shows_every_row() -> None:
    result = compare({"noise": 5.0}, {})
    header, *lines, unread = render_table(result).splitlines()
    assert unread == "could not be read, and counts 0: base 0%, tuned 0%"
    assert header.split() == ["held-out", "clips", "mIoU", "95", "%", "interval"] + [
        f"R1@{m}" for m in (0.3, 0.5, 0.7)
    ]
    assert len(lines) == len(result["rows"])
    for line, (name, row) in zip(lines, result["rows"].items(), strict=True):
        assert line.startswith(name)
        assert f"{row['mIoU']:.3f}" in line
        assert line.endswith(f"{row['R1@0.7']:.3f}")
    assert len({len(line) for line in lines}) == 1, "columns line up"


def test_examples_show_the_same_questions() -> None:
    before, after = answers(HELDOUT, noise=5.0), answers(HELDOUT)
    text = render_examples(HELDOUT, before, after, count=2)
    for index in (0, len(HELDOUT) - 1):
        assert HELDOUT[index]["query"] in text
        assert before.texts[index] in text
        assert after.texts[index] in text
    assert len(render_examples(HELDOUT[:1], before, after).splitlines()) == 3


def test_result_is_valid_json_with_versions(tmp_path: Path) -> None:
    result = compare({"noise": 5.0}, {})
    write_result(tmp_path, result, config={"seed": 3, "output": tmp_path})

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    read = {
        name: json.loads((tmp_path / f"{name}.json").read_text(), parse_constant=refuse)
        for name in ("result", "config")
    }
    assert read["result"] == result
    assert read["config"]["seed"] == 3
    machine = read["config"]["machine"]
    assert {"python", "torch", "transformers", "threads", "processor"} <= set(machine)
    assert all(machine.values())


def test_the_readme_shows_the_recorded_runs() -> None:
    root = Path(__file__).parents[1]
    text = (root / "README.md").read_text(encoding="utf-8")
    runs = [
        json.loads((root / f"data_samples/runs/seed{seed}/result.json").read_text())
        for seed in range(3)
    ]
    for row in runs[0]["rows"].values():
        low, high = row["mIoU_interval"]
        figures = [row[key] for key in ("R1@0.3", "R1@0.5", "R1@0.7")]
        assert f"{row['mIoU']:.3f}" in text
        assert f"{low:.3f} to {high:.3f} | " + " | ".join(f"{x:.3f}" for x in figures) in text
    gain, low, high = runs[0]["gain"]
    assert f"The gain is {gain:.3f} (95 % interval {low:.3f} to {high:.3f})" in text
    assert f"it is {runs[1]['gain'][0]:.3f} and {runs[2]['gain'][0]:.3f}" in text
    assert all(run["learned"] and run["gain"][0] > 0.2 for run in runs)
    four_bits = json.loads((root / "data_samples/runs/nf4_lora_seed0/result.json").read_text())
    before, after = (four_bits["rows"][name]["mIoU"] for name in ("base", "tuned"))
    assert f"held-out mIoU goes from {before:.3f} to {after:.3f}" in text
    assert four_bits["learned"]
    # The curve that a reader replays ends where the table does.
    lines = (root / "data_samples/runs/nf4_lora_seed0/metrics.jsonl").read_text().splitlines()
    curve = [row["eval_mIoU"] for row in map(json.loads, lines) if "eval_mIoU" in row]
    assert curve[0] == pytest.approx(before, abs=1e-6)
    assert curve[-1] == pytest.approx(after, abs=1e-6)
