# ruff: noqa: ANN001, ANN003, ANN202, ANN204
"""The bench passes our rewards and catches known designs, written here in our own words."""

import math
import re

import pytest

from vcr1_lib import rewards
from vcr1_lib.overlap import interval_iou
from vcr1_lib.rewards import bench as reward_bench
from vcr1_lib.rewards.bench import as_chat, blind_score, kind_of, load_rewards, main, run_bench
from vcr1_lib.rewards.cases import GOLD, blind_answers, cases, draw_truths

OURS = {
    "temporal_grounding": rewards.temporal_iou_reward,
    "tracking": rewards.track_iou_reward,
    "multiple_choice": rewards.option_reward,
    "grounded_qa": rewards.grounded_qa_reward,
    "caption": rewards.event_recall_reward,
    "quality": rewards.label_reward,
}


@pytest.mark.parametrize("task", GOLD)
def test_our_rewards_are_right_in_every_row(task):
    accuracy, form = OURS[task], rewards.format_reward
    both = load_rewards(["vcr1_lib.rewards:format_reward", f"vcr1_lib.rewards:{accuracy.__name__}"])
    for reward, kind in ((accuracy, "accuracy"), (form, "format"), (both, "total")):
        assert kind_of(reward, task) == kind
        verdicts = run_bench(reward, [task])
        assert [v for v in verdicts if not v.ok] == []
        assert len(verdicts) == len(cases(task))


def test_every_hole_of_the_papers_table_is_a_row():
    named = " ".join(case.why for task in GOLD for case in cases(task))
    for system in (
        "VideoChat-R1",
        "TimeZero",
        "Time-R1",
        "Video-R1",
        "Open-o3-Video",
        "OneThinker",
    ):
        assert system in named
    rows = {case.answer for task in GOLD for case in cases(task)}
    for answer in ("10.0s to 20.0s", "00:10 to 00:20", "-10 to 20", "1,010.0 to 20.0", "0 to 4000",
                   "0 to 5, 5 to 9, 10 to 20", "<think></think><answer></answer>",
                   "Because it is D", "Answer: C", "Dance", "a", "nan"):  # fmt: skip
        assert answer in rows


def answer_block(text):
    """The last answer block, as many public parsers take it."""
    found = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    return found[-1] if found else text


def last_match_wins(completions, span, **columns):
    paid = []
    for text, truth in zip(completions, span, strict=True):
        found = re.findall(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)", answer_block(text))
        paid.append(interval_iou([float(x) for x in found[-1]], truth) if found else 0.0)
    return paid


def first_capital_wins(completions, answer, **columns):
    firsts = [re.search("[A-G]", answer_block(text)) for text in completions]
    truths = [re.search("[A-G]", truth) for truth in answer]
    letter = [(f and f[0], t and t[0]) for f, t in zip(firsts, truths, strict=True)]
    return [float(f == t) for f, t in letter]


def hull_as_union(completions, spans, **columns):
    paid = []
    for text, truth in zip(completions, spans, strict=True):
        found = re.findall(r"\((\d+(?:\.\d+)?), (\d+(?:\.\d+)?)\)", text)
        ends = [float(x) for pair in found for x in pair]
        hull = [min(s for s, _ in truth), max(e for _, e in truth)]
        paid.append(interval_iou([min(ends), max(ends)], hull) if ends else 0.0)
    return paid


def gaps_as_union(completions, spans, **columns):
    """Overlap over the hull of everything: a gap counts against the right answer."""
    paid = []
    for text, truth in zip(completions, spans, strict=True):
        found = [(float(s), float(e)) for s, e in re.findall(r"\(([\d.]+), ([\d.]+)\)", text)]
        shared = sum(max(0, min(e, v) - max(s, u)) for s, e in found for u, v in truth)
        ends = [x for pair in [*found, *truth] for x in pair]
        paid.append(shared / (max(ends) - min(ends)))
    return paid


class StaleVariable:
    """The overlap is only assigned where the hull has a length."""

    def __init__(self):
        self.iou = 0.0

    def __call__(self, completions, span, **columns):
        paid = []
        for text, (start, end) in zip(completions, span, strict=True):
            found = re.search(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)$", answer_block(text))
            s, e = (float(found[1]), float(found[2])) if found else (0.0, -1.0)
            hull = max(e, end) - min(s, start)
            if hull > 0:
                self.iou = max(0.0, min(e, end) - max(s, start)) / hull
            paid.append(self.iou)
        return paid


def unguarded_track(completions, boxes, **columns):
    """Overlap by areas, as written for finite numbers; the text is handed to ``eval``."""
    paid = []
    for text, truth in zip(completions, boxes, strict=True):
        track = eval(answer_block(text), {"range": range}) if "[[" in text else []
        total = 0.0
        for (a, b, c, d), (x, y, z, w) in zip(track, truth, strict=False):
            shared = max(0, min(c, z) - max(a, x)) * max(0, min(d, w) - max(b, y))
            union = (c - a) * (d - b) + (z - x) * (w - y) - shared
            total += shared / union if union else 0.0
        paid.append(total / max(1, len(track)))
    return paid


