"""The loss by hand, by law, and against TRL's own."""

from __future__ import annotations

import inspect
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
from trl.trainer.utils import nanstd

from vcr1_lib.grpo import (
    STD_EPSILON,
    GRPOLoss,
    LossType,
    RatioLevel,
    ScaleRewards,
    combine_rewards,
    group_advantages,
    grpo_loss,
    is_flat,
    mask_truncated,
    masked_mean,
    policy_ratio,
)
from vcr1_lib.grpo.kl import KL_ESTIMATORS, kl_k3

NAN = float("nan")
LOSS_TYPES: tuple[LossType, ...] = ("grpo", "bnpo", "dr_grpo", "dapo")
LEVELS: tuple[RatioLevel, ...] = ("token", "sequence")
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


def trl_advantages(rewards: Tensor, scale: ScaleRewards) -> Tensor:
    """Repeat the lines of TRL's trainer, with its own ``nanstd``; they have no function there."""
    mean = torch.nanmean(rewards, dim=1)[:, None]
    deviation = nanstd(rewards) if scale == "batch" else nanstd(rewards, dim=1)[:, None]
    advantages = rewards - mean
    if scale != "none":
        advantages = advantages / (deviation + 1e-4)
    return torch.nan_to_num(advantages, nan=0.0)


def test_trl_still_has_the_lines_repeated_here() -> None:
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    for line in (
        "mean_grouped_rewards = torch.nanmean(rewards.view(-1, num_generations), dim=1)",
        "std_rewards = nanstd(rewards.view(-1, num_generations), dim=1)",
        "std_rewards = nanstd(rewards).expand_as(rewards)",
        "advantages = rewards - mean_grouped_rewards",
        "advantages = advantages / (std_rewards + 1e-4)",
        "advantages = torch.nan_to_num(advantages, nan=0.0)",
    ):
        assert line in source


@pytest.mark.parametrize("scale", SCALES)
def test_advantages_equal_trl_where_rewards_vary(scale: ScaleRewards) -> None:
    rewards = torch.rand(20, 8, generator=torch.Generator().manual_seed(0)) * 2
    rewards[3, 2] = rewards[5, :4] = NAN
    ours = group_advantages(rewards, scale_rewards=scale)
    assert (ours - trl_advantages(rewards, scale)).abs().max() < 1e-6
    assert ours.abs().max() > 0.5


def test_equal_rewards_leave_rounding_in_trl() -> None:
    rewards = torch.tensor([[tenths / 10] * size for tenths in range(1, 20) for size in [7]])
    assert (trl_advantages(rewards, "group") != 0).any()
    assert (group_advantages(rewards) == 0).all()


@pytest.mark.parametrize("scale", SCALES)
def test_an_unscored_answer_counts_nowhere(scale: ScaleRewards) -> None:
    rewards = torch.tensor([[0.0, NAN, 1.0, 2.0], [NAN, NAN, NAN, 0.4], [0.3, 0.3, NAN, 0.3]])
    advantages = group_advantages(rewards, scale_rewards=scale)
    # Scored: 0, 1, 2, mean 1. One scored answer, and equal ones, say nothing.
    assert advantages[0, [1, 2]].tolist() == [0, 0]
    assert advantages[0, 3] == -advantages[0, 0] > 0.5
    assert (advantages[1:] == 0).all()
    assert is_flat(rewards).tolist() == [False, True, True]
    assert (group_advantages(torch.full((2, 3), NAN), scale_rewards=scale) == 0).all()


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
    allowed = combine_rewards(rewards, torch.ones(2), allow_unscored=True)
    assert allowed.isnan().tolist() == [[False, False], [False, True]]
    assert allowed.nan_to_num(-1).tolist() == [[1, 1], [0, -1]]


def test_truncated_answers_leave_the_loss_and_not_the_mean() -> None:
    logps, advantages, mask = hand_made()
    kept = mask_truncated(mask, torch.tensor([[True, False]]))
    out = grpo_loss(logps, advantages, kept, loss_type="bnpo")
    out.loss.backward()
    assert out.loss.item() == -2  # one token is left, with advantage 2
    assert (logps.grad[0, 1] == 0).all()
    nobody = mask_truncated(mask, torch.zeros(1, 2, dtype=torch.bool))
    assert grpo_loss(*hand_made()[:2], nobody).loss.item() == 0


