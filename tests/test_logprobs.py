"""Chunked log-probabilities equal the plain ones, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vcr1_lib.groups import token_logps
from vcr1_lib.grpo import grpo_loss, logprobs
from vcr1_lib.grpo.logprobs import chunked_logps, slope_of

N, H, V = 13, 8, 50


def inputs(dtype: torch.dtype = torch.float32, num_tokens: int = N) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(num_tokens, H, generator=generator).to(dtype)
    weight = torch.randn(V, H, generator=generator).to(dtype)
    bias = torch.randn(V, generator=generator).to(dtype)
    tokens = torch.randint(2, V - 5, (num_tokens,), generator=generator)
    banned = (torch.arange(V) >= V - 5) | (torch.arange(V) < 2)
    return {"hidden": hidden, "weight": weight, "tokens": tokens, "bias": bias, "banned": banned}


def plain(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    banned: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All scores at once, the way every textbook does it."""
    scores = (hidden @ weight.T).to(torch.promote_types(hidden.dtype, torch.float32))
    scores = (scores if bias is None else scores + bias) / (temperature or 1.0)
    if banned is not None:
        scores = scores.masked_fill(banned, -torch.inf)
    logps = scores.log_softmax(-1)
    entropy = torch.special.entr(logps.exp()).sum(-1)
    return logps.gather(-1, tokens[:, None])[:, 0], entropy


