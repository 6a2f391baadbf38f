# ruff: noqa: ANN001, ANN003
"""What people hand to rewards and scores by mistake: never a silent 0 or ``None``."""

import logging

import numpy as np
import pytest

from vcr1_lib import rewards
from vcr1_lib.answers import completion_text
from vcr1_lib.datasets import AnnotationError, read_jsonl
from vcr1_lib.metrics import bootstrap_interval
from vcr1_lib.metrics.by_task import scores_by_task
from vcr1_lib.metrics.scoring import score_beside_baselines, score_texts
from vcr1_lib.metrics.tasks import frame_ious
from vcr1_lib.rewards import (
    PRESETS,
    configured,
    event_recall_reward,
    format_reward,
    grounded_qa_reward,
    interval_set_iou_reward,
    label_reward,
    later_track_iou_reward,
    option_reward,
    preset_rewards,
    shaping,
    temporal_iou_reward,
    track_iou_reward,
)
from vcr1_lib.rewards.bench import main, run_bench
from vcr1_lib.rewards.cases import GOLD
from vcr1_lib.rewards.grading import Scored, score_one

NAN = float("nan")
SPAN = {"span": [(3, 7)]}


def framed(answer: str) -> str:
    return f"<think>Seen.</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("reward", "columns", "why"),
    [
        (
            temporal_iou_reward,
            {**SPAN, "task": "temporal_grounding"},
            "column 'task': expected one",
        ),
        (temporal_iou_reward, {**SPAN, "task": [7]}, "sample 0: expected a task of .* got 7"),
        (temporal_iou_reward, {**SPAN, "duration": [9, 9]}, "'duration': .* 1 completions, got 2"),
        (temporal_iou_reward, {**SPAN, "duration": 9.0}, "column 'duration': .* got 9.0"),
        (temporal_iou_reward, {**SPAN, "duration": ["24s"]}, "above 0, got '24s'"),
        (temporal_iou_reward, {"span": []}, "column 'span': .* got 0"),
        (temporal_iou_reward, {"span": ["37"]}, r"a span \(start, end\) in finite .* got '37'"),
        (temporal_iou_reward, {"span": [b"37"]}, "a span"),
        (temporal_iou_reward, {"span": [{3: "start", 7: "end"}]}, "a span"),
        (interval_set_iou_reward, {"spans": [[(0, 5)]]}, "add a column 'task' with one of"),
        (event_recall_reward, {"events": [[]]}, "add a column 'task'"),
        (label_reward, {"answer": ["a cat"]}, "add a column 'task'"),
        (label_reward, {"answer": ["good"], "labels": ["good"]}, "labels, got 'good'"),
        (format_reward, {"answer": ["good"], "labels": [[1, 2]]}, "sample 0: .* rename the column"),
        (label_reward, {"answer": ["good"], "labels": [[1, 2]]}, "sample 0: .* rename the column"),
        (option_reward, {"options": [["1", "2"]], "answer": [1]}, "got 1; write .* as its letter"),
        (option_reward, {"options": [{"A": "x"}], "answer": ["A"]}, "a list with .* options"),
        (track_iou_reward, {"boxes": [[(0, 0, 90, 90)]]}, "shares of the picture.*divide pixels"),
        (later_track_iou_reward, {"boxes": [[(0, 0, 1, 1)]]}, "sample 0: .* 1 more at least"),
    ],
)
def test_bad_columns_are_named(reward, columns, why):
    with pytest.raises(ValueError, match=rf"^\w+_reward: .*{why}"):
        reward([framed("[0, 0, 1, 1]")], **columns)


@pytest.mark.parametrize(
    ("completions", "why"),
    [
        ([None], "got None"),
        ([["3 to 7", "0 to 1"]], r"got \['3 to 7'"),
        ([{"role": "assistant", "content": "3 to 7"}], "list of messages"),
        ("3", "column 'completions': expected a list, got '3'"),
    ],
)
def test_what_is_no_completion_is_named(completions, why):
    with pytest.raises(ValueError, match=rf"temporal_iou_reward: .*{why}"):
        temporal_iou_reward(completions, **SPAN)


@pytest.mark.parametrize("task", [None, NAN, np.float32("nan"), ""])
def test_a_missing_task_is_told_from_the_truth(task):
    columns = {**SPAN, "task": [task], "duration": [NAN], "boxes": [NAN], "events": [[]]}
    assert temporal_iou_reward([framed("3 to 7")], **columns) == [1.0]
    assert track_iou_reward([framed("3 to 7")], columns.pop("boxes"), **columns) == [None]
    rest = {"span": [[]], "spans": [NAN], "options": [["x", "y"]], "answer": ["A"]}
    assert option_reward([framed("A")], **rest) == [1.0]


def test_an_unknown_task_is_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert (
            temporal_iou_reward(["3"] * 2, [(3, 7)] * 2, task=["temporal-grounding"] * 2)
            == [None] * 2
        )
    (record,) = caplog.records
    assert "'temporal-grounding'" in record.message
    assert "temporal_grounding" in record.message


def test_an_answer_alone_is_no_quality():
    texts, answer = [framed("4"), framed("good"), framed("low quality")], ["4", "good", None]
    assert format_reward(texts, answer=["4", "a cat", "Low quality"]) == [1.0] * 3
    assert format_reward(texts, answer=answer, labels=[None, ["bad"], None]) == [1.0, 0.0, 1.0]


def test_columns_are_read_by_place():
    pandas = pytest.importorskip("pandas")
    spans = pandas.Series([(3, 7), (0, 1)], index=[1, 0])
    assert temporal_iou_reward([framed("3 to 7"), framed("0 to 1")], span=spans) == [1.0, 1.0]