def test_means_over_tokens_and_over_answers() -> None:
    mask = torch.tensor([[[1, 0], [1, 1]]])
    assert masked_mean(torch.tensor([[[1.0, NAN], [2.0, 6.0]]]).nan_to_num(9), mask).item() == 3
    assert masked_mean(torch.tensor([[[1.0], [4.0]]]), mask).item() == 2.5
    assert masked_mean(torch.ones(1, 2, 2), torch.zeros(1, 2, 2)).item() == 0
    single = torch.tensor([[[3.0], [9.0]]]), torch.tensor([[[1], [0]]])
    assert masked_mean(*single).item() == 3, "answers of one token are masked too"


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_kl_is_never_negative(logp: float, ref_logp: float) -> None:
    kl = kl_k3(doubles(logp), doubles(ref_logp))
    assert kl >= -1e-15  # rounding of e^d - d - 1 near 0
    assert kl > 0 or abs(logp - ref_logp) < 1e-6


def test_kl_by_hand() -> None:
    # d = log(0.5) - log(0.25) = log 2: 2 - log 2 - 1.
    assert kl_k3(doubles(log(0.25)), doubles(log(0.5))).item() == pytest.approx(1 - log(2))


def test_estimators_on_a_known_pair() -> None:
    """Average over every answer of a categorical, weighted by its probability: no sampling."""
    logits = doubles([0.0, 0.3, -0.5, 0.8]).requires_grad_()
    reference = doubles([0.4, 0.0, 0.2, -0.1]).log_softmax(-1)
    logps = logits.log_softmax(-1)
    policy = logps.exp().detach()
    exact = (logps.exp() * (logps - reference)).sum()
    other = (reference.exp() * (reference - logps)).sum()
    forward, backward = (
        torch.autograd.grad(kl, logits, retain_graph=True)[0] for kl in (exact, other)
    )
    means, slopes = {}, {}
    for name, estimate in KL_ESTIMATORS.items():
        mean = (policy * estimate(logps, reference)).sum()
        means[name] = mean.item()
        slopes[name] = torch.autograd.grad(mean, logits, retain_graph=True)[0]
    assert means["k1"] == pytest.approx(exact.item(), abs=1e-12)
    assert means["k3"] == pytest.approx(exact.item(), abs=1e-12)
    assert means["k2"] == pytest.approx(exact.item(), rel=0.1)
    assert abs(means["k2"] - exact.item()) > 1e-3
    assert slopes["k1"].abs().max() < 1e-12
    assert torch.allclose(slopes["k2"], forward, atol=1e-12)
    assert torch.allclose(slopes["k3"], backward, atol=1e-12)


@pytest.mark.parametrize("name", KL_ESTIMATORS)
def test_the_loss_takes_any_estimator(name: Any) -> None:
    batch = random_batch(3)
    out, _ = loss_and_gradient(batch, beta=0.5, kl_estimator=name, loss_type="bnpo")
    plain, _ = loss_and_gradient(batch, loss_type="bnpo")
    mean = masked_mean(KL_ESTIMATORS[name](batch["logps"], batch["ref_logps"]), batch["mask"])
    assert out.kl.item() == pytest.approx(mean.item())
    assert (out.loss - plain.loss).item() == pytest.approx(0.5 * mean.item())


def test_one_ratio_an_answer_by_hand() -> None:
    # Differences 0.1, 0.3 and padding that must not count: mean 0.2.
    logps, mask = doubles([[[0.1, 0.3, 9.0]]]), torch.tensor([[[True, True, False]]])
    ratio = policy_ratio(logps, torch.zeros_like(logps), mask, importance_sampling_level="sequence")
    assert ratio.tolist() == [[[pytest.approx(exp(0.2))]]]


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
    assert [value.item() for value in out] == [0] * len(out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.04, "ref_logps": None}, "ref_logps is needed"),
        ({"loss_type": "dr_grpo"}, "needs max_completion_length"),
        ({"loss_type": "dapo"}, "needs num_items"),
        ({"loss_type": "ppo"}, "got 'ppo'"),
        ({"loss_type": "cispo"}, "needs epsilon_high"),
        ({"loss_type": "cispo", "epsilon_high": 5.0}, "needs num_items"),
        ({"importance_sampling_level": "word"}, "got 'word'"),
    ],
)
def test_missing_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grpo_loss(**(random_batch(0) | options))


