"""The loss by hand, by law, and against TRL's own."""

from __future__ import annotations

from collections import defaultdict
from math import exp, log
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from trl import GRPOTrainer

from vcr1_lib.grpo import (
    STD_EPSILON,
    GRPOLoss,
    LossType,
    ScaleRewards,
    combine_rewards,
    group_advantages,
    grpo_loss,
    is_flat,
    kl_k3,
)

NAN = float("nan")
LOSS_TYPES: tuple[LossType, ...] = ("grpo", "bnpo", "dr_grpo", "dapo")
SCALES: tuple[ScaleRewards, ...] = ("group", "batch", "none")
OPTIONS = {"max_completion_length": 8, "num_items": 5.0}

groups = st.integers(2, 6).flatmap(
    lambda size: st.lists(
        st.lists(st.floats(-10, 10), min_size=size, max_size=size), min_size=1, max_size=4
    )
)


def doubles(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        # Means 1 and 5. Unbiased deviations: sqrt((1 + 0 + 1) / 2) = 1 and sqrt(32 / 2) = 4.
        ("group", [[-1 / 1.0001, 0, 1 / 1.0001], [-4 / 4.0001, 0, 4 / 4.0001]]),
        # All six: mean 3, squares 9 + 4 + 1 + 4 + 4 + 36 = 58, over 5 is 11.6.
        ("batch", [[x / (11.6**0.5 + 1e-4) for x in row] for row in ([-1, 0, 1], [-4, 0, 4])]),
        ("none", [[-1, 0, 1], [-4, 0, 4]]),
    ],
)
def test_advantages_by_hand(scale: ScaleRewards, expected: list[list[float]]) -> None:
    assert STD_EPSILON == 1e-4
    advantages = group_advantages(doubles([[0, 1, 2], [1, 5, 9]]), scale_rewards=scale)
    assert torch.allclose(advantages, doubles(expected), atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_equal_rewards_and_a_group_of_one_give_exactly_zero(scale: ScaleRewards) -> None:
    # The mean of ten 0.1 is not 0.1 in binary, and 1e-9 over 1e-4 would not be 0.
    rewards = torch.tensor([[0.1] * 10, [0.0] * 9 + [1.0]])
    advantages = group_advantages(rewards, scale_rewards=scale)
    assert is_flat(rewards).tolist() == [True, False]
    assert advantages[0].tolist() == [0.0] * 10
    assert advantages[1].abs().min() > 0
    assert group_advantages(torch.tensor([[0.3], [0.9]]), scale_rewards=scale).tolist() == [
        [0],
        [0],
    ]


@pytest.mark.parametrize("scale", SCALES)
@given(rewards=groups, shift=st.floats(-10, 10))
def test_advantages_sum_to_zero_and_ignore_a_shift(
    scale: ScaleRewards, rewards: list[list[float]], shift: float
) -> None:
    values = doubles(rewards)
    advantages = group_advantages(values, scale_rewards=scale)
    assert advantages.sum(-1).abs().max() < 1e-6
    moved = group_advantages(values + shift, scale_rewards=scale)
    assert torch.allclose(moved, advantages, atol=1e-6)


def test_rewards_are_weighed_where_they_apply() -> None:
    # Two functions, weights 2 and 0.5; the second does not apply to the second answer.
    rewards = torch.tensor([[[1.0, 0.4], [0.5, NAN]]])
    assert combine_rewards(rewards, torch.tensor([2.0, 0.5])).tolist() == [
        [pytest.approx(2.2), pytest.approx(1.0)]
    ]


def test_an_answer_nobody_scored_is_named() -> None:
    rewards = torch.tensor([[[1.0, NAN], [0.0, 1.0]], [[0.0, 0.0], [NAN, NAN]]])
    with pytest.raises(ValueError, match="scored answer 1 of group 1"):
        combine_rewards(rewards, torch.ones(2))


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_kl_is_never_negative(logp: float, ref_logp: float) -> None:
    kl = kl_k3(doubles(logp), doubles(ref_logp))
    assert kl >= -1e-15  # rounding of e^d - d - 1 near 0
    assert kl > 0 or abs(logp - ref_logp) < 1e-6


def test_kl_by_hand() -> None:
    # d = log(0.5) - log(0.25) = log 2: 2 - log 2 - 1.
    assert kl_k3(doubles(log(0.25)), doubles(log(0.5))).item() == pytest.approx(1 - log(2))


def hand_made(logps: Any = None) -> tuple[Tensor, Tensor, Tensor]:
    """Two answers of one and three tokens, advantages 2 and -1."""
    values = doubles([[[-1.0, 0.0, 0.0], [-2.0, -0.5, -3.0]]]) if logps is None else logps
    mask = torch.tensor([[[True, False, False], [True, True, True]]])
    return values.requires_grad_(), doubles([[2.0, -1.0]]), mask


# On the first update every ratio is 1, so a token's loss is -A: -2 once, and 1 three times.
# "grpo": (-2 / 1 + 3 / 3) / 2. "bnpo": (-2 + 3) / 4 tokens. "dr_grpo": 1 / (2 answers x 8).
# "dapo": 1 / 5 items of the whole step.
FIRST_UPDATE = {"grpo": -0.5, "bnpo": 0.25, "dr_grpo": 1 / 16, "dapo": 0.2}
# The weight of each token of the first and of the second answer in that average.
WEIGHTS = {
    "grpo": (1 / 2, 1 / 6),
    "bnpo": (1 / 4,) * 2,
    "dr_grpo": (1 / 16,) * 2,
    "dapo": (0.2,) * 2,
}


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_first_update_by_hand(loss_type: LossType) -> None:
    logps, advantages, mask = hand_made()
    out = grpo_loss(logps, advantages, mask, loss_type=loss_type, **OPTIONS)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(FIRST_UPDATE[loss_type])
    assert (out.clip_ratio.item(), out.kl.item()) == (0, 0)
    # The ratio is 1 yet its gradient is not 0: d(-rA)/d(logp) = -rA.
    first, second = WEIGHTS[loss_type]
    expected = doubles([[[-2 * first, 0, 0], [second] * 3]])
    assert torch.allclose(logps.grad, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "high", "loss", "gradient", "clipped"),
    [
        (1.1, 1.0, None, -1.1, -1.1, 0),  # inside 0.8 to 1.2
        (1.5, 1.0, None, -1.2, 0.0, 1),  # good enough already: held at 1.2
        (1.5, 1.0, 0.6, -1.5, -1.5, 0),  # a wider upper bound lets it through
        (1.5, -1.0, None, 1.5, 1.5, 0),  # grew although bad: pushed back in full
        (0.5, -1.0, None, 0.8, 0.0, 1),  # bad and shrunk enough already: held at 0.8
        (0.5, 1.0, None, -0.5, -0.5, 0),  # shrank although good
    ],
)
def test_clip_acts_on_later_updates(
    ratio: float, advantage: float, high: float | None, loss: float, gradient: float, clipped: int
) -> None:
    logps = doubles([[[-1.0]]]).requires_grad_()
    out = grpo_loss(
        logps,
        doubles([[advantage]]),
        torch.ones(1, 1, 1, dtype=torch.bool),
        old_logps=logps.detach() - log(ratio),
        epsilon_high=high,
    )
    out.loss.backward()
    assert out.loss.item() == pytest.approx(loss)
    assert logps.grad.item() == pytest.approx(gradient)
    assert out.clip_ratio.item() == clipped


