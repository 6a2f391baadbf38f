"""Three estimates of how far the policy has moved from the reference, token by token.

``logps`` and ``ref_logps`` are log-probabilities of the *sampled* tokens, of any shape; an
estimate is right on average over samples of the policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


def kl_k1(logps: Tensor, ref_logps: Tensor) -> Tensor:
    r"""Estimate KL(policy || reference) per token, unbiased but of either sign.

    .. math:: k_1 = -d, \quad d = \log\pi_{ref} - \log\pi

    Its mean gradient over the policy's own samples is 0: it measures and cannot train.
    Reference: Schulman, "Approximating KL divergence" (2020).

    >>> import torch
    >>> kl_k1(torch.tensor([-1.0]), torch.tensor([-1.5])).item()
    0.5
    """
    return logps - ref_logps


def kl_k2(logps: Tensor, ref_logps: Tensor) -> Tensor:
    r"""Estimate KL(policy || reference) per token, never negative, slightly biased.

    .. math:: k_2 = d^2 / 2, \quad d = \log\pi_{ref} - \log\pi

    Its mean gradient is that of KL(policy || reference).
    Reference: Schulman, "Approximating KL divergence" (2020).

    >>> import torch
    >>> kl_k2(torch.tensor([-1.0]), torch.tensor([-1.5])).item()
    0.125
    """
    return (ref_logps - logps).square() / 2


def kl_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    r"""Estimate KL(policy || reference) per token, unbiased and never negative.

    .. math:: k_3 = e^{d} - d - 1, \quad d = \log\pi_{ref} - \log\pi

    The paper's and TRL's. Its mean gradient is that of KL(reference || policy).
    Reference: Schulman, "Approximating KL divergence" (2020).

    >>> import torch
    >>> kl_k3(torch.tensor([0.0]), torch.tensor([0.0])).item()
    0.0
    """
    difference = ref_logps - logps
    return difference.exp() - difference - 1


KL_ESTIMATORS: dict[KLEstimator, Callable[[Tensor, Tensor], Tensor]] = {
    "k1": kl_k1,
    "k2": kl_k2,
    "k3": kl_k3,
}
