# ruff: noqa: ANN001, ANN202, ANN204
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib import rewards
from vcr1_lib.answers import completion_text
from vcr1_lib.answers.grammar import Reason
from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.prompts import FRAMES, TEMPLATES, render_gold, render_options, render_prompt
from vcr1_lib.rewards import (
    PRESETS,
    event_recall_reward,
    format_reward,
    grounded_qa_reward,
    interval_set_iou_reward,
    label_reward,
    option_reward,
    shaping,
    temporal_iou_reward,
    track_iou_reward,
)
from vcr1_lib.rewards.cases import GOLD, cases
from vcr1_lib.rewards.grading import Scored, configured, score_one
from vcr1_lib.rewards.judges import event_recall, transformers_judge, word_judge

ALL = [
    format_reward,
    temporal_iou_reward,
    interval_set_iou_reward,
    track_iou_reward,
    rewards.later_track_iou_reward,
    option_reward,
    label_reward,
    grounded_qa_reward,
    event_recall_reward,
    shaping.threshold_iou_reward,
    shaping.boundary_iou_reward,
    shaping.giou_reward,
    shaping.soft_length_reward,
]
OPTIONS = ["wave", "jump", "sit"]
GOLD_NAMES = sorted({name for gold in GOLD.values() for name in gold} | {"task"})


def framed(answer: str) -> str:
    return f"<think>Seen.</think><answer>{answer}</answer>"


def columns_of(rows):
    """Columns as a mixed dataset has them: None where a task has no such gold."""
    return {name: [row.get(name) for row in rows] for name in GOLD_NAMES}


@pytest.mark.parametrize("task", FRAMES)
def test_gold_in_the_required_format_earns_the_maximum(task):
    row = {"task": task, **GOLD[task]}
    text = render_gold(task, row, thought="I watched it.")
    for reward, weight in PRESETS[task]:
        assert weight == 1.0
        assert reward([text], **columns_of([row])) == [1.0]
        strict = configured(reward, name="strict", strict=True)
        assert score_one(strict, text, **row) == Scored(1.0)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_gold_of_every_shipped_sample_earns_the_maximum(split):
    folder = Path(__file__).parents[1] / "data_samples" / "charades_sta"
    records = read_charades_sta(
        folder / f"toyworld_sta_{split}.txt", folder / f"toyworld_v1_{split}.csv", folder / "videos"
    )
    assert records
    texts = [render_gold(row["task"], row, thought="I watched it.") for row in records]
    columns = {name: [row[name] for row in records] for name in records[0]}
    for reward, _ in PRESETS["temporal_grounding"]:
        for strict in (False, True):
            assert set(reward(texts, strict=strict, **columns)) == {1.0}


@pytest.mark.parametrize("task", FRAMES)
def test_templates_ask_for_what_the_parsers_read(task):
    fields = {
        "query": "a man sits", "object": "dog", "num_boxes": "8", "first_box": "[0, 0, 1, 1]",
        "question": "Why?", "options": render_options(OPTIONS), "labels": "low or high",
    }  # fmt: skip
    prompt = render_prompt(task, **fields)
    assert all(f"<{tag}>" in prompt for tag in FRAMES[task])
    assert TEMPLATES.keys() == FRAMES.keys() == PRESETS.keys() == GOLD.keys()


@pytest.mark.parametrize(
    ("answer", "paid", "reason"),
    [
        ("10 to 20", 1.0, None),
        ("15 to 25", 5 / 15, None),  # 15-20 of 10-25
        ("0 to 40", 10 / 40, None),
        ("30 to 40", 0.0, None),
        ("0 to 4000", 0.0, Reason.OUT_OF_RANGE),
        ("20 to 10", 0.0, Reason.REVERSED),
        ("", 0.0, Reason.EMPTY),
    ],
)
def test_temporal_iou(answer, paid, reason):
    scored = score_one(temporal_iou_reward, framed(answer), span=[10, 20], duration=40)
    assert scored == Scored(pytest.approx(paid), reason)


def test_a_missing_thought_costs_the_format_only():
    text = "<answer>10 to 20</answer>"
    assert temporal_iou_reward([text], span=[(10, 20)]) == [1.0]
    assert format_reward([text], span=[(10, 20)]) == [0.0]
    assert temporal_iou_reward([text], span=[(10, 20)], strict=True) == [0.0]


def test_truth_that_ends_after_the_video_can_be_earned():
    assert temporal_iou_reward([framed("25 to 33")], span=[(25, 33)], duration=[30.0]) == [1.0]


