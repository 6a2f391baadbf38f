"""Log-probabilities of chosen tokens, straight from hidden states and the output head.

The plain way builds a row of V scores a token, several times over: 2,000 tokens and a
vocabulary of 150,000 are 1.2 GB in fp32 for each copy. Here a few tokens pass at a time.

Notation: ``N`` tokens, ``H`` hidden size, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_TOKENS = 64


class TokenLogps(NamedTuple):
    """What :func:`chunked_logps` returns.

    Attributes:
        logps: ``(N,)`` in fp32 (fp64 for fp64 inputs), with gradient.
        entropy: ``(N,)`` of the distribution each token was chosen from, in nats, without
            gradient; ``None`` unless asked for.
    """

    logps: Tensor
    entropy: Tensor | None


def chunked_logps(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    banned: Tensor | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    with_entropy: bool = False,
    loss_slope: Callable[[Tensor], Tensor] | None = None,
) -> TokenLogps:
    r"""Score chosen tokens a few at a time, so that the (N, V) matrix never exists.

    .. math:: \log\pi_n = z_{n,t_n} - \log\sum_v e^{z_{n,v}},
        \quad z = (h W^\top + b) / T

    The forward already folds each chunk into the (N, H) gradient
    :math:`(W_{t_n} - \sum_v \pi_{n,v} W_v) / T` of its log-probabilities, so the backward to
    ``hidden`` is one product. A trained head's gradient also needs the slope of the loss in each
    log-probability: foretold by ``loss_slope`` it is folded in the same pass, else the scores
    are made again in the backward.

    Args:
        hidden: ``(N, H)`` last hidden states, fp32, bf16 or fp64; the softmax is in fp32 at
            least.
        weight: ``(V, H)``, the whole head (not a shard).
        tokens: ``(N,)`` chosen token ids.
        bias: ``(V,)`` or none.
        temperature: The temperature the tokens were sampled at; 0 (greedy) is read as 1.
        banned: ``(V,)``, true for tokens that are never sampled. A chosen one scores -inf.
        chunk_tokens: Tokens at a time: memory against the number of matrix products.
        with_entropy: Also return the entropies.
        loss_slope: Returns the loss's slope in each of ``(N,)`` log-probabilities, up to one
            positive factor; it may depend on that token's alone (those not scored yet are 0).
            The backward looks whether it came true, and does without it if not.

    Raises:
        ValueError: If shapes do not fit together, or ``chunk_tokens`` is below 1.

    Reference: the same idea for cross-entropy, Liger Kernel (arXiv 2410.10989);
    TRL's ``ChunkedLogProbFunction`` walks over the vocabulary too and recomputes.

    >>> chunked_logps(torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([3])).logps.exp().item()
    0.25
    """
    if hidden.ndim != 2 or hidden.shape[1:] != weight.shape[1:] or tokens.shape != hidden.shape[:1]:
        raise ValueError(
            "expected hidden (N, H), weight (V, H) and tokens (N,), got "
            f"{tuple(hidden.shape)}, {tuple(weight.shape)} and {tuple(tokens.shape)}"
        )
    if chunk_tokens < 1:
        raise ValueError(f"expected chunk_tokens >= 1, got {chunk_tokens}")
    if torch.is_autocast_enabled(hidden.device.type):
        # The backward runs outside autocast and must see the same numbers.
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    keep = torch.is_grad_enabled() and hidden.requires_grad
    if not (torch.is_grad_enabled() and weight.requires_grad):
        loss_slope = None
    options = (temperature or 1.0, banned, chunk_tokens, keep, with_entropy, loss_slope)
    logps, entropy = _ChunkedLogps.apply(hidden, weight, bias, tokens, *options)
    return TokenLogps(logps, entropy if with_entropy else None)


def slope_of(loss: Callable[[Tensor], Tensor], logps: Tensor) -> Tensor:
    """Return how a loss of log-probabilities changes with each, for ``loss_slope``.

    >>> slope_of(lambda logps: -2 * logps.sum(), torch.zeros(2))
    tensor([-2., -2.])
    """
    with torch.enable_grad():
        logps = logps.detach().requires_grad_()
        return torch.autograd.grad(loss(logps), logps)[0]


def _scores(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, banned: Tensor | None
) -> Tensor:
    scores = (hidden @ weight.T).to(torch.promote_types(hidden.dtype, torch.float32))
    if bias is not None:
        scores += bias
    if temperature != 1.0:
        scores /= temperature
    return scores if banned is None else scores.masked_fill_(banned, -torch.inf)


class _ChunkedLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        temperature: float,
        banned: Tensor | None,
        chunk_tokens: int,
        keep: bool,
        with_entropy: bool,
        loss_slope: Callable[[Tensor], Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        logps = hidden.new_zeros(
            len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32)
        )
        log_total, entropy = torch.zeros_like(logps), torch.zeros_like(logps)
        slope = torch.empty_like(hidden) if keep else hidden.new_empty(0)
        head = _HeadGradient(weight, bias, logps.dtype) if loss_slope else None
        foretold = torch.zeros_like(logps)
        allowed = 0 if banned is None else int(banned.int().argmin())
        for start in range(0, len(hidden), chunk_tokens):
            part = slice(start, start + chunk_tokens)
            scores = _scores(hidden[part], weight, bias, temperature, banned)
            every = scores.log_softmax(-1)
            logps[part] = every.gather(-1, tokens[part, None])[:, 0]
            log_total[part] = scores[:, allowed] - every[:, allowed]
            if with_entropy:
                # A banned token has probability 0 and log-probability -inf.
                entropy[part] = -torch.nan_to_num(scores.copy_(every).exp_().mul_(every)).sum(-1)
            if not keep and head is None:
                continue
            chances = every.exp_()
            if keep:
                expected = chances.to(hidden.dtype) @ weight
                slope[part] = (weight[tokens[part]] - expected) / temperature
            if head is not None and loss_slope is not None:
                foretold[part] = loss_slope(logps)[part]
                head.add(chances, hidden[part], tokens[part], foretold[part] / temperature)
        ctx.save_for_backward(hidden, weight, bias, tokens, banned, log_total, slope, foretold)
        ctx.temperature, ctx.chunk_tokens, ctx.head = temperature, chunk_tokens, head
        ctx.mark_non_differentiable(entropy)
        return logps, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, tokens, banned, log_total, slope, foretold = ctx.saved_tensors
        grad_hidden = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_hidden = (grad[:, None] * slope).to(hidden.dtype)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            head, ctx.head = ctx.head, None  # handed on, not copied; a second backward has its own
            factor = None if head is None else _factor(foretold, grad)
            if factor is None:
                head = _HeadGradient(weight, bias, grad.dtype)
                for start in range(0, len(hidden), ctx.chunk_tokens):
                    part = slice(start, start + ctx.chunk_tokens)
                    scores = _scores(hidden[part], weight, bias, ctx.temperature, banned)
                    chances = scores.sub_(log_total[part, None]).exp_()
                    head.add(chances, hidden[part], tokens[part], grad[part] / ctx.temperature)
            else:
                head.weight *= factor
                head.bias *= factor
            grad_weight = head.weight.to(weight.dtype)
            grad_bias = None if bias is None else head.bias.to(bias.dtype)
        return grad_hidden, grad_weight, grad_bias, *(None,) * 7


class _HeadGradient:
    """The sum over tokens of ``pull * (one-hot - chances)``, times ``hidden`` for the weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = torch.zeros_like(weight, dtype=dtype)
        self.bias = weight.new_zeros(0 if bias is None else len(bias), dtype=dtype)

    def add(self, chances: Tensor, hidden: Tensor, tokens: Tensor, pull: Tensor) -> None:
        pulled = pull[:, None] * hidden.to(pull.dtype)
        self.weight.addmm_(chances.T, pulled, alpha=-1).index_add_(0, tokens, pulled)
        if len(self.bias):
            self.bias.addmv_(chances.T, pull, alpha=-1).index_add_(0, tokens, pull)


def _factor(foretold: Tensor, grad: Tensor) -> float | None:
    """Return what the foretold slopes were multiplied by, ``None`` if they did not come true."""
    factor = float(foretold @ grad / (foretold @ foretold).clamp(min=1e-30))
    came_true = torch.allclose(grad, factor * foretold, rtol=1e-5, atol=1e-7 * float(grad.norm()))
    return factor if came_true else None
