"""Group relative policy optimisation as pure tensor functions.

Notation: ``B`` groups, ``G`` answers per group, ``R`` tokens per answer (padded on the right).
``logps`` are log-probabilities of the chosen tokens; ``mask`` is true on real tokens.
Names follow TRL's options. Reference: DeepSeekMath (arXiv 2402.03300), section 4.1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vcr1_lib.grpo.kl import KL_ESTIMATORS, KLEstimator

ScaleRewards = Literal["group", "batch", "none"]
LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
RatioLevel = Literal["token", "sequence"]

STD_EPSILON = 1e-4


class GRPOLoss(NamedTuple):
    """A loss and what to watch beside it.

    Attributes:
        loss: Scalar to minimise.
        clip_ratio: Share of tokens whose ratio the clip held back, in [0, 1]; with ratios of
            whole answers, share of answers. TRL logs it as ``clip_ratio/region_mean``.
        kl: Mean estimate of KL(policy || reference) per token, 0 without a reference.
        clip_low: The part of ``clip_ratio`` held at the lower bound (``clip_ratio/low_mean``).
        clip_high: The part held at the upper bound (``clip_ratio/high_mean``).
    """

    loss: Tensor
    clip_ratio: Tensor
    kl: Tensor
    clip_low: Tensor
    clip_high: Tensor


def combine_rewards(rewards: Tensor, weights: Tensor, *, allow_unscored: bool = False) -> Tensor:
    """Add up the reward functions of each answer.

    Args:
        rewards: ``(B, G, N)``, NaN where a function does not apply to the sample.
        weights: ``(N,)``.
        allow_unscored: Return NaN for an answer that no function scored, as TRL does;
            :func:`group_advantages` leaves it out.

    Returns:
        ``(B, G)``.

    Raises:
        ValueError: If no function applies to some answer, unless that is allowed; the
            message names it.

    >>> combine_rewards(torch.tensor([[[1.0, 0.5], [0.0, torch.nan]]]), torch.ones(2))
    tensor([[1.5000, 0.0000]])
    """
    silent = rewards.isnan().all(-1)
    if silent.any() and not allow_unscored:
        group, answer = silent.nonzero()[0].tolist()
        raise ValueError(
            f"no reward function scored answer {answer} of group {group}: every one returned None; "
            "add a reward for this sample's task"
        )
    return (rewards * weights).nansum(-1).masked_fill(silent, torch.nan)


def group_advantages(rewards: Tensor, *, scale_rewards: ScaleRewards = "group") -> Tensor:
    r"""Compare each answer with its siblings.

    .. math:: A_{ij} = (r_{ij} - \bar r_i) / (\sigma_i + 10^{-4})

    with the unbiased standard deviation of the group (``"group"``), of the whole batch
    (``"batch"``), or no division (``"none"``). Equal rewards give exactly zero, whatever
    the rounding of their mean; so does a group of one. NaN marks an answer that nothing
    scored: it counts in no mean and no deviation, and its advantage is 0.

    Args:
        rewards: ``(B, G)``.

    Returns:
        ``(B, G)``, summing to 0 in each group.

    Reference: DeepSeekMath (arXiv 2402.03300), section 4.1.2; without the division,
    "Understanding R1-Zero-like training" (arXiv 2503.20783).

    >>> group_advantages(torch.tensor([[0.0, 1.0], [0.7, 0.7]])).round(decimals=3)
    tensor([[-0.7070,  0.7070],
            [ 0.0000,  0.0000]])
    """
    centred = rewards - rewards.nanmean(-1, keepdim=True)
    if scale_rewards == "group":
        centred = centred / (_nanstd(rewards, dim=-1) + STD_EPSILON)
    elif scale_rewards == "batch":
        centred = centred / (_nanstd(rewards, dim=None) + STD_EPSILON)
    return centred.masked_fill(is_flat(rewards)[..., None] | rewards.isnan(), 0.0)


def is_flat(rewards: Tensor) -> Tensor:
    """Return ``(B,)``, true for groups ``(B, G)`` whose rewards, NaN aside, are all equal.

    >>> is_flat(torch.tensor([[0.7, 0.7], [0.7, 0.8], [0.7, torch.nan]]))
    tensor([ True, False,  True])
    """
    unscored = rewards.isnan()
    lowest = rewards.masked_fill(unscored, torch.inf).amin(-1)
    return rewards.masked_fill(unscored, -torch.inf).amax(-1) <= lowest


def _nanstd(values: Tensor, *, dim: int | None) -> Tensor:
    """Unbiased standard deviation of what is not NaN, 0 of a single value."""
    squares = (values - values.nanmean(dim, keepdim=True)).square()
    count = (~values.isnan()).sum(dim, keepdim=True)
    return (squares.nansum(dim, keepdim=True) / (count - 1).clamp(min=1)).sqrt()


def mask_truncated(mask: Tensor, finished: Tensor) -> Tensor:
    """Take answers that were cut at the length limit out of the loss.

    TRL's ``mask_truncated_completions``: their rewards still count in their siblings' mean.
    ``mask`` is ``(B, G, R)``; ``finished`` is ``(B, G)``, true where the answer ended by itself.

    Reference: DAPO (arXiv 2503.14476), section 3.4.

    >>> mask_truncated(torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([[True, False]]))
    tensor([[[ True,  True],
             [False, False]]])
    """
    return mask & finished[..., None]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average per-token values over real tokens, 0 if there are none.

    ``values`` is ``(B, G, R)``, or ``(B, G, 1)`` for one value an answer. Of entropies, it is
    what TRL logs as ``entropy``.

    >>> masked_mean(torch.tensor([[[1.0, 3.0, 9.0]]]), torch.tensor([[[1, 1, 0]]])).item()
    2.0
    """
    if values.shape != mask.shape:
        return values.mean()
    weights = mask.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)


