"""Groups that cannot move are not run again; a model that cannot share gets separate rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import FAMILIES, noise_clip

from vcr1_lib import groups
from vcr1_lib.groups import encode_prompts, rollout
from vcr1_lib.groups.policy import GroupPolicy, Rollout
from vcr1_lib.groups.rollout import answer_noise
from vcr1_lib.models.processing import prompt_inputs

FRAMES = (4, 6, 2)


def sampled(name: str, advantages: list[list[float]], **options: Any) -> Any:
    model, processor = FAMILIES[name]()
    policy = GroupPolicy(model, processor, temperature=0.8, **options)
    inputs = [prompt_inputs(processor, noise_clip(n, seed=n), "When?" + "!" * n) for n in FRAMES]
    with torch.no_grad():
        prompts = encode_prompts(model, policy.collate(inputs, torch.device("cpu")))
    noise = answer_noise(0, 0, [1, 2, 3], group=2, length=9)
    answers = policy.sample(model, prompts, inputs, noise)
    return model, policy, Rollout(inputs, prompts, answers, answers.mask, torch.tensor(advantages))


def gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", FAMILIES)
def test_skipping_flat_groups_changes_no_gradient(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, policy, sample = sampled(name, [[0.0, 0.0], [1.0, -1.0], [0.0, 0.0]])
    weight = sample.advantages[..., None] * sample.mask
    whole = gradients(model, (policy.score(model, sample) * weight).sum())
    ran = []
    monkeypatch.setattr(
        "vcr1_lib.groups.policy.score_groups",
        lambda model, prompts, *args, **kw: (
            ran.append(len(prompts.input_ids)) or groups.score_groups(model, prompts, *args, **kw)
        ),
    )
    logps = policy.score_moving(model, sample)
    kept = gradients(model, (logps * weight).sum())
    assert ran == [1]
    assert (logps - sample.answers.logps).abs().max() < 1e-5
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, kept, strict=True))


def test_a_step_without_any_difference_has_a_zero_gradient_for_every_weight() -> None:
    model, policy, sample = sampled("smolvlm", [[0.0, 0.0]] * 3)
    assert not any(
        grad.any() for grad in gradients(model, policy.score_moving(model, sample).sum())
    )
    assert all(p.grad is not None for p in model.parameters())


def test_one_group_runs_where_other_processes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    model, policy, sample = sampled("smolvlm", [[0.0, 0.0]] * 3)
    ran = []
    monkeypatch.setattr(
        policy, "score", lambda model, part, slope: ran.append(part) or part.answers.logps
    )
    policy.score_moving(model, sample, at_least=1)
    assert [len(part.inputs) for part in ran] == [1]


def test_truncated_answers_that_are_masked_cannot_move() -> None:
    _, _, sample = sampled("smolvlm", [[1.0, -1.0]] * 3)
    assert sample.moving() == [0, 1, 2]
    assert sample._replace(mask=torch.zeros_like(sample.mask)).moving() == []


@pytest.mark.parametrize("name", FAMILIES)
def test_separate_rows_sample_and_score_the_same(name: str) -> None:
    model, policy, shared = sampled(name, [[1.0, -1.0]] * 3)
    _, rows_policy, rows = sampled(name, [[1.0, -1.0]] * 3, shared_prefix=False)
    assert policy.shares_prefix is True
    assert rows_policy.shares_prefix is False
    assert torch.equal(shared.answers.mask, rows.answers.mask)
    chosen = [part.tokens[part.mask].tolist() for part in (shared.answers, rows.answers)]
    assert chosen[0] == chosen[1]
    gap = policy.score(model, shared) - rows_policy.score(model, rows)
    assert gap.abs().max() < 1e-5


@pytest.mark.parametrize("where", [groups, rollout], ids=["scoring", "decoding"])
def test_a_model_that_ignores_the_mask_is_found_out(
    where: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "vcr1_lib.groups.policy.logger.warning", lambda text: caplog.records.append(text)
    )
    # Every answer sees its siblings, as under an attention that takes no 4-D mask.
    monkeypatch.setattr(where, "model_mask", lambda model, seen, **rows: torch.ones_like(seen).tril(
        diagonal=seen.shape[-1] - seen.shape[-2]
    ))  # fmt: skip
    _, policy, _ = sampled("smolvlm", [[1.0, -1.0]] * 3)
    assert policy.shares_prefix is False
    assert "a row of its own" in str(caplog.records)