def test_format_looks_at_what_the_task_asks_for():
    strings = framed(str([["a", "b", "c", "d"]] * 8))
    assert format_reward([strings]) == [1.0]  # no task: tags alone
    assert format_reward([strings], boxes=[GOLD["tracking"]["boxes"]]) == [0.0]
    scored = score_one(format_reward, framed("Maybe"), options=OPTIONS, answer="A")
    assert scored == Scored(0.0, Reason.NOT_AN_OPTION)
    glue = "<think>Seen.</think><answer>A</answer><glue>[[1, 2]]</glue>"
    row = {"options": OPTIONS, "answer": "A", "spans": [(1, 2)]}
    assert score_one(format_reward, glue, **row) == Scored(1.0)
    strict = configured(format_reward, name="strict", strict=True)
    assert score_one(strict, glue, **row) == Scored(0.0, Reason.MISSING_TAG)
    assert score_one(format_reward, framed("A"), **row).reason == Reason.MISSING_TAG


def test_every_reward_reads_strings_and_messages_alike():
    text = framed("10 to 20")
    parts = [
        {"type": "text", "text": text[:9]},
        {"type": "image"},
        {"type": "text", "text": text[9:]},
    ]
    chats = [
        [{"role": "assistant", "content": text}],
        [{"role": "assistant", "content": parts}],
        [{"role": "tool", "content": "10"}, {"role": "assistant", "content": text}],
        [{"role": "assistant", "content": None}, {"role": "assistant", "content": text}],
    ]
    assert [completion_text(chat) for chat in chats] == [text] * 4
    assert temporal_iou_reward(chats, span=[(10, 20)] * 4) == [1.0] * 4
    assert format_reward([[]]) == [0.0]


def test_one_list_of_rewards_serves_a_mixed_batch():
    rows = [{"task": task, **GOLD[task]} for task in FRAMES] + [{"task": "chat"}, {}]
    texts = [render_gold(row["task"], row, thought="Seen.") for row in rows[:-2]] + ["Hi"] * 2
    for with_task in (True, False):
        columns = columns_of(rows)
        if not with_task:
            del columns["task"]
        paid = {reward.__name__: reward(texts, **columns) for reward in ALL}
        assert paid["format_reward"] == [1.0] * 6 + [None if with_task else 0.0, 0.0]
        mine = {
            "temporal_iou_reward": {"temporal_grounding"},
            "track_iou_reward": {"tracking"},
            "option_reward": {"multiple_choice", "grounded_qa"},
            "interval_set_iou_reward": {"grounded_qa"},
            "grounded_qa_reward": {"grounded_qa"},
            "event_recall_reward": {"caption"},
            "label_reward": {"quality"},
        }
        for name, tasks in mine.items():
            assert paid[name] == [1.0 if row.get("task") in tasks else None for row in rows]


def test_track_iou():
    square, half = [0, 0, 1, 1], [0, 0, 0.5, 1]
    text = framed(str([square, half]))
    assert track_iou_reward([text], boxes=[[square] * 2]) == [0.75]  # (1 + .5) / 2
    assert rewards.later_track_iou_reward([text], boxes=[[square] * 2]) == [0.5]
    missing = score_one(track_iou_reward, framed(str([square])), boxes=[square] * 8)
    assert missing == Scored(0.0, Reason.WRONG_COUNT)


def test_options_labels_and_grounded_answers():
    gqa = "<answer>(A) wave</answer><clue>[(0, 5)]</clue>"
    row = {"options": OPTIONS, "answer": "A", "spans": [(0, 10)]}
    assert score_one(option_reward, gqa, **row) == Scored(1.0)
    assert score_one(interval_set_iou_reward, gqa, **row) == Scored(0.5)
    assert score_one(grounded_qa_reward, gqa, **row) == Scored(0.75)  # (1 + .5) / 2
    unread = "<answer>A</answer><clue>later</clue>"
    assert score_one(grounded_qa_reward, unread, **row) == Scored(0.5, Reason.NOT_A_SPAN)
    assert option_reward([framed("C")], options=[OPTIONS], answer=["sit"]) == [1.0]
    assert label_reward([framed("Low quality")], answer=["low quality"]) == [1.0]
    assert label_reward([framed("fine")], answer=["bad"], labels=[["fine", "bad"]]) == [0.0]


def test_event_recall():
    events = ["a man opens the door", "a dog jumps on the bed"]
    caption = framed("A man opens a door. Birds sing.")
    assert event_recall_reward([caption], events=[events]) == [0.5]
    assert event_recall(" ".join(events), events) == 0.0  # one sentence of all words
    assert event_recall("A man opens the door. " * 2, ["a man opens the door"] * 2) == 1.0
    # Both told, in 8 sentences where 3 an event are free: 1 * 6 / 8.
    padded = ". ".join([*events, *(f"bird {i} sings" for i in range(6))])
    assert event_recall(padded, events) == 0.75
    assert word_judge("", events) == [False, False]
    lawyer = configured(event_recall_reward, name="lawyer", judge=lambda c, e: [True] * len(e))
    assert lawyer([caption], events=[events]) == [1.0]
    short = configured(event_recall_reward, name="short", max_chars=5)
    assert score_one(short, caption, events=events) == Scored(0.0, Reason.TOO_LONG)
    with pytest.raises(ValueError, match="2 verdicts"):
        event_recall("x", events, judge=lambda c, e: [True])


