"""The loop that trains SmolLM2 on described clips, on a random model of its kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tools.record_smollm2 import OPTIONS, Prompts, answer, score_tokens
from tools.time_lines import CLIP_SECONDS, make_questions, pay
from vcr1_lib.prompts import render_span

COPIES, LENGTH = 3, 5
RECORD = Path(__file__).parents[1] / "data_samples" / "runs" / "smollm2_nf4_lora"


class Marks:
    """The two tokens that sampling asks a tokenizer for."""

    pad_token_id = 0
    eos_token_id = 1


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, bos_token_id=None,
        eos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    """Two prompts of unequal length, padded on the left."""
    ids = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 10, 11, 12]])
    return Prompts(ids, (ids != 0).long())


def test_a_prompt_that_is_run_once_scores_as_one_that_is_run_for_each_answer(
    model: LlamaForCausalLM, prompts: Prompts
) -> None:
    torch.manual_seed(1)
    answers, mask = answer(
        model, Marks, prompts, COPIES, LENGTH, do_sample=True, top_k=0, top_p=1.0
    )
    assert answers.shape == mask.shape == (2 * COPIES, answers.shape[1])
    shared = score_tokens(model, prompts, answers, mask)
    (shared * mask).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    total = torch.zeros(())
    for row, (said, real) in enumerate(zip(answers, mask, strict=True)):
        group = row // COPIES
        ids = torch.cat([prompts.ids[group][prompts.mask[group].bool()], said[real]])[None]
        logps = model(ids).logits.log_softmax(-1)[0, -int(real.sum()) - 1 : -1]
        chosen = logps.gather(-1, said[real][:, None])[:, 0]
        torch.testing.assert_close(shared[row][real], chosen, atol=1e-5, rtol=0)
        total = total + chosen.sum()
    total.backward()
    for one, p in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, atol=1e-4, rtol=1e-3)


def test_greedy_answers_end_where_the_model_ends_them(
    model: LlamaForCausalLM, prompts: Prompts
) -> None:
    answers, mask = answer(model, Marks, prompts, 1, LENGTH, do_sample=False)
    again, _ = answer(model, Marks, Prompts(prompts.ids[1:], prompts.mask[1:]), 1, LENGTH,
                      do_sample=False)  # fmt: skip
    assert torch.equal(answers[1, : again.shape[1]], again[0])
    for said, real in zip(answers, mask, strict=True):
        ends = (said == Marks.eos_token_id).nonzero()
        length = int(ends[0]) + 1 if len(ends) else len(said)
        assert real.tolist() == [place < length for place in range(len(said))]


def test_the_right_span_is_paid_in_full() -> None:
    questions = make_questions(4, seed=3)
    assert [q.span for q in make_questions(4, seed=3)] == [q.span for q in questions]
    right = [render_span(*q.span, thought="x") for q in questions]
    assert torch.equal(pay(right, questions, 1), torch.ones(4, 1, 2))
    silent = pay(["It is a dog."] * 8, questions, 2)
    assert torch.equal(silent, torch.zeros(4, 2, 2))
    for question in questions:
        start, end = question.span
        assert 0 <= start < end <= CLIP_SECONDS
        assert f"{start} to {end} " in question.messages[-1]["content"]


def test_the_recorded_run_says_what_its_answers_are_paid() -> None:
    """Its questions are those of its seed; notebook 06 reads them."""
    kept = json.loads((RECORD / "result.json").read_text())
    settings = json.loads((RECORD / "config.json").read_text())
    assert {name: settings[name] for name in OPTIONS} == OPTIONS
    questions = make_questions(settings["heldout"], seed=settings["seed"] + 1)
    assert [list(q.span) for q in questions] == [row["span"] for row in kept["questions"]]
    for when in ("before", "after"):
        form, overlap = pay(kept[when]["answers"], questions, 1)[:, 0].mean(0).tolist()
        assert form == pytest.approx(kept[when]["format"], abs=1e-4)
        assert overlap == pytest.approx(kept[when]["mIoU"], abs=1e-4)
    assert len((RECORD / "metrics.jsonl").read_text().splitlines()) == settings["steps"]
