"""A policy answers in groups and scores answers under the distribution they came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.utils import logging

from vcr1_lib.groups import Prompts, score_groups, take
from vcr1_lib.groups.rollout import Answers, sample_groups
from vcr1_lib.groups.separate_rows import sample_rows, score_rows, shares_prefix_exactly
from vcr1_lib.models import banned_tokens, collate_prompts, family_of
from vcr1_lib.models.sharding import any_process, is_sharded

logger = logging.get_logger(__name__)


Tokens = list[list[int]]
Slope = Callable[[Tensor], Tensor]


class Rollout(NamedTuple):
    """Sampled and judged answers to ``B`` prompts.

    Attributes:
        inputs: Each prompt's own processor output, for scoring in separate rows.
        prompts: All of them, with the video encoded.
        answers: What was sampled.
        mask: ``(B, G, R)``, the tokens that the loss counts.
        advantages: ``(B, G)``, or ``(B, G, R)`` where an answer's tokens weigh differently.
        ref_logps: ``(B, G, R)``, ``None`` without a KL term.
    """

    inputs: list[Any]
    prompts: Prompts
    answers: Answers
    mask: Tensor
    advantages: Tensor
    ref_logps: Tensor | None = None

    def moving(self) -> list[int]:
        """Return the prompts whose policy loss has a gradient."""
        own = self.advantages if self.advantages.ndim == 3 else self.advantages[..., None]
        moves = (own != 0) & self.mask
        rows: list[int] = moves.flatten(1).any(1).nonzero()[:, 0].tolist()
        return rows

    def take(self, model: nn.Module, rows: list[int]) -> Rollout:
        """Pick some of the prompts."""
        return Rollout(
            [self.inputs[row] for row in rows],
            take(model, self.prompts, rows),
            Answers(*(part[rows] for part in self.answers)),
            self.mask[rows],
            self.advantages[rows],
            None if self.ref_logps is None else self.ref_logps[rows],
        )


class GroupPolicy:
    """Sampling and scoring, by a shared prefix where the model agrees with it.

    At first use the first group is scored in separate rows too. A model that disagrees gets
    separate rows from then on, with a warning.

    Args:
        model: Any model of a known family; methods take the model itself, so that wrappers
            and reference models can be scored as well.
        processor: The model's processor.
        temperature: Of sampling and scoring.
        shared_prefix: Whether to try.
        bans: Whether tokens that sampling never takes have no probability.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        *,
        temperature: float,
        shared_prefix: bool = True,
        bans: bool = True,
    ) -> None:
        self.family, self.tokenizer = family_of(model), processor.tokenizer
        self.temperature, self.banned = temperature, banned_tokens(model, processor) & bans
        self.shares_prefix: bool | None = None if shared_prefix else False

    def collate(self, inputs: list[Any], device: torch.device) -> dict[str, Any]:
        """Join processed prompts into one batch on a device."""
        batch = collate_prompts(inputs, self.family, self.tokenizer.pad_token_id)
        return {key: value.to(device) for key, value in batch.items()}

    def sample(
        self, model: nn.Module, prompts: Prompts, inputs: list[Any], noise: Tensor
    ) -> Answers:
        """Answer each prompt G times; ``noise`` ``(B, G, R)`` decides every token."""
        options = {"eos_token_id": self.tokenizer.eos_token_id, **self._distribution(prompts)}
        if self.shares_prefix is not False:
            answers = sample_groups(model, prompts, noise=noise, **options)
            if self.shares_prefix is None:
                self.shares_prefix = self._agrees(model, inputs[0], prompts, answers)
            if self.shares_prefix:
                return answers
        alone = [take(model, prompts, [row]) for row in range(len(inputs))]
        return sample_rows(model, alone, noise=noise, **options)

    def given(self, rows: Tokens, device: torch.device) -> Answers:
        """Take one answer a prompt that was written, not sampled.

        Args:
            rows: ``B`` answers' tokens, the one that ends it included.
            device: Of the policy.

        Returns:
            Answers ``(B, 1, R)``; their log-probabilities are not known and stand at 0.
        """
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
        tokens = nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in rows],
            batch_first=True,
            padding_value=self.tokenizer.eos_token_id,
        )
        mask, tokens = mask.bool()[:, None].to(device), tokens[:, None].to(device)
        logps = torch.zeros(mask.shape, device=device)
        return Answers(tokens, mask, logps, torch.ones_like(mask[..., 0]))

    def score(self, model: nn.Module, rollout: Rollout, loss_slope: Slope | None = None) -> Tensor:
        """Return ``(B, G, R)`` log-probabilities of the sampled tokens.

        ``loss_slope`` of ``(B, G, R)`` saves a trained head's second pass, see
        :func:`vcr1_lib.grpo.logprobs.chunked_logps`.
        """
        tokens, mask = rollout.answers.tokens, rollout.answers.mask
        options = self._distribution(rollout.prompts)
        if self.shares_prefix:
            options["loss_slope"] = loss_slope
            return score_groups(model, rollout.prompts, tokens, mask, **options)
        scored = []
        for i, row in enumerate(rollout.inputs):
            batch = self.collate([row], tokens.device)
            scored.append(score_rows(model, batch, tokens[i : i + 1], mask[i : i + 1], **options))
        return torch.cat(scored)

    def score_moving(
        self,
        model: nn.Module,
        rollout: Rollout,
        loss_slope: Slope | None = None,
        *,
        at_least: int = 0,
    ) -> Tensor:
        """Like :meth:`score`, but do not run groups again that cannot move the policy.

        They keep the log-probabilities they were sampled with, so they stay in every
        denominator.

        Args:
            model: The policy, with gradient.
            rollout: Answers with their advantages.
            loss_slope: As :meth:`score` takes it.
            at_least: Groups to run in any case; 1 where other processes wait for a gradient.
        """
        rows = rollout.moving()
        rows = sorted({*rows, *range(at_least - len(rows))})
        in_step = is_sharded(model) and not self.shares_prefix  # one call a row, in every process
        if in_step or len(rows) == len(rollout.inputs):
            return self.score(model, rollout, loss_slope)
        logps = rollout.answers.logps.clone()
        if not rows:
            return logps + 0 * sum(p.sum() for p in model.parameters() if p.requires_grad)
        whole, index = torch.zeros_like(logps), (torch.tensor(rows, device=logps.device),)
        part = loss_slope and (lambda own: loss_slope(whole.index_put(index, own))[rows])
        logps[rows] = self.score(model, rollout.take(model, rows), part)
        return logps

    @torch.no_grad()
    def verify(self, model: nn.Module, rollout: Rollout) -> None:
        """Compare on answers that were sampled elsewhere, if nothing was compared yet."""
        if self.shares_prefix is None:
            answers, options = rollout.answers, self._distribution(rollout.prompts)
            own = score_groups(model, rollout.prompts, answers.tokens, answers.mask, **options)
            answers = answers._replace(logps=own)
            self.shares_prefix = self._agrees(model, rollout.inputs[0], rollout.prompts, answers)

    def _distribution(self, prompts: Prompts) -> dict[str, Any]:
        banned = self.banned.to(prompts.input_ids.device)
        return {"temperature": self.temperature, "banned": banned}

    def _agrees(self, model: nn.Module, row: Any, prompts: Prompts, answers: Answers) -> bool:
        tokens, mask, logps = (x[:1] for x in (answers.tokens, answers.mask, answers.logps))
        batch = self.collate([row], tokens.device)
        agrees = shares_prefix_exactly(
            model, batch, tokens, mask, logps, **self._distribution(prompts)
        )
        agrees = not any_process(not agrees, tokens.device)  # all go the same way
        if not agrees:
            logger.warning(
                "This model's log-probabilities differ when a group shares its prompt, so every "
                "answer now gets a row of its own: right, but slower and with more memory."
            )
        return agrees