def test_shapes():
    truth = (10, 20)
    assert shaping.threshold_iou((10, 15), truth) == pytest.approx(2 / 3)  # .5 reaches .3 and .5
    # IoU 9/10; the start is 1 s off (1/2), the end right (1): (.9 + .75) / 2.
    assert shaping.boundary_iou((11, 20), truth) == pytest.approx(0.825)
    assert shaping.boundary_iou((9, 10), truth) == 0.0
    assert shaping.scaled_giou((30, 40), truth) == pytest.approx(1 / 3)  # 10 of 30 s uncovered
    for shape in (shaping.threshold_iou, shaping.boundary_iou, shaping.scaled_giou):
        assert shape(truth, truth) == 1.0
        assert shape((5, 5), (5, 5)) == 0.0


def test_soft_length():
    text = framed("10 to 20")
    lengths = [len(text) - 10, len(text), len(text) + 10, len(text) + 30]
    pay = [
        shaping.soft_length_reward([text], soft_chars=soft, hard_chars=soft + 20)[0]
        for soft in lengths
    ]
    assert pay == [0.5, 1.0, 1.0, 1.0]
    assert shaping.soft_length_reward([text], soft_chars=1, hard_chars=2) == [0.0]
    assert shaping.soft_length_reward([""]) == [0.0]
    with pytest.raises(ValueError, match="soft_chars < hard_chars"):
        shaping.soft_length_reward([text], soft_chars=5, hard_chars=5)


@pytest.mark.parametrize(
    ("reward", "columns"),
    [
        (temporal_iou_reward, {"span": [(1, 2), (5, 3)]}),
        (temporal_iou_reward, {"span": [(1, 2), (float("nan"), 3)]}),
        (temporal_iou_reward, {"span": [(1, 2), "1 to 2"]}),
        (temporal_iou_reward, {"span": [(1, 2), (-1, 2)]}),
        (temporal_iou_reward, {"span": [(1, 2), None], "task": ["temporal_grounding"] * 2}),
        (temporal_iou_reward, {"span": [(1, 2)] * 2, "duration": [9, 0]}),
        (interval_set_iou_reward, {"spans": [[(1, 2)], []], "task": ["grounded_qa"] * 2}),
        (track_iou_reward, {"boxes": [[(0, 0, 1, 1)], [(0, 0, 2, 1)]]}),
        (track_iou_reward, {"boxes": [[(0, 0, 1, 1)], []]}),
        (option_reward, {"options": [OPTIONS] * 2, "answer": ["A", "hmm"]}),
        (option_reward, {"options": [OPTIONS, ["a"] * 30], "answer": ["A", "A"]}),
        (option_reward, {"options": [OPTIONS, ["x", "x"]], "answer": ["A", "x"]}),
        (label_reward, {"answer": ["low quality", "fine"]}),
        (event_recall_reward, {"events": [["a man sits"], [""]]}),
    ],
)
def test_bad_gold_raises_with_the_reward_and_the_sample(reward, columns):
    with pytest.raises(ValueError, match=rf"^{reward.__name__}: sample 1: expected .* got "):
        reward([framed("1 to 2")] * 2, **columns)


def test_reasons_go_to_whoever_asks():
    reasons, logged = [], {}
    texts = [framed("10 to 20"), framed("20 to 10"), "10 to 20"]
    rows = {"span": [(10, 20)] * 3, "reasons_out": reasons, "log_extra": logged.__setitem__}
    assert temporal_iou_reward(texts, **rows) == [1.0, 0.0, 0.0]
    assert reasons == [None, Reason.REVERSED, Reason.MISSING_TAG]
    assert logged == {"temporal_iou_reward_reason": ["", "reversed", "missing_tag"]}
    assert json.dumps(reasons) == '[null, "reversed", "missing_tag"]'


def test_configured_rewards_survive_a_process_boundary():
    copy = pickle.loads(pickle.dumps(shaping.threshold_iou_reward))
    assert copy.__name__ == "threshold_iou_reward"
    assert copy([framed("10 to 15")], span=[(10, 20)]) == [pytest.approx(2 / 3)]


mutations = st.tuples(
    st.sampled_from([case.completion[:3000] for task in GOLD for case in cases(task)]),
    st.integers(0, 200),
    st.integers(0, 30),
    st.text(max_size=5) | st.sampled_from(["<answer>", "</think>", "1e999", "-", "\n", ", "]),
).map(lambda m: m[0][: m[1]] + m[3] + m[0][m[1] + m[2] :])


