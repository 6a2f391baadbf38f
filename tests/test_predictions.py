"""Prediction files: what does not fit is named by its row, nothing is scored silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vcr1_lib.metrics import span_ious
from vcr1_lib.metrics.predictions import (
    PredictionError,
    append_predictions,
    charades_key,
    nextgqa_key,
    read_charades,
    read_nextgqa_spans,
    read_prediction_log,
    write_charades,
    write_nextgqa,
)
from vcr1_lib.metrics.scoring import score_texts
from vcr1_lib.metrics.tasks import best_iop_and_iou

MOMENTS: list[dict[str, Any]] = [
    {
        "id": f"charades_sta:V{i}:0",
        "task": "temporal_grounding",
        "video": f"clips/V{i}.mp4",
        "query": "a door opens.",
        "span": [1.5 + i, 6.0 + i],
        "duration": 20.0,
    }
    for i in range(3)
]
QUESTIONS: list[dict[str, Any]] = [
    {
        "id": f"nextgqa:V{i}:{i}",
        "task": "grounded_qa",
        "video": f"clips/V{i}.mp4",
        "question": "why?",
        "options": ["a dog", "a cat"],
        "answer": "B",
        "spans": [[0.0, 5.0]],
        "duration": 20.0,
    }
    for i in range(2)
]
ROWS = [json.dumps({"id": r["id"], "completion": "x"}) for r in MOMENTS]


def test_a_log_comes_back(tmp_path: Path) -> None:
    rows = [{"id": r["id"], "completion": "<answer>1 to 2</answer>"} for r in MOMENTS]
    rows[2] = {"id": MOMENTS[2]["id"], "completion": None, "error": "is empty"}
    append_predictions(tmp_path / "log", rows[:1])
    append_predictions(tmp_path / "log", rows[1:])
    assert list(read_prediction_log(tmp_path / "log", MOMENTS).values()) == rows


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "3 of 3 records have no answer"),
        (ROWS[:2], "1 of 3 records have no answer: 'charades_sta:V2:0'"),
        ([*ROWS, ROWS[1]], "row 4: the id 'charades_sta:V1:0' was answered before"),
        ([ROWS[0], '{"id": "other", "completion": "x"}'], "row 2: no record has the id 'other'"),
        ([ROWS[0].replace('"x"', "3")], "row 1: expected a text 'completion'"),
        ([ROWS[0].replace('"x"', "null")], "row 1: expected a text 'completion'"),
        (["[1, 2]"], "row 1: expected an object"),
        (['{"completion": "x"}'], "row 1: expected an object with a text 'id'"),
        ([ROWS[0], ROWS[1][:-1] + ",}"], "row 2: not valid JSON"),
        (['{"id": "a", "id": "b", "completion": "x"}'], "row 1: 'id' occurs twice"),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_a_bad_row_is_named(tmp_path: Path, lines: list[str], told: str, partial: bool) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    if partial and "have no answer" in told:
        assert len(read_prediction_log(path, MOMENTS, partial=True)) == len(lines)
        return
    with pytest.raises(PredictionError) as caught:
        read_prediction_log(path, MOMENTS, partial=partial)
    assert told in str(caught.value)


def test_half_a_line_is_dropped_only_where_a_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(ROWS[0] + "\n" + ROWS[1][:20])
    assert list(read_prediction_log(path, MOMENTS, partial=True)) == [MOMENTS[0]["id"]]
    with pytest.raises(PredictionError, match="row 2: not valid JSON"):
        read_prediction_log(path, MOMENTS)


def test_charades_file_round_trip_keeps_the_scores(tmp_path: Path) -> None:
    texts = ["<answer>1.5s - 6s</answer>", None, "<answer>soon</answer>"]
    path = tmp_path / "charades.json"
    assert write_charades(path, texts, MOMENTS) == 3
    content = json.loads(path.read_text())
    assert content["V0.mp4>>>a door opens.>>>[1.5, 6.0]"] == "1.5 to 6"
    assert list(content.values())[1:] == ["", ""]
    again = score_texts(read_charades(path, MOMENTS), MOMENTS)
    assert again.values.tolist() == score_texts(texts, MOMENTS).values.tolist() == [1, 0, 0]


def test_nextgqa_files_hold_every_question(tmp_path: Path) -> None:
    texts = ["<think>x</think><answer>B</answer><clue>[(0.0, 4.0)]</clue>", "no idea"]
    spans, options = tmp_path / "ground.json", tmp_path / "qa.json"
    write_nextgqa(spans, options, texts, QUESTIONS)
    assert json.loads(options.read_text()) == {
        "V0_0": {"answer": 1, "prediction": 1},
        "V1_1": {"answer": 1, "prediction": -1},
    }
    read = read_nextgqa_spans(spans, QUESTIONS)
    assert read == [[0, 4], [-1, -1]]
    # The point that stands for an unreadable answer scores 0 by the official rules too.
    assert best_iop_and_iou(read[1], QUESTIONS[1]["spans"]) == (0, 0)
    assert span_ious([read[1]], [[0, 5]]).tolist() == [0]


def test_records_that_share_a_key_are_refused(tmp_path: Path) -> None:
    twins = [MOMENTS[0], MOMENTS[0] | {"id": "other"}]
    with pytest.raises(ValueError, match="only 1 different keys"):
        write_charades(tmp_path / "x.json", ["a", "b"], twins)


KEYS = [charades_key(record) for record in MOMENTS]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("[]", "expected a JSON object"),
        (json.dumps(dict.fromkeys(KEYS, 3)), "entry 1 ('V0.mp4"),
        (json.dumps(dict.fromkeys(KEYS[:2], "1 to 2")), "1 of 3 records have no answer"),
        (json.dumps(dict.fromkeys([*KEYS, "new"], "1 to 2")), "entry 4: no record has the key"),
        (f'{{"{KEYS[0]}": "1 to 2", "{KEYS[0]}": "1 to 3"}}', "occurs twice"),
        (json.dumps(dict.fromkeys(KEYS, "1 to 2"))[:-1] + ",}", "not valid JSON"),
    ],
)
def test_a_bad_official_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "charades.json"
    path.write_text(text)
    with pytest.raises(PredictionError) as caught:
        read_charades(path, MOMENTS)
    assert told in str(caught.value)


@pytest.mark.parametrize("value", [[1], [1, "2"], [1, None], "1 to 2", [True, 2], [1, 1e999]])
def test_a_span_of_a_wrong_type_is_named(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "ground.json"
    path.write_text(json.dumps({"V0_0": [0, 1], "V1_1": value}))
    with pytest.raises(PredictionError, match=r"entry 2 \('V1_1'\)"):
        read_nextgqa_spans(path, QUESTIONS)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    for read in (read_prediction_log, read_charades, read_nextgqa_spans):
        with pytest.raises(FileNotFoundError, match="found none at"):
            read(tmp_path / "absent", MOMENTS)


def test_an_id_may_hold_the_whole_key() -> None:
    assert nextgqa_key({"video": "a/257.mp4", "id": "next_gqa:257:8"}) == "257_8"
    assert nextgqa_key({"video": "a/257.mp4", "id": "videochat_r1:257_8"}) == "257_8"
