"""GRPO for video prompts on ``transformers.Trainer``. One row of the dataset is one group.

Option names and meanings are TRL's; reward functions have TRL's signature. What differs is
that the video is an input, and that a group pays for it once.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.trainer_callback import TrainerCallback

from vcr1_lib.groups import encode_prompts, with_pixels
from vcr1_lib.groups.policy import Rollout
from vcr1_lib.groups.rollout import Answers, answer_noise
from vcr1_lib.groups.vllm_rollout import VLLMRollout
from vcr1_lib.grpo import (
    GRPOLoss,
    combine_rewards,
    group_advantages,
    grpo_loss,
    is_flat,
    mask_truncated,
)
from vcr1_lib.grpo.logprobs import slope_of
from vcr1_lib.models.sharding import gather_rows
from vcr1_lib.rewards.grading import RewardFunc
from vcr1_lib.rewards.panel import RewardPanel, completion_rows
from vcr1_lib.training.callbacks import COMPLETIONS_FILE, write_rows
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.training.preflight import check_model, check_rewards
from vcr1_lib.training.video_trainer import VideoTrainer


class VideoGRPOTrainer(VideoTrainer):
    """Sample a group of answers per video question, score them, reinforce the better ones.

    Args:
        model: A model of a known family, with or without PEFT adapters.
        reward_funcs: Functions ``f(completions, **columns) -> list[float | None]``.
        args: The options.
        train_dataset: Records, see :mod:`vcr1_lib.datasets`.
        eval_dataset: Records for held-out scores.
        processing_class: The model's processor.
        callbacks: As in ``Trainer``.
    """

    args: VideoGRPOConfig

    def __init__(
        self,
        model: nn.Module,
        reward_funcs: RewardFunc | Sequence[RewardFunc],
        args: VideoGRPOConfig,
        train_dataset: Sequence[dict[str, Any]],
        eval_dataset: Sequence[dict[str, Any]] | None = None,
        processing_class: Any = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        columns = {name for record in train_dataset for name in record}
        self.rewards = RewardPanel(reward_funcs, args.reward_weights, columns)
        super().__init__(
            model,
            args,
            train_dataset,
            eval_dataset,
            processing_class,
            callbacks,
            distribution={"temperature": args.temperature},
        )
        self.ref_model = self._reference_model()
        self._unchecked = args.preflight
        self.vllm: VLLMRollout | None = None
        if args.use_vllm:
            self.vllm = VLLMRollout(model, self.policy, args, Path(str(args.output_dir)))

    def _reference_model(self) -> nn.Module | None:
        """Return a frozen copy where KL needs one; adapters can simply be switched off."""
        if self.args.beta == 0.0 or hasattr(self.model, "disable_adapter"):
            return None
        return deepcopy(self.model).requires_grad_(False).eval()

    def _rollout(self, loaded: dict[str, Any], device: torch.device) -> Rollout:
        """Answer each prompt G times, score the answers, compare siblings.

        Answers about a clip that cannot be read are in no mean and no loss.
        """
        records, inputs = loaded["records"], loaded["prompts"]
        model = self.accelerator.unwrap_model(self.model)
        if self._unchecked:
            self._unchecked = False
            self._preflight(model)
        batch = self.policy.collate(inputs, device)
        noise = answer_noise(
            self.args.seed,
            self.state.global_step,
            [zlib.crc32(str(record["id"]).encode()) for record in records],
            group=self.args.num_generations,
            length=self.args.max_completion_length,
        )
        model.eval()
        with torch.no_grad():
            prompts = encode_prompts(model, batch)
        vllm = self.vllm and self.vllm.synced(model, self.state.global_step)
        answers = (vllm or self.policy).sample(model, prompts, inputs, noise)
        tokenizer = self.processing_class.tokenizer
        texts = tokenizer.batch_decode(answers.tokens.flatten(0, 1), skip_special_tokens=True)
        graded = self.rewards(texts, records)
        rewards = graded.rewards.reshape(len(records), -1, len(self.rewards.names)).to(device)
        total = combine_rewards(rewards, self.rewards.weights.to(device))
        seen = [row for row, why in enumerate(loaded["unreadable"]) if not why]
        shown = Answers(*(part[seen] for part in answers))
        self._watch_rollout(shown, rewards[seen], total[seen])
        self._watch_tasks(total[seen], [records[row]["task"] for row in seen])
        if self.args.log_completions:
            names = {records[row]["id"] for row in seen}
            rows = completion_rows(self.state.global_step, texts, graded)
            rows = gather_rows([row for row in rows if row["id"] in names])
            if self.is_world_process_zero():
                write_rows(Path(str(self.args.output_dir)) / COMPLETIONS_FILE, rows)
        mask, advantages = torch.zeros_like(answers.mask), torch.zeros_like(total)
        mask[seen] = shown.mask
        if self.args.mask_truncated_completions:
            mask = mask_truncated(mask, answers.finished)
        advantages[seen] = group_advantages(total[seen], scale_rewards=self.args.scale_rewards)
        rollout = Rollout(inputs, prompts, answers, mask, advantages)
        if vllm is not None:
            rollout = vllm.correct(model, rollout, self._watch)
        rollout = rollout._replace(ref_logps=self._reference_logps(model, rollout))
        model.train()
        if self.args.train_vision:
            rollout = rollout._replace(prompts=with_pixels(model, batch))
        return rollout

    def _preflight(self, model: nn.Module) -> None:
        """Check on one question, the same in every process."""
        dataset: Any = self.train_dataset
        group = {"num_generations": self.args.num_generations}
        check_rewards(self.rewards, dataset, **group)
        check_model(model, self.policy, self.loader, dataset[0], **group, seed=self.args.seed)

    def _reference_logps(self, model: Any, rollout: Rollout) -> Tensor | None:
        if self.args.beta == 0.0:
            return None
        with torch.no_grad():
            if self.ref_model is not None:
                return self.policy.score(self.ref_model, rollout)
            with model.disable_adapter():
                return self.policy.score(model, rollout)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Score the answers again, with gradient, and return the policy loss."""
        rollout: Rollout = inputs
        loss = partial(self._loss, rollout=rollout, num_items=num_items_in_batch)
        # A ratio of whole answers makes a token's slope depend on its neighbours.
        alone = self.args.importance_sampling_level == "token"
        slope = partial(slope_of, lambda logps: loss(logps).loss) if alone else None
        if self.args.beta != 0.0 or self.args.train_vision:
            logps = self.policy.score(model, rollout, slope)
        else:
            at_least = int(self.args.world_size > 1)
            logps = self.policy.score_moving(model, rollout, slope, at_least=at_least)
        result = loss(logps)
        if self.args.on_policy:
            gap = (logps.detach() - rollout.answers.logps).abs() * rollout.answers.mask
            self._watch("sampling/max_logp_gap", gap.max()[None])
        else:
            self._watch("clip_ratio/low_mean", result.clip_low[None])
            self._watch("clip_ratio/high_mean", result.clip_high[None])
            self._watch("clip_ratio/region_mean", result.clip_ratio[None])
        if self.args.beta != 0.0:
            self._watch("kl", result.kl[None])
        # These divide by the tokens of the whole window, the others by their own batch.
        whole = self.args.loss_type in ("dapo", "cispo")
        share = 1 if whole else self.current_gradient_accumulation_steps
        return result.loss / share

    def _loss(self, logps: Tensor, rollout: Rollout, num_items: Tensor | int | None) -> GRPOLoss:
        return grpo_loss(
            logps,
            rollout.advantages,
            rollout.mask,
            old_logps=None if self.args.on_policy else rollout.answers.logps,
            ref_logps=rollout.ref_logps,
            beta=self.args.beta,
            epsilon=self.args.epsilon,
            epsilon_high=self.args.epsilon_high,
            loss_type=self.args.loss_type,
            max_completion_length=self.args.max_completion_length,
            num_items=num_items,
            importance_sampling_level=self.args.importance_sampling_level,
            kl_estimator=self.args.kl_estimator,
        )

    def _watch_rollout(self, answers: Answers, rewards: Tensor, total: Tensor) -> None:
        lengths = answers.mask.sum(-1).float().flatten()
        self._watch("completions/mean_length", lengths)
        self._watch("completions/clipped_ratio", (~answers.finished).float().flatten())
        # Sampled tokens estimate the entropy without a pass over the vocabulary.
        self._watch("entropy", -answers.logps[answers.mask])
        self._watch("reward", total.flatten())
        if total.shape[1] > 1:
            self._watch("reward_std", total.std(-1))
        self._watch("frac_reward_zero_std", is_flat(total).float())
        for i, name in enumerate(self.rewards.names):
            values = rewards[..., i].flatten()
            self._watch(f"rewards/{name}/mean", values[~values.isnan()])

    def _watch_tasks(self, total: Tensor, tasks: list[str]) -> None:
        """Report a mixed run's reward by task; all processes name all tasks in one order."""
        for task in self.tasks if len(self.tasks) > 1 else ():
            rows = [i for i, own in enumerate(tasks) if own == task]
            self._watch(f"reward/{task}", total[rows].flatten())
