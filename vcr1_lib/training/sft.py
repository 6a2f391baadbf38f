"""Supervised fine-tuning on the right answers: the baseline that GRPO is compared with.

The same questions, frames, positions and forward as :mod:`vcr1_lib.training`'s, a group of one
answer each; what is learnt is the record's own truth, in the form the prompt asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.trainer_callback import TrainerCallback

from vcr1_lib.groups import encode_prompts, with_pixels
from vcr1_lib.groups.policy import Rollout
from vcr1_lib.prompts import render_gold
from vcr1_lib.training.config import VideoSFTConfig
from vcr1_lib.training.video_trainer import VideoTrainer


class VideoSFTTrainer(VideoTrainer):
    r"""Learn each record's right answer by cross-entropy on the answer's tokens alone.

    .. math:: L = -\frac{1}{\sum_i |a_i|} \sum_i \sum_t \log \pi(a_{i,t} \mid q_i, a_{i,<t})

    over the questions of a step, in all processes: the prompt is read and not learnt.
    (VideoChat-R1's own baseline counts the prompt too.)

    Args:
        model: A model of a known family, with or without PEFT adapters.
        args: The options.
        train_dataset: Records of any tasks, see :mod:`vcr1_lib.datasets`.
        eval_dataset: Records for held-out scores.
        processing_class: The model's processor.
        callbacks: As in ``Trainer``.

    Raises:
        ValueError: If a right answer is longer than ``max_completion_length``.
    """

    args: VideoSFTConfig

    def __init__(
        self,
        model: nn.Module,
        args: VideoSFTConfig,
        train_dataset: Sequence[dict[str, Any]],
        eval_dataset: Sequence[dict[str, Any]] | None = None,
        processing_class: Any = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model,
            args,
            train_dataset,
            eval_dataset,
            processing_class,
            callbacks,
            # Cross-entropy is over the whole vocabulary, also over what sampling never takes.
            distribution={"temperature": 1.0, "bans": False},
        )
        for record in train_dataset:
            if (length := len(self.gold_tokens(record))) > args.max_completion_length:
                raise ValueError(
                    f"the right answer of record {record['id']!r} has {length} tokens, and "
                    f"max_completion_length is {args.max_completion_length}: raise it"
                )

    def gold_tokens(self, record: dict[str, Any]) -> list[int]:
        """Return a record's right answer as tokens, the one that ends it included."""
        text = render_gold(record["task"], record, thought=self.args.thought)
        tokenizer = self.processing_class.tokenizer
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*tokens, tokenizer.eos_token_id]

    def _rollout(self, loaded: dict[str, Any], device: torch.device) -> Rollout:
        """Put the right answers behind their prompts."""
        model, inputs = self.accelerator.unwrap_model(self.model), loaded["prompts"]
        batch = self.policy.collate(inputs, device)
        model.eval()
        with torch.no_grad():
            prompts = encode_prompts(model, batch)
        rows = [self.gold_tokens(record) for record in loaded["records"]]
        answers = self.policy.given(rows, device)
        readable = torch.tensor([not why for why in loaded["unreadable"]], device=device)
        mask = answers.mask & readable[:, None, None]
        rollout = Rollout(inputs, prompts, answers, mask, torch.ones_like(mask[..., 0]).float())
        self.policy.verify(model, rollout)
        model.train()
        if self.args.train_vision:
            rollout = rollout._replace(prompts=with_pixels(model, batch))
        return rollout

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return the mean negative log-probability of the answers' tokens."""
        rollout: Rollout = inputs
        logps = self.policy.score(model, rollout, lambda logps: -rollout.mask.to(logps.dtype))
        return -(logps * rollout.mask).sum() / num_items_in_batch  # type: ignore[operator]