@given(st.lists(st.text() | mutations, min_size=1, max_size=3))
def test_any_completion_is_paid_within_the_range(texts):
    for task, gold in GOLD.items():
        columns = columns_of([{"task": task, **gold}] * len(texts))
        formed = format_reward(texts, **columns)
        for reward in ALL:
            paid = reward(texts, **columns)
            assert all(p is None or (isinstance(p, float) and 0 <= p <= 1) for p in paid)
            assert paid == [reward([t], **columns_of([{"task": task, **gold}]))[0] for t in texts]
        accuracy = PRESETS[task][-1][0]
        for text, form in zip(texts, formed, strict=True):
            # What accuracy pays, the format pays too once the frame around it is right.
            scored = score_one(accuracy, text, task=task, **gold)
            tags = score_one(format_reward, text)
            if scored.value and tags.reason is None and task != "grounded_qa":
                assert form == 1.0
            if form == 1.0:
                assert scored.reason in (None, Reason.OUT_OF_RANGE)


def test_importing_rewards_stays_light():
    heavy = ["torch", "transformers", "torchvision", "decord", "av", "PIL", "trl"]
    code = (
        "import sys, vcr1_lib.rewards, vcr1_lib.rewards.shaping, vcr1_lib.rewards.bench;"
        f"sys.exit(', '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


class _Words:
    """A tokenizer of whole words, for a judge model of a dozen parameters."""

    chat_template = None

    def __init__(self):
        self.ids = {}

    def encode(self, text, add_special_tokens=False):
        return [self.ids.setdefault(word, len(self.ids)) for word in text.split()]

    def __call__(self, text, return_tensors):
        import torch

        self.seen = text
        return type("Encoding", (), {"input_ids": torch.tensor([self.encode(text)])})


def test_the_language_model_judge_compares_yes_with_no():
    torch = pytest.importorskip("torch")
    tokenizer = _Words()

    class Model:
        device = "cpu"

        def __call__(self, input_ids):
            logits = torch.zeros(1, input_ids.shape[1], 1000)
            told = '"a dog barks"?' in tokenizer.seen
            logits[0, -1, tokenizer.encode("yes" if told else "no")] = 5.0
            return type("Output", (), {"logits": logits})

    judge = transformers_judge(Model(), tokenizer)
    assert judge('x" \ud800 is it?', ["a dog barks", "a man sits"]) == [True, False]
    assert '"x\\" ? is it?"' in tokenizer.seen  # the caption cannot close its own quotation


def test_the_language_model_judge_runs_a_real_model():
    transformers = pytest.importorskip("transformers")
    model, tokenizer = tiny_language_model(transformers)
    judge = transformers_judge(model, tokenizer)
    verdicts = judge("A man sits.", ["a man sits", "a dog barks"])
    assert verdicts == judge("A man sits.", ["a man sits", "a dog barks"])
    assert [type(verdict) for verdict in verdicts] == [bool, bool]


def tiny_language_model(transformers):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    text = "<pad> <eos> yes Yes no No to 10 20 <answer> </answer> <think> </think> Seen . , ?"
    words = text.split()
    inner = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>"
    )
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=128, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config), tokenizer


@pytest.mark.filterwarnings("ignore")
def test_the_same_rewards_run_in_trl(tmp_path):
    trl = pytest.importorskip("trl")
    transformers = pytest.importorskip("transformers")
    datasets = pytest.importorskip("datasets")
    model, tokenizer = tiny_language_model(transformers)
    rows = [
        {
            "prompt": "10 to 20 ?",
            "task": "temporal_grounding",
            "span": [10.0, 20.0],
            "answer": None,
        },
        {"prompt": "yes no ?", "task": "quality", "span": None, "answer": "high quality"},
    ]
    trainer = trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[
            format_reward, temporal_iou_reward, label_reward, shaping.giou_reward,
            shaping.soft_length_reward,
        ],
        train_dataset=datasets.Dataset.from_list(rows * 2),
        eval_dataset=datasets.Dataset.from_list(rows[:1]),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=2,
            max_completion_length=8, max_steps=4, report_to=[], use_cpu=True, logging_steps=1,
            save_strategy="no", disable_tqdm=True, log_completions=True,
            per_device_eval_batch_size=2, eval_on_start=True,  # its table is half full
        ),
    )  # fmt: skip
    trainer.train()
    logs = [log for log in trainer.state.log_history if "reward" in log]
    assert len(logs) == 4
    for log in logs:
        for name in ("format_reward", "temporal_iou_reward", "label_reward", "giou_reward"):
            # TRL averages a reward over the samples it applies to; a step may hold none.
            assert 0 <= log[f"rewards/{name}/mean"] <= 1 or np.isnan(log[f"rewards/{name}/mean"])
        assert np.isfinite(log["reward"])