def policy_ratio(
    logps: Tensor, old_logps: Tensor, mask: Tensor, *, importance_sampling_level: RatioLevel
) -> Tensor:
    r"""Compare the policy with the one that sampled, token by token or answer by answer.

    .. math:: \rho_t = e^{\log\pi_t - \log\pi_{old,t}} \quad\text{or}\quad
        s = e^{\frac{1}{|o|}\sum_t (\log\pi_t - \log\pi_{old,t})}

    Args:
        logps: ``(B, G, R)``.
        old_logps: ``(B, G, R)``.
        mask: ``(B, G, R)``.
        importance_sampling_level: ``"token"``, or ``"sequence"`` (GSPO).

    Returns:
        ``(B, G, R)``, or ``(B, G, 1)`` for ``"sequence"``; 1 where nothing changed.

    Raises:
        ValueError: If the level is neither.

    Reference: GSPO (arXiv 2507.18071), equation 7.

    >>> pair = torch.tensor([[[0.0, 1.0]]]).log1p(), torch.zeros(1, 1, 2)
    >>> policy_ratio(*pair, torch.ones(1, 1, 2), importance_sampling_level="token")
    tensor([[[1., 2.]]])
    """
    difference = logps - old_logps
    if importance_sampling_level == "sequence":
        weights = mask.to(logps.dtype)
        length = weights.sum(-1, keepdim=True).clamp(min=1)
        difference = (difference * weights).sum(-1, keepdim=True) / length
    elif importance_sampling_level != "token":
        raise ValueError(
            "expected importance_sampling_level 'token' or 'sequence', "
            f"got {importance_sampling_level!r}"
        )
    return difference.exp()