def gradients(values: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    pull = torch.linspace(-1, 2, len(values), dtype=values.dtype)
    return torch.autograd.grad((values * pull).sum(), leaves)


@pytest.mark.parametrize("chunk_tokens", [1, 4, 13, 100])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("without", [(), ("bias",), ("bias", "banned")])
def test_equal_to_the_plain_way(
    chunk_tokens: int, temperature: float, without: tuple[str, ...]
) -> None:
    given = {name: value for name, value in inputs().items() if name not in without}
    leaves = [given[n].requires_grad_() for n in ("hidden", "weight", "bias") if n in given]
    logps, entropy = plain(**given, temperature=temperature)
    ours = chunked_logps(
        **given, temperature=temperature, chunk_tokens=chunk_tokens, with_entropy=True
    )
    assert ours.entropy is not None
    assert not ours.entropy.requires_grad
    # fp32 relative rounding is 6e-8; scores reach about 20 and gradients about 30.
    assert torch.allclose(ours.logps, logps, rtol=1e-6, atol=1e-6)
    assert torch.allclose(ours.entropy, entropy, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients(ours.logps, *leaves), gradients(logps, *leaves), strict=True):
        assert (mine - theirs).norm() < 1e-6 * theirs.norm()


@pytest.mark.parametrize("trained", [("hidden",), ("weight",), ("bias",), ("hidden", "weight")])
def test_only_what_is_trained_gets_a_gradient(trained: tuple[str, ...]) -> None:
    given = inputs()
    for name in trained:
        given[name].requires_grad_()
    chunked_logps(**given, chunk_tokens=4).logps.sum().backward()
    leaves = [given[name] for name in trained]
    expected = torch.autograd.grad(plain(**given)[0].sum(), leaves)
    for name in ("hidden", "weight", "bias"):
        assert (given[name].grad is not None) == (name in trained)
    for leaf, gradient in zip(leaves, expected, strict=True):
        assert (leaf.grad - gradient).norm() < 1e-6 * gradient.norm()


def test_gradcheck() -> None:
    given = inputs(torch.float64, num_tokens=5)
    leaves = [given[name].requires_grad_() for name in ("hidden", "weight", "bias")]

    def score(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        changed = given | {"hidden": hidden, "weight": weight, "bias": bias}
        return chunked_logps(**changed, temperature=0.8, chunk_tokens=2).logps

    assert torch.autograd.gradcheck(score, leaves)


def test_half_precision_keeps_a_float32_softmax() -> None:
    given = inputs(torch.bfloat16)
    leaves = [given["hidden"].requires_grad_(), given["weight"].requires_grad_()]
    ours, (logps, _) = chunked_logps(**given, chunk_tokens=4), plain(**given)
    assert ours.logps.dtype == torch.float32
    assert torch.allclose(ours.logps, logps, atol=1e-5)
    for mine, theirs in zip(gradients(ours.logps, *leaves), gradients(logps, *leaves), strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - theirs).float().norm() < 0.01 * theirs.float().norm()


def test_autocast_is_the_same_as_casting() -> None:
    given = inputs()
    leaves = [given["hidden"].requires_grad_(), given["weight"].requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        inside = chunked_logps(**given, chunk_tokens=4).logps
    cast = given | {name: given[name].bfloat16() for name in ("hidden", "weight")}
    outside = chunked_logps(**cast, chunk_tokens=4).logps
    assert torch.equal(inside, outside)
    pairs = zip(gradients(inside, *leaves), gradients(outside, *leaves), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_no_tokens_and_no_gradient() -> None:
    given = inputs(num_tokens=0)
    given["hidden"].requires_grad_()
    given["weight"].requires_grad_()
    empty = chunked_logps(**given, with_entropy=True)
    assert empty.logps.shape == (0,)
    empty.logps.sum().backward()
    assert (given["weight"].grad == 0).all()
    given = inputs()
    given["hidden"].requires_grad_()
    with torch.no_grad():
        assert not chunked_logps(**given).logps.requires_grad


def test_a_banned_choice_is_impossible_and_does_no_harm() -> None:
    given = inputs()
    given["tokens"][3] = V - 1
    given["hidden"].requires_grad_()
    logps = chunked_logps(**given, chunk_tokens=4).logps
    assert logps[3] == -torch.inf
    logps.where(logps.isfinite(), logps.new_zeros(())).sum().backward()
    assert given["hidden"].grad.isfinite().all()


def test_it_scores_what_sampling_normalises() -> None:
    given = inputs()
    del given["bias"]
    scores = token_logps(
        given["hidden"] @ given["weight"].T, temperature=0.9, banned=given["banned"]
    )
    expected = scores.gather(-1, given["tokens"][:, None])[:, 0]
    assert torch.allclose(chunked_logps(**given, temperature=0.9).logps, expected, atol=1e-6)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows of scores were made, chunk by chunk."""
    made: list[int] = []
    plainly = logprobs._scores

    def counted(hidden: Tensor, *rest: Any) -> Tensor:
        made.append(len(hidden))
        return plainly(hidden, *rest)

    monkeypatch.setattr(logprobs, "_scores", counted)
    return made


LOSSES = [
    {"loss_type": "grpo"},
    {"loss_type": "bnpo", "beta": 0.04},
    {"loss_type": "dr_grpo", "max_completion_length": 5, "beta": 0.1, "kl_estimator": "k1"},
    {"loss_type": "dapo", "num_items": 9},
    {"loss_type": "cispo", "num_items": 9, "epsilon_high": 1.1},
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["loss_type"])
@pytest.mark.parametrize("on_policy", [True, False])
@pytest.mark.parametrize("factor", [1.0, 1024.0])
def test_a_foretold_slope_saves_the_second_pass(
    passes: list[int], loss: dict[str, Any], on_policy: bool, factor: float
) -> None:
    """Of every loss by token; a scaler's factor comes on top, as under fp16."""
    given = inputs(num_tokens=12)
    leaves = [given[name].requires_grad_() for name in ("hidden", "weight", "bias")]
    shape = (2, 2, 3)
    mask = torch.ones(shape, dtype=torch.bool)
    mask[0, 1, 1:] = mask[1, 0, 2] = False
    generator = torch.Generator().manual_seed(1)
    near = plain(**given)[0].detach().reshape(shape)
    near = near + 0.3 * torch.randn(shape, generator=generator)
    options = loss | {"ref_logps": near if "beta" in loss else None}
    options["old_logps"] = None if on_policy else near
    advantages = torch.tensor([[1.0, -1.0], [0.5, -0.5]])

    def of(logps: Tensor) -> Tensor:
        return factor * grpo_loss(logps.reshape(shape), advantages, mask, **options).loss

    expected = torch.autograd.grad(of(plain(**given)[0]), leaves)
    ours = chunked_logps(
        **given, chunk_tokens=5, loss_slope=lambda logps: slope_of(of, logps) / factor
    )
    gradient = torch.autograd.grad(of(ours.logps), leaves, retain_graph=True)
    assert passes == [5, 5, 2]
    again = torch.autograd.grad(of(ours.logps), leaves)
    assert passes == [5, 5, 2] * 2, "what was folded is handed on once"
    for mine in (gradient, again):
        for one, other in zip(mine, expected, strict=True):
            assert (one - other).norm() < 2e-6 * other.norm()


def test_a_slope_that_does_not_come_true_does_no_harm(passes: list[int]) -> None:
    given = inputs()
    leaves = [given[name].requires_grad_() for name in ("hidden", "weight")]
    for wrong in (torch.ones_like, torch.zeros_like, lambda x: torch.full_like(x, torch.nan)):
        passes.clear()
        logps = chunked_logps(**given, chunk_tokens=5, loss_slope=wrong).logps
        pairs = zip(gradients(logps, *leaves), gradients(plain(**given)[0], *leaves), strict=True)
        assert all((mine - other).norm() < 1e-6 * other.norm() for mine, other in pairs)
        assert passes == [5, 5, 3] * 2


def test_a_frozen_head_is_not_asked_for_slopes() -> None:
    def unasked(logps: Tensor) -> Tensor:
        raise AssertionError(logps)

    given = inputs()
    given["hidden"].requires_grad_()
    chunked_logps(**given, loss_slope=unasked).logps.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": torch.zeros(3, dtype=torch.long)}, "tokens"),
        ({"hidden": torch.zeros(N, H + 1)}, "hidden"),
        ({"chunk_tokens": 0}, "chunk_tokens >= 1"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chunked_logps(**(inputs() | change))
