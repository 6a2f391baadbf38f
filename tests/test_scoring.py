"""Every task from completions to a table: perfect is 100 %, empty is 0, baselines beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_formats import READERS

from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.metrics.baselines import blind_answers, longest_option, most_frequent
from vcr1_lib.metrics.scoring import (
    MAIN_SCORE,
    read_answer,
    render_scores,
    score_beside_baselines,
    score_texts,
)
from vcr1_lib.prompts import render_gold
from vcr1_lib.rewards.grading import GOLD_COLUMNS

FULL, LEFT = [0, 0, 1, 1], [0, 0, 0.5, 1]
OPTIONS = ["run", "walk slowly", "sit"]
GOLD: dict[str, list[dict[str, Any]]] = {
    "temporal_grounding": [{"span": [4, 9]}, {"span": [12, 22]}],
    "tracking": [{"boxes": [FULL, LEFT, LEFT]}, {"boxes": [LEFT, LEFT, LEFT]}],
    "multiple_choice": [
        {"options": OPTIONS, "answer": "B", "type": "what"},
        {"options": OPTIONS, "answer": "A", "type": "why"},
    ],
    "grounded_qa": [
        {"options": OPTIONS, "answer": "C", "spans": [[4, 9]]},
        {"options": OPTIONS, "answer": "B", "spans": [[12, 14], [18, 20]]},
    ],
    "quality": [{"answer": "low quality"}, {"answer": "high quality"}],
    "caption": [{"events": ["a man sits"]}, {"events": ["a dog barks", "a car stops"]}],
}


def records_of(task: str) -> list[dict[str, Any]]:
    return [
        {"id": f"{task}:v{i}:0", "task": task, "video": f"v{i}.mp4", "duration": 20.0, **row}
        for i, row in enumerate(GOLD[task])
    ]


def perfect(records: list[dict[str, Any]]) -> list[str]:
    return [render_gold(r["task"], r, thought="Seen.") for r in records]


def test_every_task_is_tried() -> None:
    assert set(GOLD) == set(GOLD_COLUMNS) == set(MAIN_SCORE)


@pytest.mark.parametrize("task", GOLD)
@pytest.mark.parametrize("strict", [False, True])
def test_the_truth_scores_everything(task: str, strict: bool) -> None:
    records = records_of(task)
    result = score_texts(perfect(records), records, strict=strict)
    # Of two true clue spans the official scorer takes one; it lies inside the truth, so IoP is
    # 1, but IoU compares it with the one it equals: 1 as well.
    assert set(result.table["scores"].values()) == {1.0}
    assert result.values.tolist() == [1, 1]
    assert result.table["interval"] == [1, 1]
    assert (result.table["unparsed"], result.table["failed"]) == (0, 0)


@pytest.mark.parametrize("task", GOLD)
@pytest.mark.parametrize("text", ["", "no idea", None])
def test_nothing_scores_nothing_and_is_counted(task: str, text: str | None) -> None:
    records = records_of(task)
    result = score_texts([text, text], records)
    assert set(result.table["scores"].values()) == {0.0}
    shares = result.table["unparsed"], result.table["failed"]
    assert shares == ((0, 1) if text is None else (1, 0))
    assert sum(result.table["reasons"].values()) == 2


@pytest.mark.parametrize("task", GOLD)
def test_one_failed_video_halves_a_perfect_score(task: str) -> None:
    records = records_of(task)
    table = score_texts([perfect(records)[0], None], records).table
    assert table["scores"][table["main"]] == pytest.approx(0.5)
    assert table["failed"] == 0.5


def test_strict_reading_refuses_what_lenient_reads() -> None:
    records = records_of("temporal_grounding")
    texts = ["<answer>4s - 9s</answer>", perfect(records)[1]]
    rows = score_beside_baselines(texts, records, train_records=records)
    assert rows["model"].table["scores"]["mIoU"] == 1
    strict = rows["model, strict parsing"].table
    assert strict["scores"]["mIoU"] == 0.5
    assert strict["reasons"] == {"missing_tag": 1}


def test_truth_after_the_end_can_be_answered_as_the_reward_allows() -> None:
    record = records_of("temporal_grounding")[1]  # ends at 22 s of 20 s
    assert read_answer("<answer>12 to 22</answer>", record).value == (12, 22)
    assert read_answer("<answer>12 to 25</answer>", record).value is None


def test_a_right_option_counts_beside_an_unreadable_clue() -> None:
    records = records_of("grounded_qa")
    texts = ["<think>x</think><answer>C</answer><clue>soon</clue>", perfect(records)[1]]
    table = score_texts(texts, records).table
    assert (table["scores"]["Acc@QA"], table["scores"]["Acc@GQA"]) == (1, 0.5)
    assert table["unparsed"] == 0.5


def test_groups_are_told_apart() -> None:
    records = records_of("multiple_choice")
    table = score_texts([perfect(records)[0], ""], records).table
    assert table["groups"]["why"]["accuracy"] == 0
    assert table["scores"] == {"accuracy": 0.5, "macro": 0.5}


def test_hidden_frames_do_not_count() -> None:
    (record, _) = records_of("tracking")
    still = {"boxes": [FULL, FULL, LEFT]}
    text = render_gold("tracking", still, thought="Seen.")
    assert score_texts([text], [record]).table["scores"]["AO"] == 0.75  # (.5 + 1) / 2
    hidden = record | {"visible": [True, False, True]}
    assert score_texts([text], [hidden]).table["scores"]["AO"] == 1


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("temporal_grounding", {"whole clip", "first half", "best fixed span"}),
        ("tracking", {"copy the first box"}),
        ("multiple_choice", {"most frequent letter", "longest option"}),
        ("quality", {"most frequent label"}),
        ("caption", set()),
    ],
)
def test_each_task_has_its_trivial_answers(task: str, names: set[str]) -> None:
    records = records_of(task)
    assert set(blind_answers(records, train_records=records)) == names
    rows = score_beside_baselines(perfect(records), records, train_records=records)
    assert set(rows) == names | {"model", "model, strict parsing"}
    assert all(row.table["unparsed"] == 0 for row in rows.values())
    assert "model, strict parsing" in render_scores({k: v.table for k, v in rows.items()})


def test_trivial_answers_by_hand() -> None:
    records = records_of("tracking")
    still = score_beside_baselines(perfect(records), records)["copy the first box"].table
    # The full box over left halves: .5 twice; the left box stays: 1 twice. (1 + 2) / 4 = .75.
    assert still["scores"]["AO"] == pytest.approx(0.75)
    # With the given box: (1 + .5 + .5) / 3 = 2/3 and 1, mean 5/6.
    assert still["scores"]["overlap"] == pytest.approx(5 / 6)
    assert most_frequent(["B", "A"]) == "A"
    assert longest_option(OPTIONS) == "B"
    with pytest.raises(ValueError, match="at least one"):
        most_frequent([])


def test_without_training_records_only_what_needs_none_is_shown() -> None:
    records = records_of("grounded_qa")
    names = set(blind_answers(records, train_records=[]))
    assert names == {"longest option, whole clip", "longest option, first half"}
    assert blind_answers(records_of("quality"), train_records=[]) == {}


def test_one_task_and_one_answer_a_record() -> None:
    mixed = [*records_of("quality"), *records_of("caption")]
    for texts, records in ((["a"] * 4, mixed), (["a"], records_of("quality")), ([], [])):
        with pytest.raises(ValueError, match="one task"):
            score_texts(texts, records)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_shipped_samples_score_everything_with_their_truth(split: str) -> None:
    folder = Path(__file__).parents[1] / "data_samples" / "charades_sta"
    records = read_charades_sta(
        folder / f"toyworld_sta_{split}.txt", folder / f"toyworld_v1_{split}.csv", folder / "videos"
    )
    table = score_texts(perfect(records), records, strict=True).table
    assert table["scores"] == pytest.approx({"mIoU": 1, "R1@0.3": 1, "R1@0.5": 1, "R1@0.7": 1})
    assert score_texts([""] * len(records), records).table["scores"]["mIoU"] == 0


@pytest.mark.parametrize("name", READERS)
def test_every_shipped_format_scores_everything_with_its_truth(name: str) -> None:
    records = READERS[name][0]()
    rows = score_beside_baselines(perfect(records), records, train_records=records)
    assert set(rows["model, strict parsing"].table["scores"].values()) == {1.0}
    empty = score_texts([""] * len(records), records).table
    assert set(empty["scores"].values()) == {0.0}
    assert empty["unparsed"] == 1
