"""Group relative policy optimisation as pure tensor functions.

Notation: ``B`` groups, ``G`` answers a group, ``R`` tokens an answer (padded on the right).
``logps`` are log-probabilities of the chosen tokens; ``mask`` is true on real tokens.
Names follow TRL's options. Reference: DeepSeekMath (arXiv 2402.03300), section 4.1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

ScaleRewards = Literal["group", "batch", "none"]
LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo"]

STD_EPSILON = 1e-4


class GRPOLoss(NamedTuple):
    """A loss and what to watch beside it.

    Attributes:
        loss: Scalar to minimise.
        clip_ratio: Share of tokens whose ratio the clip held back, in [0, 1].
        kl: Mean k3 estimate of KL(policy || reference) per token, 0 without a reference.
    """

    loss: Tensor
    clip_ratio: Tensor
    kl: Tensor


def combine_rewards(rewards: Tensor, weights: Tensor) -> Tensor:
    """Add up the reward functions of each answer.

    Args:
        rewards: ``(B, G, N)``, NaN where a function does not apply to the sample.
        weights: ``(N,)``.

    Returns:
        ``(B, G)``.

    Raises:
        ValueError: If no function applies to some answer; the message names it.
    """
    silent = rewards.isnan().all(-1)
    if silent.any():
        group, answer = silent.nonzero()[0].tolist()
        raise ValueError(
            f"no reward function scored answer {answer} of group {group}: every one returned None; "
            "add a reward for this sample's task"
        )
    return (rewards * weights).nansum(-1)


def group_advantages(rewards: Tensor, *, scale_rewards: ScaleRewards = "group") -> Tensor:
    r"""Compare each answer with its siblings.

    .. math:: A_{ij} = (r_{ij} - \bar r_i) / (\sigma_i + 10^{-4})

    with the unbiased standard deviation of the group (``"group"``), of the whole batch
    (``"batch"``), or no division (``"none"``). Equal rewards give exactly zero, whatever
    the rounding of their mean; so does a group of one.

    Args:
        rewards: ``(B, G)``.

    Returns:
        ``(B, G)``, summing to 0 in each group.

    >>> group_advantages(torch.tensor([[0.0, 1.0], [0.7, 0.7]])).round(decimals=3)
    tensor([[-0.7070,  0.7070],
            [ 0.0000,  0.0000]])
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    if scale_rewards == "group" and rewards.shape[-1] > 1:
        centred = centred / (rewards.std(-1, keepdim=True) + STD_EPSILON)
    elif scale_rewards == "batch" and rewards.numel() > 1:
        centred = centred / (rewards.std() + STD_EPSILON)
    return centred.masked_fill(is_flat(rewards)[..., None], 0.0)


def is_flat(rewards: Tensor) -> Tensor:
    """Return ``(B,)``, true for groups ``(B, G)`` whose rewards are all equal."""
    return (rewards == rewards[..., :1]).all(-1)


def kl_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    r"""Estimate KL(policy || reference) per token, unbiased and never negative.

    .. math:: k_3 = e^{d} - d - 1, \quad d = \log\pi_{ref} - \log\pi

    Reference: Schulman, "Approximating KL divergence" (2020).

    >>> kl_k3(torch.tensor([0.0]), torch.tensor([0.0])).item()
    0.0
    """
    difference = ref_logps - logps
    return difference.exp() - difference - 1


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
) -> GRPOLoss:
    r"""Compute the clipped policy loss of a batch of groups.

    .. math::
        \ell_t = -\min(\rho_t A, \mathrm{clip}(\rho_t, 1-\epsilon, 1+\epsilon_{high}) A)
        + \beta\, k_{3,t}, \quad \rho_t = e^{\log\pi_t - \log\pi_{old,t}}

    Args:
        logps: ``(B, G, R)`` under the policy, with gradient.
        advantages: ``(B, G)``.
        mask: ``(B, G, R)``.
        old_logps: ``(B, G, R)`` at sampling time; ``None`` means this is the first update
            after sampling, where the ratio is 1 and its gradient is not 0.
        ref_logps: ``(B, G, R)`` under the reference policy; needed when ``beta`` is not 0.
        beta: Weight of the KL term. The paper's code uses 0.04; TRL's default is 0.
        epsilon: Lower clip range.
        epsilon_high: Upper clip range; ``None`` means ``epsilon``.
        loss_type: How tokens are averaged. ``"grpo"``: over each answer, then over answers
            (the paper's). ``"bnpo"``: over all tokens of the batch. ``"dr_grpo"``: over
            answers times ``max_completion_length``. ``"dapo"``: over ``num_items``.
        max_completion_length: For ``"dr_grpo"``.
        num_items: For ``"dapo"``: tokens in the whole accumulation window.

    Raises:
        ValueError: If an argument that the chosen options need is missing.
    """
    if beta != 0.0 and ref_logps is None:
        raise ValueError(
            "beta is not 0, so ref_logps is needed: score the answers without adapters"
        )
    weights = mask.to(logps.dtype)
    ratio = (logps - (logps.detach() if old_logps is None else old_logps)).exp()
    low, high = 1 - epsilon, 1 + (epsilon if epsilon_high is None else epsilon_high)
    advantage = advantages[..., None]
    token_loss = -torch.min(ratio * advantage, ratio.clamp(low, high) * advantage)
    kl = torch.zeros_like(logps)
    if beta != 0.0 and ref_logps is not None:
        kl = kl_k3(logps, ref_logps)
        token_loss = token_loss + beta * kl
    held = ((ratio < low) & (advantage < 0)) | ((ratio > high) & (advantage > 0))
    total = weights.sum().clamp(min=1)
    loss = _reduce(token_loss * weights, weights, loss_type, max_completion_length, num_items)
    return GRPOLoss(loss, (held * weights).sum() / total, (kl.detach() * weights).sum() / total)


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
    if loss_type == "dapo":
        if num_items is None:
            raise ValueError("loss_type 'dapo' needs num_items, the tokens of the whole step")
        return token_loss.sum() / num_items
    raise ValueError(f"expected loss_type 'grpo', 'bnpo', 'dr_grpo' or 'dapo', got {loss_type!r}")