def grpo_loss(
    logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    old_logps: Tensor | None = None,
    ref_logps: Tensor | None = None,
    beta: float = 0.0,
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    loss_type: LossType = "grpo",
    max_completion_length: int | None = None,
    num_items: Tensor | float | None = None,
    importance_sampling_level: RatioLevel = "token",
    kl_estimator: KLEstimator = "k3",
) -> GRPOLoss:
    r"""Compute the clipped policy loss of a batch of groups.

    .. math::
        \ell_t = -\min(\rho_t A, \mathrm{clip}(\rho_t, 1-\epsilon, 1+\epsilon_{high}) A)
        + \beta\, k_{3,t}, \quad \rho_t = e^{\log\pi_t - \log\pi_{old,t}}

    and for ``"cispo"`` :math:`-\mathrm{sg}(\min(\rho_t, \epsilon_{high}))\, A \log\pi_t`, which
    caps a token's weight but never silences it.

    Args:
        logps: ``(B, G, R)`` under the policy, with gradient.
        advantages: ``(B, G)``, or one per token.
        mask: ``(B, G, R)``.
        old_logps: ``(B, G, R)`` at sampling time; ``None`` means this is the first update
            after sampling, where the ratio is 1 and its gradient is not 0.
        ref_logps: ``(B, G, R)`` under the reference policy; needed when ``beta`` is not 0.
        beta: Weight of the KL term. The paper's code uses 0.04; TRL's default is 0.
        epsilon: Lower clip range.
        epsilon_high: Upper clip range; ``None`` means ``epsilon``. For ``"cispo"`` the cap on
            the ratio itself, as in TRL; ScaleRL (arXiv 2510.13786) uses 5.
        loss_type: How tokens are averaged. ``"grpo"``: over each answer, then over answers
            (the paper's). ``"bnpo"``: over all tokens of the batch. ``"dr_grpo"``: over
            answers times ``max_completion_length``. ``"dapo"`` and ``"cispo"``: over
            ``num_items``.
        max_completion_length: For ``"dr_grpo"``.
        num_items: For ``"dapo"`` and ``"cispo"``: tokens in the whole accumulation window.
        importance_sampling_level: ``"token"``, or ``"sequence"``, one ratio an answer.
        kl_estimator: ``"k3"`` (the paper's and TRL's), ``"k1"`` or ``"k2"``.

    Raises:
        ValueError: If an argument that the chosen options need is missing.

    Reference: DeepSeekMath (arXiv 2402.03300), equation 3; DAPO (arXiv 2503.14476); Dr. GRPO
    (arXiv 2503.20783); CISPO (arXiv 2506.13585), equation 4; GSPO (arXiv 2507.18071).

    >>> pair = torch.zeros(1, 2, 3), torch.tensor([[1.0, -1.0]])
    >>> grpo_loss(*pair, torch.ones(1, 2, 3)).loss.abs().item()
    0.0
    """
    if beta != 0.0 and ref_logps is None:
        raise ValueError(
            "beta is not 0, so ref_logps is needed: score the answers without adapters"
        )
    weights = mask.to(logps.dtype)
    advantage = advantages if advantages.ndim == 3 else advantages[..., None]
    old_logps = logps.detach() if old_logps is None else old_logps
    ratio = policy_ratio(
        logps, old_logps, mask, importance_sampling_level=importance_sampling_level
    )
    if loss_type == "cispo":
        if epsilon_high is None:
            raise ValueError(
                "loss_type 'cispo' needs epsilon_high, the cap on the ratio, such as 5"
            )
        low, high = 0.0, epsilon_high
        token_loss = -ratio.clamp(max=high).detach() * advantage * logps
    else:
        low, high = 1 - epsilon, 1 + (epsilon if epsilon_high is None else epsilon_high)
        token_loss = -torch.min(ratio * advantage, ratio.clamp(low, high) * advantage)
    kl = torch.zeros_like(logps)
    if beta != 0.0 and ref_logps is not None:
        kl = KL_ESTIMATORS[kl_estimator](logps, ref_logps)
        token_loss = token_loss + beta * kl
    clip_low = masked_mean(((ratio < low) & (advantage < 0)).to(logps.dtype), mask)
    clip_high = masked_mean(((ratio > high) & (advantage > 0)).to(logps.dtype), mask)
    return GRPOLoss(
        _reduce(token_loss * weights, weights, loss_type, max_completion_length, num_items),
        clip_low + clip_high,
        masked_mean(kl.detach(), mask),
        clip_low,
        clip_high,
    )


def _reduce(
    token_loss: Tensor,
    weights: Tensor,
    loss_type: LossType,
    max_completion_length: int | None,
    num_items: Tensor | float | None,
) -> Tensor:
    if loss_type == "grpo":
        return (token_loss.sum(-1) / weights.sum(-1).clamp(min=1)).mean()
    if loss_type == "bnpo":
        return token_loss.sum() / weights.sum().clamp(min=1)
    if loss_type == "dr_grpo":
        if max_completion_length is None:
            raise ValueError("loss_type 'dr_grpo' needs max_completion_length")
        return token_loss.sum() / (token_loss[..., 0].numel() * max_completion_length)
    if loss_type in ("dapo", "cispo"):
        if num_items is None:
            raise ValueError(f"loss_type {loss_type!r} needs num_items, the tokens of the step")
        return token_loss.sum() / num_items
    raise ValueError(f"expected loss_type in {get_args(LossType)}, got {loss_type!r}")