def test_kl_term_by_hand() -> None:
    logps, advantages, mask = hand_made()
    reference = (logps.detach() + doubles([[[0.0, 9, 9], [0.5, 0, 0]]])).clone()
    out = grpo_loss(logps, advantages, mask, ref_logps=reference, beta=0.04)
    # One token of the second answer has d = 0.5; the padding's 9 does not count.
    k3 = exp(0.5) - 0.5 - 1
    assert out.loss.item() == pytest.approx(-0.5 + 0.04 * k3 / 3 / 2)
    assert out.kl.item() == pytest.approx(k3 / 4)  # a mean over four tokens
    out.loss.backward()
    # dk3/dlogp = 1 - e^d, and -A = 1, each with weight 1/6.
    assert logps.grad[0, 1, 0].item() == pytest.approx((1 + 0.04 * (1 - exp(0.5))) / 6)


def random_batch(seed: int) -> dict[str, Tensor]:
    """Three groups of four answers of up to seven tokens; old and reference policies apart."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 4, 7)
    lengths = torch.randint(1, 8, shape[:2], generator=generator)
    logps = -torch.rand(shape, generator=generator, dtype=torch.float64) * 3
    noise = torch.randn((2, *shape), generator=generator, dtype=torch.float64) * 0.3
    return {
        "logps": logps,
        "advantages": torch.randn(shape[:2], generator=generator, dtype=torch.float64),
        "mask": torch.arange(7) < lengths[..., None],
        "old_logps": logps + noise[0],
        "ref_logps": logps + noise[1],
    }


def loss_and_gradient(batch: dict[str, Tensor], **options: Any) -> tuple[GRPOLoss, Tensor]:
    leaf = batch["logps"].clone().requires_grad_()
    out = grpo_loss(**(batch | {"logps": leaf}), **options)
    out.loss.backward()
    return out, leaf.grad


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_padding_changes_nothing(loss_type: LossType) -> None:
    batch = random_batch(0)
    options = {"loss_type": loss_type, "beta": 0.04, **OPTIONS}
    plain, gradient = loss_and_gradient(batch, **options)
    padded = {
        name: torch.cat([value, torch.full_like(value[..., :3], 0 if name == "mask" else -7)], -1)
        if value.ndim == 3
        else value
        for name, value in batch.items()
    }
    wide, wide_gradient = loss_and_gradient(padded, **options)
    assert torch.allclose(torch.stack(wide), torch.stack(plain), atol=1e-12)
    assert torch.allclose(wide_gradient[..., :7], gradient, atol=1e-12)
    assert (wide_gradient[..., 7:] == 0).all()


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_an_answer_without_tokens_adds_nothing(loss_type: LossType) -> None:
    batch = random_batch(1)
    batch["mask"][0, 0] = False
    out, gradient = loss_and_gradient(batch, loss_type=loss_type, beta=0.04, **OPTIONS)
    assert out.loss.isfinite()
    assert (gradient[0, 0] == 0).all()
    batch["mask"][:] = False
    out, _ = loss_and_gradient(batch, loss_type=loss_type, beta=0.04, **OPTIONS)
    assert [value.item() for value in out] == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.04, "ref_logps": None}, "ref_logps is needed"),
        ({"loss_type": "dr_grpo"}, "needs max_completion_length"),
        ({"loss_type": "dapo"}, "needs num_items"),
        ({"loss_type": "ppo"}, "got 'ppo'"),
    ],
)
def test_missing_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grpo_loss(**(random_batch(0) | options))


def trl_loss(
    batch: dict[str, Tensor], loss_type: LossType, beta: float
) -> tuple[Tensor, Tensor, dict[str, list[float]]]:
    """Run TRL's own ``_compute_loss`` on fixed log-probabilities: one process, no accumulation."""
    rows = {name: value.flatten(0, 1) for name, value in batch.items()}
    leaf = rows["logps"].clone().requires_grad_()
    mask = rows["mask"].to(leaf.dtype)
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x
    )
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (leaf, torch.zeros_like(leaf), None),
        accelerator=accelerator,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        aux_loss_enabled=False,
        beta=beta,
        current_gradient_accumulation_steps=1,
        epsilon_low=0.2,
        epsilon_high=0.28,
        importance_sampling_level="token",
        loss_type=loss_type,
        max_completion_length=OPTIONS["max_completion_length"],
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )
    inputs = {
        "prompt_ids": torch.zeros(len(leaf), 2, dtype=torch.long),
        "prompt_mask": torch.ones(len(leaf), 2, dtype=torch.long),
        "completion_ids": torch.zeros(leaf.shape, dtype=torch.long),
        "completion_mask": mask,
        "advantages": rows["advantages"],
        "num_items_in_batch": mask.sum(),
    }
    for ours, theirs in (
        ("old_logps", "old_per_token_logps"),
        ("ref_logps", "ref_per_token_logps"),
    ):
        if ours in rows:
            inputs[theirs] = rows[ours]
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    return loss, leaf.grad.view_as(batch["logps"]), trainer._metrics["train"]


@pytest.mark.parametrize("first_update", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_equal_to_trl(loss_type: LossType, beta: float, first_update: bool) -> None:
    batch = random_batch(2)
    if first_update:
        del batch["old_logps"]
    theirs, their_gradient, metrics = trl_loss(batch, loss_type, beta)
    ours, our_gradient = loss_and_gradient(
        batch,
        loss_type=loss_type,
        beta=beta,
        epsilon_high=0.28,
        max_completion_length=OPTIONS["max_completion_length"],
        num_items=batch["mask"].sum(),
    )
    assert ours.loss.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert (our_gradient - their_gradient).abs().max() < 1e-6
    assert our_gradient.abs().max() > 1e-3
    assert ours.clip_ratio.item() == pytest.approx(metrics["clip_ratio/region_mean"][0], abs=1e-6)
    assert (ours.clip_ratio > 0) == (not first_update)
    if beta:
        assert ours.kl.item() == pytest.approx(metrics["kl"][0], abs=1e-6)
