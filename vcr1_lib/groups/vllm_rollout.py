r"""Sample groups by a vLLM server, in a process of its own, instead of by the trained model.

The server gets the very token ids and pixels that our own forward gets, through vLLM's *tokens
in, tokens out* endpoint (``/inference/v1/generate``, vLLM 0.30 and later), so no second processor
can see other frames or other times. It prefills a prompt once for its group (prefix caching) and
returns each token's log-probability. Before answers to new weights are asked for, the weights are
written to a folder and the server reads them again: all of them, or the adapter alone.

Two programs never compute quite the same probabilities. The difference is measured on every
answer, corrected by importance sampling, and above a bound training stops.

Start the server on the same file system::

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --enable-scale-out --enable-prefix-caching \
        --logprobs-mode processed_logprobs

and for adapters with ``--enable-lora`` and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`` too. Option
names are TRL's. docs/engines.md tells what has been run.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vcr1_lib.groups import Prompts
from vcr1_lib.groups.policy import GroupPolicy, Rollout
from vcr1_lib.groups.rollout import Answers
from vcr1_lib.groups.vllm_pixels import VLLMError, features
from vcr1_lib.groups.vllm_server import Correction, VLLMOptions, VLLMServer
from vcr1_lib.models import base_model
from vcr1_lib.models.sharding import any_process

# What vLLM adds to a score at most; nothing is likely after that.
NEVER = -100.0


class VLLMRollout:
    """Stands in for a :class:`GroupPolicy` where answers are sampled.

    Args:
        model: The policy.
        policy: Scores answers here.
        options: Where the server is, and the correction.
        folder: The run's.

    Raises:
        VLLMError: If the server cannot be used; see
            :class:`vcr1_lib.groups.vllm_server.VLLMServer`.
    """

    def __init__(
        self, model: nn.Module, policy: GroupPolicy, options: VLLMOptions, folder: Path
    ) -> None:
        if options.vllm_importance_sampling_mode not in get_args(Correction):
            raise VLLMError(
                f"expected vllm_importance_sampling_mode in {get_args(Correction)}, got "
                f"{options.vllm_importance_sampling_mode!r}"
            )
        self.policy, self.options = policy, options
        self.server = VLLMServer(model, options, folder)

    def synced(self, model: nn.Module, step: int) -> VLLMRollout:
        """Return this, with the weights of a step in the server."""
        self.server.sync(model, step)
        return self

    def sample(
        self, model: nn.Module, prompts: Prompts, inputs: list[Any], noise: Tensor
    ) -> Answers:
        """Answer each prompt G times; the first of its ``noise`` ``(B, G, R)`` is its seed.

        ``logps`` are the server's own.
        """
        _, group, limit = noise.shape
        kind = base_model(model).config.model_type
        slot, banned = self.policy.family.placeholder(model), self.policy.banned.nonzero()[:, 0]
        common = {
            "n": group,
            "max_tokens": limit,
            "temperature": self.policy.temperature,
            "logprobs": 0,
            "stop_token_ids": [self.policy.tokenizer.eos_token_id],
            "logit_bias": {str(token): NEVER for token in banned.tolist()},
        }

        def answer(row: int) -> list[dict[str, Any]]:
            seed = int(noise[row, 0, 0] * (1 << 31))
            body = {
                "model": self.server.served,
                "token_ids": inputs[row]["input_ids"][0].tolist(),
                "features": features(kind, inputs[row], slot),
                "sampling_params": common | {"seed": seed},
                "return_token_ids": True,
            }
            return self._checked(body, self.server.ask("/inference/v1/generate", body))

        with ThreadPoolExecutor(len(inputs)) as pool:
            groups = list(pool.map(answer, range(len(inputs))))
        return self._joined(groups, prompts.input_ids.device)

    def _checked(self, body: dict[str, Any], reply: dict[str, Any]) -> list[dict[str, Any]]:
        """Refuse answers to another prompt, by other weights, cut off, or with vision tokens."""
        if reply["prompt_token_ids"] != body["token_ids"]:
            raise VLLMError(
                f"expected an answer to our {len(body['token_ids'])} prompt tokens, the server "
                f"read {len(reply['prompt_token_ids'])} others"
            )
        banned = set(body["sampling_params"]["logit_bias"])
        for choice in reply["choices"]:
            weights = {span["version"] for span in choice["weight_versions"] or ()}
            if weights != {f"step {self.server.step}"}:
                raise VLLMError(
                    f"expected an answer by the weights of step {self.server.step}, it is by "
                    f"{sorted(weights)}: give every run a server of its own"
                )
            if choice["finish_reason"] not in ("stop", "length"):
                raise VLLMError(f"the server gave up an answer: {choice['finish_reason']}")
            if wrong := [token for token in choice["token_ids"] if str(token) in banned]:
                raise VLLMError(
                    f"the server sampled token {wrong[0]}, a vision or special token, though it "
                    "was told not to: an answer cannot hold pictures"
                )
        choices: list[dict[str, Any]] = sorted(reply["choices"], key=lambda c: c["index"])
        return choices

    def _joined(self, groups: list[list[dict[str, Any]]], device: torch.device) -> Answers:
        width = max(len(choice["token_ids"]) for group in groups for choice in group)
        shape = (len(groups), len(groups[0]), width)
        tokens = torch.full(shape, self.policy.tokenizer.eos_token_id)
        mask, logps = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
        for row, group in enumerate(groups):
            for column, choice in enumerate(group):
                length = len(choice["token_ids"])
                told = [token["logprob"] for token in choice["logprobs"]["content"]]
                tokens[row, column, :length] = torch.tensor(choice["token_ids"])
                logps[row, column, :length] = torch.tensor(told)
                mask[row, column, :length] = True
        finished = [[choice["finish_reason"] == "stop" for choice in group] for group in groups]
        parts = (tokens, mask, logps, torch.tensor(finished))
        return Answers(*(part.to(device) for part in parts))

    @torch.no_grad()
    def correct(
        self, model: nn.Module, rollout: Rollout, watch: Callable[[str, Tensor], None]
    ) -> Rollout:
        """Score the answers here, and weigh each token by our probability over the server's.

        Args:
            model: The policy that the server's weights came from.
            rollout: Answers with the server's log-probabilities.
            watch: Takes figures under TRL's names.

        Returns:
            The rollout with our log-probabilities, and advantages ``(B, G, R)``.

        Raises:
            VLLMError: In every process, if log-probabilities differ by more than the bound.
        """
        answers, mask = rollout.answers, rollout.answers.mask
        self.policy.verify(model, rollout)
        own = self.policy.score(model, rollout)
        gap = (own - answers.logps).abs()[mask]
        bound = self.options.vllm_max_logp_difference
        watch("sampling/sampling_logp_difference/mean", gap)
        watch("sampling/sampling_logp_difference/max", gap.max()[None])
        if any_process(not bool(gap.mean() <= bound), own.device):
            raise VLLMError(
                f"the server's log-probabilities differ from ours by {gap.mean():.3g} a token "
                f"(at most {gap.max():.3g}), and vllm_max_logp_difference is {bound}: it computes "
                "another policy; compare its --dtype, quantisation and base model with this run's"
            )
        advantages = rollout.advantages
        if self.options.vllm_importance_sampling_correction:
            ratio = importance_ratio(own - answers.logps, mask, self.options)
            watch("sampling/importance_sampling_ratio/mean", ratio[mask])
            advantages = advantages[..., None] * ratio
        return rollout._replace(answers=answers._replace(logps=own), advantages=advantages)


def importance_ratio(difference: Tensor, mask: Tensor, options: VLLMOptions) -> Tensor:
    """Return how much likelier a token, or its answer, is here than in the server.

    Args:
        difference: ``(B, G, R)`` log-probabilities here minus those of the server.
        mask: ``(B, G, R)``, true where there is a token.
        options: The mode and its bounds.

    Returns:
        ``(B, G, R)`` ratios, cut to the bounds, or 0 outside them.

    Reference: TRL's ``vllm_importance_sampling_mode``; truncated importance sampling after
    Ionides, "Truncated Importance Sampling" (2008).

    >>> difference, mask = torch.tensor([[[0.0, 2.0]]]), torch.ones(1, 1, 2, dtype=torch.bool)
    >>> importance_ratio(difference, mask, VLLMOptions())
    tensor([[[1., 3.]]])
    """
    mode = options.vllm_importance_sampling_mode
    low, high = options.vllm_importance_sampling_clip_min, options.vllm_importance_sampling_clip_max
    low, high = 0.0 if low is None else low, float("inf") if high is None else high
    difference = difference * mask
    if mode.startswith("sequence"):
        difference = difference.sum(-1, keepdim=True).expand_as(difference)
    ratio = difference.exp()
    if mode.endswith("truncate"):
        return ratio.clamp(low, high)
    return ratio.where((ratio >= low) & (ratio <= high), 0.0)
