"""GRPO for video prompts on ``transformers.Trainer``. One row of the dataset is one group.

Option names and meanings are TRL's; reward functions have TRL's signature. What differs is
that the video is an input, and that a group pays for it once.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback

from vcr1_lib.evaluation import answer_greedily, read_predictions
from vcr1_lib.groups import encode_prompts, with_pixels
from vcr1_lib.groups.policy import GroupPolicy, Rollout
from vcr1_lib.groups.rollout import Answers, answer_noise
from vcr1_lib.groups.vllm_rollout import VLLMRollout
from vcr1_lib.grpo import combine_rewards, group_advantages, grpo_loss, is_flat, mask_truncated
from vcr1_lib.metrics.by_task import figures_by_task, tasks_of
from vcr1_lib.models import PromptLoader, family_of
from vcr1_lib.models.loading import ModelError, check_scaled
from vcr1_lib.models.sharding import each_a_share, gather_rows
from vcr1_lib.rewards.grading import RewardFunc
from vcr1_lib.rewards.panel import RewardPanel, completion_rows
from vcr1_lib.training.callbacks import (
    COMPLETIONS_FILE,
    JsonLines,
    ProgressBar,
    StopOnInterrupt,
    write_rows,
)
from vcr1_lib.training.checkpoints import ResumableTrainer
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.training.windows import RepeatedWindows


class VideoGRPOTrainer(ResumableTrainer):
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

    args: VideoGRPOConfig  # type: ignore[assignment]
    processing_class: Any
    model: Any
    # The loss below already averages over the accumulation window.
    loss_is_scaled_for_ga = True

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
        self.tasks = tasks_of(train_dataset)
        self.rewards = RewardPanel(reward_funcs, args.reward_weights, columns)
        self.loader = PromptLoader(processing_class, **args.frames)
        self.policy = GroupPolicy(
            model,
            processing_class,
            temperature=args.temperature,
            shared_prefix=args.shared_prefix,
        )
        if not args.train_vision:
            for module in family_of(model).tower(model):
                module.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ModelError(
                "nothing of this model can be trained; to go on with an adapter's folder, add "
                "use_peft"
            )
        if args.fp16:
            check_scaled(model)
        super().__init__(
            model=model,
            args=args,
            data_collator=self.loader,
            train_dataset=list(train_dataset),
            eval_dataset=None if eval_dataset is None else list(eval_dataset),
            processing_class=processing_class,
            callbacks=callbacks,
        )
        self.model_accepts_loss_kwargs = False
        self.ref_model = self._reference_model()
        self.vllm: VLLMRollout | None = None
        if args.use_vllm:
            self.vllm = VLLMRollout(model, self.policy, args, Path(str(args.output_dir)))
        self._window: list[Rollout] = []
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.remove_callback(PrinterCallback)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(ProgressBar)
        self.add_callback(JsonLines)
        self.add_callback(StopOnInterrupt)

    def _reference_model(self) -> nn.Module | None:
        """Return a frozen copy where KL needs one; adapters can simply be switched off."""
        if self.args.beta == 0.0 or hasattr(self.model, "disable_adapter"):
            return None
        return deepcopy(self.model).requires_grad_(False).eval()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        args = self.args
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return RepeatedWindows(
            len(dataset),
            window=args.per_device_train_batch_size * args.world_size * args.sampled_at_once,
            times=args.num_iterations,
            seed=args.data_seed or args.seed,
            tasks=[r["task"] for r in dataset] if args.task_sampling == "balanced" else None,
            epoch=lambda: int(self.state.epoch or 0),
        )

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Return one step's rollouts; sample a new window of answers when the last is used up.

        A window is ``steps_per_generation`` micro-batches, each used ``num_iterations`` times.
        A run resumed inside a window samples the rest of it anew.
        """
        if not self._window:
            fresh = self.args.sampled_at_once
            size = fresh * self.args.num_iterations
            used = self.state.global_step * self.args.gradient_accumulation_steps % size
            batches, _ = super().get_batch_samples(epoch_iterator, size - used, device)
            rollouts = [
                self._rollout(b, device) for b in batches[: len(batches) if used else fresh]
            ]
            self._window = rollouts if used else rollouts * self.args.num_iterations
        step, self._window = self._window[:num_batches], self._window[num_batches:]
        tokens = torch.tensor([float(sum(r.mask.sum() for r in step))], device=device)
        return step, self.accelerator.reduce(tokens, "mean")[0].clamp(min=1)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs  # a rollout is on its device already

    def _rollout(self, loaded: dict[str, Any], device: torch.device) -> Rollout:
        """Answer each prompt G times, score the answers, compare siblings."""
        records, inputs = loaded["records"], loaded["prompts"]
        model = self.accelerator.unwrap_model(self.model)
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
        self._watch_rollout(answers, rewards, total)
        self._watch_tasks(total, [record["task"] for record in records])
        if self.args.log_completions:
            rows = gather_rows(completion_rows(self.state.global_step, texts, graded))
            if self.is_world_process_zero():
                write_rows(Path(str(self.args.output_dir)) / COMPLETIONS_FILE, rows)
        mask = answers.mask
        if self.args.mask_truncated_completions:
            mask = mask_truncated(mask, answers.finished)
        advantages = group_advantages(total, scale_rewards=self.args.scale_rewards)
        rollout = Rollout(inputs, prompts, answers, mask, advantages)
        if vllm is not None:
            rollout = vllm.correct(model, rollout, self._watch)
        rollout = rollout._replace(ref_logps=self._reference_logps(model, rollout))
        model.train()
        if self.args.train_vision:
            rollout = rollout._replace(prompts=with_pixels(model, batch))
        return rollout

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
        if self.args.beta != 0.0 or self.args.train_vision:
            logps = self.policy.score(model, rollout)
        else:
            at_least = int(self.args.world_size > 1)
            logps = self.policy.score_moving(model, rollout, at_least=at_least)
        result = grpo_loss(
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
            num_items=num_items_in_batch,
            importance_sampling_level=self.args.importance_sampling_level,
            kl_estimator=self.args.kl_estimator,
        )
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

    def _watch(self, name: str, values: Tensor) -> None:
        """Add values to a mean that the next log reports."""
        sums = torch.stack([values.double().sum(), values.new_tensor(values.numel()).double()])
        total, count = self.accelerator.reduce(sums, "sum").tolist()
        self._sums[name][0] += total
        self._sums[name][1] += count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report the means gathered since the last log beside the trainer's own figures."""
        if "loss" in logs:
            logs = logs | {k: total / count for k, (total, count) in self._sums.items() if count}
            self._sums.clear()
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Answer held-out questions greedily; log mIoU and R1@m, or each task's main score."""
        chosen: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        records = list(chosen)
        model, limit = self.accelerator.unwrap_model(self.model), self.args.max_completion_length
        texts = each_a_share(
            lambda rows: answer_greedily(model, self.loader, rows, max_completion_length=limit),
            records,
        )
        if tasks_of(records) == ["temporal_grounding"]:
            scores = read_predictions(texts, records).scores(records)
            scores["mIoU_low"], scores["mIoU_high"] = scores.pop("mIoU_interval")
        else:
            scores = figures_by_task(texts, records)
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def floating_point_ops(self, inputs: Any) -> int:
        """Not estimated: Transformers' formula does not know a shared prompt."""
        return 0
