"""GRPO for video prompts on ``transformers.Trainer``. One row of the dataset is one group.

Option names and meanings are TRL's; reward functions have TRL's signature. What differs is
that the video is an input, and that a group pays for it once.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback

from vcr1_lib.callbacks import JsonLines, ProgressBar, StopOnInterrupt
from vcr1_lib.config import VideoGRPOConfig
from vcr1_lib.evaluation import answer_greedily, read_predictions
from vcr1_lib.groups import Prompts, encode_prompts, score_groups, with_pixels
from vcr1_lib.grpo import combine_rewards, group_advantages, grpo_loss, is_flat
from vcr1_lib.models import PromptLoader, banned_tokens, collate_prompts, family_of
from vcr1_lib.rollout import Answers, answer_noise, sample_groups

RewardFunc = Callable[..., list[float | None]]
COMPLETIONS_FILE = "completions.jsonl"


class VideoGRPOTrainer(Trainer):
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
        self.reward_funcs = [reward_funcs] if callable(reward_funcs) else list(reward_funcs)
        self.reward_names = [getattr(f, "__name__", type(f).__name__) for f in self.reward_funcs]
        weights = args.reward_weights or [1.0] * len(self.reward_funcs)
        if len(weights) != len(self.reward_funcs):
            raise ValueError(
                f"expected {len(self.reward_funcs)} reward_weights, one a reward function, "
                f"got {len(weights)}"
            )
        self.reward_weights = torch.tensor(weights)
        self.loader = PromptLoader(processing_class, fps=args.fps, max_frames=args.max_frames)
        self.banned = banned_tokens(model, processing_class)
        if not args.train_vision:
            for module in family_of(model).tower(model):
                module.requires_grad_(False)
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

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Sample and score the answers of one whole accumulation window."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        rollouts = [self._rollout(batch, device) for batch in batches]
        tokens = torch.tensor(
            [float(sum(r["answers"].mask.sum() for r in rollouts))], device=device
        )
        return rollouts, self.accelerator.reduce(tokens, "mean")[0].clamp(min=1)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs  # a rollout is on its device already

    def _rollout(self, loaded: dict[str, Any], device: torch.device) -> dict[str, Any]:
        """Answer each prompt G times, score the answers, compare siblings."""
        records, tokenizer = loaded["records"], self.processing_class.tokenizer
        model = self.accelerator.unwrap_model(self.model)
        batch = collate_prompts(loaded["prompts"], family_of(model), tokenizer.pad_token_id)
        batch = {key: value.to(device) for key, value in batch.items()}
        model.eval()
        with torch.no_grad():
            prompts = encode_prompts(model, batch)
        noise = answer_noise(
            self.args.seed,
            self.state.global_step,
            [zlib.crc32(str(record["id"]).encode()) for record in records],
            group=self.args.num_generations,
            length=self.args.max_completion_length,
        )
        answers = sample_groups(
            model,
            prompts,
            noise=noise,
            eos_token_id=tokenizer.eos_token_id,
            temperature=self.args.temperature,
            banned=self.banned.to(device),
        )
        model.train()
        texts = tokenizer.batch_decode(answers.tokens.flatten(0, 1), skip_special_tokens=True)
        rewards = self._rewards(texts, records).to(device)
        total = combine_rewards(rewards, self.reward_weights.to(device))
        self._watch_rollout(answers, rewards, total)
        if self.args.log_completions:
            self._write_completions(records, texts, rewards)
        return {
            "prompts": with_pixels(model, batch) if self.args.train_vision else prompts,
            "answers": answers,
            "advantages": group_advantages(total, scale_rewards=self.args.scale_rewards),
            "ref_logps": self._reference_logps(model, prompts, answers),
        }

    def _rewards(self, texts: list[str], records: list[dict[str, Any]]) -> Tensor:
        """Return ``(B, G, N)``, NaN where a function returned ``None``."""
        group = self.args.num_generations
        columns = {
            key: [record[key] for record in records for _ in range(group)] for key in records[0]
        }
        scores = []
        for name, function in zip(self.reward_names, self.reward_funcs, strict=True):
            values = function(completions=texts, **columns)
            if len(values) != len(texts):
                raise ValueError(f"{name} returned {len(values)} rewards for {len(texts)} answers")
            for i, value in enumerate(values):
                if value is not None and not torch.isfinite(torch.tensor(value)):
                    raise ValueError(
                        f"{name} returned {value} for sample {columns['id'][i]!r}, "
                        f"answer {texts[i][:200]!r}; a reward must be a finite number or None"
                    )
            scores.append([float("nan") if value is None else float(value) for value in values])
        return torch.tensor(scores).T.reshape(len(records), group, len(self.reward_funcs))

    def _reference_logps(self, model: Any, prompts: Prompts, answers: Answers) -> Tensor | None:
        if self.args.beta == 0.0:
            return None
        with torch.no_grad():
            if self.ref_model is not None:
                return self._score(self.ref_model, prompts, answers)
            with model.disable_adapter():
                return self._score(model, prompts, answers)

    def _score(self, model: nn.Module, prompts: Prompts, answers: Answers) -> Tensor:
        return score_groups(
            model,
            prompts,
            answers.tokens,
            answers.mask,
            temperature=self.args.temperature,
            banned=self.banned.to(answers.tokens.device),
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Score the answers again, with gradient, and return the policy loss."""
        answers = inputs["answers"]
        logps = self._score(model, inputs["prompts"], answers)
        result = grpo_loss(
            logps,
            inputs["advantages"],
            answers.mask,
            ref_logps=inputs["ref_logps"],
            beta=self.args.beta,
            epsilon=self.args.epsilon,
            epsilon_high=self.args.epsilon_high,
            loss_type=self.args.loss_type,
            max_completion_length=self.args.max_completion_length,
            num_items=num_items_in_batch,
        )
        gap = (logps.detach() - answers.logps).abs() * answers.mask
        self._watch("sampling/max_logp_gap", gap.max()[None])
        if self.args.beta != 0.0:
            self._watch("kl", result.kl[None])
        # "dapo" divides by the tokens of the whole window, the others by their own batch.
        share = 1 if self.args.loss_type == "dapo" else self.current_gradient_accumulation_steps
        return result.loss / share

    def _watch_rollout(self, answers: Answers, rewards: Tensor, total: Tensor) -> None:
        lengths = answers.mask.sum(-1).float().flatten()
        self._watch("completions/mean_length", lengths)
        self._watch("completions/clipped_ratio", (~answers.finished).float().flatten())
        self._watch("reward", total.flatten())
        if total.shape[1] > 1:
            self._watch("reward_std", total.std(-1))
        self._watch("frac_reward_zero_std", is_flat(total).float())
        for i, name in enumerate(self.reward_names):
            values = rewards[..., i].flatten()
            self._watch(f"rewards/{name}/mean", values[~values.isnan()])

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
        """Answer the held-out questions greedily and log mIoU and R1@m."""
        chosen: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        records = list(chosen)
        model = self.accelerator.unwrap_model(self.model)
        texts = answer_greedily(
            model, self.loader, records, max_completion_length=self.args.max_completion_length
        )
        scores = read_predictions(texts, records).scores(records)
        scores["mIoU_low"], scores["mIoU_high"] = scores.pop("mIoU_interval")
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def floating_point_ops(self, inputs: Any) -> int:
        """Not estimated: Transformers' formula does not know a shared prompt."""
        return 0

    def _write_completions(
        self, records: list[dict[str, Any]], texts: list[str], rewards: Tensor
    ) -> None:
        group = self.args.num_generations
        folder = Path(str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / COMPLETIONS_FILE).open("a", encoding="utf-8") as file:
            for i, text in enumerate(texts):
                scores = rewards[i // group, i % group].tolist()
                row = {
                    "step": self.state.global_step,
                    "id": records[i // group]["id"],
                    "completion": text,
                    "rewards": dict(zip(self.reward_names, scores, strict=True)),
                }
                file.write(json.dumps(row) + "\n")