@pytest.mark.parametrize("field", ["reasoning_content", "thinking"])
def test_a_thought_in_its_own_field_is_a_thought(field):
    message = {"role": "assistant", field: "Seen.", "content": "<answer>3 to 7</answer>"}
    assert completion_text([message]) == framed("3 to 7")
    assert format_reward([[message]], **SPAN) == [1.0]
    assert completion_text([message | {field: None}]) == "<answer>3 to 7</answer>"


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"strict_reward: expected .*'strict'.*, got stric$"):
        configured(temporal_iou_reward, name="strict_reward", stric=True)
    unread = {"options": ["x"], "answer": "A", "spans": [(0, 5)]}
    strict = configured(grounded_qa_reward, name="strict", strict=True)
    lenient = "<answer>A</answer><clue>[(0, 5)]</clue>"
    assert score_one(grounded_qa_reward, lenient, **unread) == Scored(1.0)
    assert score_one(strict, lenient, **unread).value == 0.0
    short = configured(shaping.soft_length_reward, name="short", strict=True, hard_chars=2001)
    assert score_one(short, framed("3s - 7s"), span=(3, 7)).value == 0.0


def test_each_reward_logs_under_its_own_name():
    """TRL extends the lists of its table: a name used twice makes them unequal."""
    rows = {
        "span": [(3, 7), None],
        **{key: [None, value] for key, value in GOLD["grounded_qa"].items()},
    }
    logged = []
    strict = configured(shaping.giou_reward, name="strict_giou_reward", strict=True)
    together = [
        *dict.fromkeys(reward for task in PRESETS for reward, _ in PRESETS[task]),
        grounded_qa_reward, strict, shaping.giou_reward, shaping.threshold_iou_reward,
        shaping.soft_length_reward, later_track_iou_reward,
    ]  # fmt: skip
    for reward in together:
        missing = {"boxes": [None] * 2, "events": [None] * 2, "answer": [None] * 2}
        reward(["", ""], **missing | rows, log_extra=lambda name, values: logged.append(name))
    assert sorted(logged) == sorted(f"{reward.__name__}_reason" for reward in together)


def test_presets_name_the_tasks_there_are():
    for tasks in ("tracking", ["x"]):
        with pytest.raises(ValueError, match=r"expected a list of tasks out of .*"):
            preset_rewards(tasks)


def raises(completions, span, **columns):
    raise NameError("iou is not defined")


def overpays(completions, span, **columns):
    return [10.0] * len(completions)


@pytest.mark.parametrize(
    ("reward", "why"),
    [(raises, "it raised NameError: iou is not"), (overpays, "it paid 10.0 for the truth")],
)
def test_the_bench_says_why_no_task_fits(reward, why, capsys, monkeypatch):
    with pytest.raises(ValueError, match=f"temporal_grounding: {why}"):
        run_bench(reward, ["temporal_grounding"])
    monkeypatch.setattr(rewards, "mine", reward, raising=False)
    with pytest.raises(SystemExit):
        main(["vcr1_lib.rewards:mine"])
    assert why in capsys.readouterr().err


RECORD = {"id": "q7", "video": "v.mp4", "task": "temporal_grounding", "span": ["3", "7"]}


def test_scores_read_what_rewards_pay():
    chat = [{"role": "assistant", "content": framed("3 to 7")}]
    record = RECORD | {"duration": NAN, "type": NAN}
    assert score_texts([chat], [record]).table["scores"]["mIoU"] == 1
    assert score_beside_baselines([chat], [record])["model"].values.tolist() == [1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"span": None}, "expected span too, got only id, task, video"),
        ({"video": None}, "expected video too"),
        ({"task": "grounding"}, "expected a task of .*'temporal_grounding'.* got 'grounding'"),
        ({"span": [9, 4]}, r"0 <= start <= end, got \[9, 4\]"),
        ({"task": "tracking", "boxes": [(0, 0, 90, 90)]}, "divide pixels"),
        ({"task": "quality", "answer": "good", "labels": "good"}, "labels, got 'good'"),
    ],
)
def test_scores_name_the_record(change, why):
    for score in (score_texts, score_beside_baselines):
        with pytest.raises(ValueError, match=f"^record 'q7': .*{why}"):
            score([None], [RECORD | change])
    with pytest.raises(ValueError, match="q7"):
        scores_by_task(["3"], [RECORD | change])


def test_scores_refuse_what_would_be_a_silent_zero_or_nan():
    with pytest.raises(ValueError, match=r"in place 1 .*score an unreadable answer 0"):
        bootstrap_interval([0.5, None])
    with pytest.raises(ValueError, match="divide pixels"):
        frame_ious([[(0, 0, 1, 1)] * 2], [[(0, 0, 90, 90)] * 2])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("video: x.mp4", "expected one JSON object per line"),
        ('{"video": "x", "question": "?", "options": ["1", "2"], "answer": 1}', "as its letter"),
    ],
)
def test_own_lines_are_named(line, why, tmp_path):
    (tmp_path / "own.jsonl").write_text(line)
    with pytest.raises(AnnotationError, match=f"line 1: .*{why}"):
        read_jsonl(tmp_path / "own.jsonl")


def test_small_letters_before_options_are_no_part_of_them():
    options = [["a. wave", "b. jump"]]
    assert option_reward([framed("jump")], options=options, answer=["b"]) == [1.0]
    assert option_reward([framed("(b) jump")], options=options, answer=["jump"]) == [1.0]
    assert option_reward([framed("(a) jump")], options=options, answer=["jump"]) == [0.0]