def trl_loss(
    batch: dict[str, Tensor],
    loss_type: LossType,
    beta: float,
    level: RatioLevel = "token",
    epsilon_high: float = 0.28,
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
        epsilon_high=epsilon_high,
        importance_sampling_level=level,
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
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss_type", [*LOSS_TYPES, "cispo"])
def test_equal_to_trl(
    loss_type: LossType, dtype: torch.dtype, level: RatioLevel, beta: float, first_update: bool
) -> None:
    batch = {name: v if v.dtype == torch.bool else v.to(dtype) for name, v in far_batch(2).items()}
    if first_update:
        del batch["old_logps"]
    epsilon_high = 1.3 if loss_type == "cispo" else 0.28
    theirs, their_gradient, metrics = trl_loss(batch, loss_type, beta, level, epsilon_high)
    ours, our_gradient = loss_and_gradient(
        batch,
        loss_type=loss_type,
        beta=beta,
        epsilon_high=epsilon_high,
        max_completion_length=OPTIONS["max_completion_length"],
        num_items=batch["mask"].sum(),
        importance_sampling_level=level,
    )
    assert ours.loss.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert (our_gradient - their_gradient).abs().max() < 1e-6
    assert our_gradient.abs().max() > 1e-3
    names = {"clip_ratio": "region", "clip_low": "low", "clip_high": "high"}
    keys = {ours: f"clip_ratio/{theirs}_mean" for ours, theirs in names.items()}
    if loss_type == "cispo":
        keys = {"clip_high": "cispo_clip_ratio"}
    for name, key in keys.items():
        value = getattr(ours, name).item()
        assert value == pytest.approx(metrics[key][0], abs=1e-6)
        assert (value > 0) == (not first_update), name
    if beta:
        assert ours.kl.item() == pytest.approx(metrics["kl"][0], abs=1e-6)


def far_batch(seed: int) -> dict[str, Tensor]:
    """A batch where whole answers have moved too, so that every clip acts somewhere."""
    batch = random_batch(seed)
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(batch["advantages"].shape, generator=generator, dtype=torch.float64)
    return batch | {"old_logps": batch["old_logps"] + 0.5 * shift[..., None]}


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_twenty_steps_on_fixed_answers_follow_trl(loss_type: LossType) -> None:
    """A bigram policy, trained twice: by TRL's gradient and by ours."""
    batch = random_batch(4)
    tokens = torch.randint(0, 11, (3, 4, 8), generator=torch.Generator().manual_seed(4))
    options = {"max_completion_length": OPTIONS["max_completion_length"]}
    weights = []
    for by_trl in (True, False):
        table = torch.randn(11, 11, generator=torch.Generator().manual_seed(5)).requires_grad_()
        optimizer = torch.optim.AdamW([table], lr=0.05)
        first = None
        for _ in range(20):
            scores = table[tokens[..., :-1]].log_softmax(-1)
            logps = scores.gather(-1, tokens[..., 1:, None])[..., 0]
            # The first policy sampled; it is also the reference.
            first = logps.detach() if first is None else first
            now = {"logps": logps.detach(), "old_logps": first, "ref_logps": first}
            now |= {name: batch[name] for name in ("advantages", "mask")}
            if by_trl:
                _, gradient, _ = trl_loss(now, loss_type, 0.04)
            else:
                _, gradient = loss_and_gradient(
                    now, loss_type=loss_type, beta=0.04, epsilon_high=0.28,
                    num_items=batch["mask"].sum(), **options,
                )  # fmt: skip
            optimizer.zero_grad()
            logps.backward(gradient)
            optimizer.step()
        weights.append(table.detach())
    assert (weights[0] - weights[1]).abs().max() < 1e-6
    start = torch.randn(11, 11, generator=torch.Generator().manual_seed(5))
    assert (weights[0] - start).abs().max() > 0.1