def empty_tags_are_fine(completions, **columns):
    frame = re.compile(r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*", re.DOTALL)
    return [float(frame.fullmatch(text) is not None) for text in completions]


def right_words_anywhere(completions, answer, **columns):
    return [float(truth in text) for text, truth in zip(completions, answer, strict=True)]


@pytest.mark.parametrize(
    ("reward", "task", "caught"),
    [
        (last_match_wins, "temporal_grounding", {
            "-10 to 20", "1,010.0 to 20.0", "0 to 5, 5 to 9, 10 to 20",
            "<think>Hm. <answer>10 to 20</answer></think>"}),
        (first_capital_wins, "multiple_choice", {"Because it is D", "Answer: C", "hmm"}),
        (hull_as_union, "grounded_qa", {"[(10, 35)]", "[(10, 11), (34, 35)]"}),
        (StaleVariable(), "temporal_grounding", {"5 to 5", "0 to 5, 5 to 9, 10 to 20"}),
        (unguarded_track, "tracking", {
            "[[0, 0, 1e999, 0], ", "[[0.1, 0.2, 0.3, 0.6] for _ in range(8)]", "[['a', "}),
        (empty_tags_are_fine, "temporal_grounding", {
            "<think></think><answer></answer>",
            "<think>Hm.</think><answer>0 to 5</answer><answer>10 to 20</answer>"}),
        (right_words_anywhere, "quality", {"not high quality", "low quality or high quality"}),
    ],
)  # fmt: skip
def test_the_bench_catches_known_designs(reward, task, caught):
    wrong = [verdict.case.answer for verdict in run_bench(reward, [task]) if not verdict.ok]
    for answer in caught:
        assert any(answer in text for text in wrong), answer


def test_an_overlap_over_the_hull_does_not_even_pay_the_truth():
    assert kind_of(gaps_as_union, "grounded_qa") is None
    with pytest.raises(ValueError, match="expected a reward that pays 1"):
        run_bench(gaps_as_union, ["grounded_qa"])


def test_a_reward_that_lets_one_answer_change_another_is_caught():
    def best_of_batch(completions, **columns):
        paid = rewards.temporal_iou_reward(completions, **columns)
        return [max(paid)] * len(paid) if len(paid) > 2 else paid

    wrong = [v for v in run_bench(best_of_batch, ["temporal_grounding"]) if not v.ok]
    assert any("among others" in str(v.paid) for v in wrong)


def test_raising_and_nan_are_verdicts_and_a_bug_in_the_bench_is_not():
    def nan_where_reversed(completions, span, **columns):
        paid = rewards.temporal_iou_reward(completions, span, **columns)
        return [math.nan if "20 to 10" in c else p for c, p in zip(completions, paid, strict=True)]

    def raises(completions, span, **columns):
        return [1 / ("20 to 10" not in text) and 1.0 for text in completions]

    for reward, words in ((nan_where_reversed, "nan"), (raises, "raised ZeroDivisionError")):
        verdicts = run_bench(reward, ["temporal_grounding"])
        (verdict,) = [v for v in verdicts if v.case.answer == "20 to 10"]
        assert not verdict.ok
        assert words in str(verdict.paid)


def test_rewards_with_a_narrow_signature_and_message_lists_are_run():
    def solution_only(completions, solution):
        texts = [completion[0]["content"] for completion in completions]
        return [float(text == truth.replace("-", "I watched it.", 1)) for text, truth in
                zip(texts, solution, strict=True)]  # fmt: skip

    assert kind_of(solution_only, "multiple_choice") is None
    assert kind_of(as_chat(solution_only), "multiple_choice") == "accuracy"


@pytest.mark.parametrize("task", GOLD)
def test_truths_and_blind_answers(task):
    rows = draw_truths(task, 5, seed=1)
    assert rows == draw_truths(task, 5, seed=1) != draw_truths(task, 5, seed=2)
    for row in rows:
        text = reward_bench.render_gold(task, row, thought="Seen.")
        assert reward_bench.pay(OURS[task], [(text, row)]) == [1.0]
    assert len(blind_answers(task)) > 5


def test_blind_scores():
    rows = draw_truths("temporal_grounding", reward_bench.NUM_TRUTHS, seed=0)
    guesses = [(a, b) for a in range(0, 41, 2) for b in range(a + 2, 41, 2)]
    best = max(
        sum(interval_iou(guess, row["span"]) for row in rows) / len(rows) for guess in guesses
    )
    blind = blind_score(rewards.temporal_iou_reward, "temporal_grounding")
    assert blind.mean_reward == pytest.approx(best)
    assert 0.3 < best < 0.5
    assert blind_score(rewards.format_reward, "quality").mean_reward == 1.0
    # Recall alone pays a list of everything in full; ours charges for sentences.
    recall = rewards.configured(
        rewards.event_recall_reward, name="recall",
        judge=lambda caption, events: [event in caption for event in events],
    )  # fmt: skip
    assert blind_score(recall, "caption").mean_reward < 0.5


def test_the_command_prints_a_report_card(capsys):
    assert main(["vcr1_lib.rewards:temporal_iou_reward", "vcr1_lib.rewards:format_reward"]) == 0
    card = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"(\d+) of \1 rows right", card[0])
    assert card[-1].startswith("best blind temporal_grounding: 1.")
    assert main(["vcr1_lib.rewards.shaping:giou_reward"]) == 1
    assert "WRONG  temporal_grounding: '30 to 35' paid 0.3" in capsys.readouterr().out
