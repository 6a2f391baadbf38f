"""What training on video questions shares, whatever the loss: loading, watching, measuring."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback

from vcr1_lib.evaluation import answer_greedily, read_predictions
from vcr1_lib.groups.policy import GroupPolicy, Rollout
from vcr1_lib.metrics.by_task import figures_by_task, tasks_of
from vcr1_lib.models import PromptLoader, base_model, family_of
from vcr1_lib.models.loading import ModelError, check_scaled
from vcr1_lib.models.sharding import any_process, each_a_share, stop_together
from vcr1_lib.training.callbacks import JsonLines, ProgressBar, SkippedSteps, StopOnInterrupt
from vcr1_lib.training.checkpoints import ResumableTrainer
from vcr1_lib.training.config import VideoConfig
from vcr1_lib.training.windows import RepeatedWindows
from vcr1_lib.video import VideoError

log = logging.getLogger(__name__)


class VideoTrainer(ResumableTrainer):
    """Load windows of questions, turn them into answers to learn from, report and measure.

    A subclass says what the answers are and what the loss.

    Args:
        model: A model of a known family, with or without PEFT adapters.
        args: The options.
        train_dataset: Records, see :mod:`vcr1_lib.datasets`.
        eval_dataset: Records for held-out scores.
        processing_class: The model's processor.
        callbacks: As in ``Trainer``.
        distribution: What answers are scored under, in ``GroupPolicy``'s terms.
    """

    args: VideoConfig  # type: ignore[assignment]
    processing_class: Any
    model: Any
    # The losses already average over the accumulation window.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: nn.Module,
        args: VideoConfig,
        train_dataset: Sequence[dict[str, Any]],
        eval_dataset: Sequence[dict[str, Any]] | None = None,
        processing_class: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        *,
        distribution: dict[str, Any],
    ) -> None:
        self.tasks = tasks_of(train_dataset)
        self.loader = PromptLoader(processing_class, **args.frames, on_error=args.at_bad_clip)
        self.policy = GroupPolicy(
            model, processing_class, shared_prefix=args.shared_prefix, **distribution
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
        if self.is_fsdp_enabled:
            self._shard_decoder(self.accelerator.state.fsdp_plugin)
        elif parse_flag_from_env("ACCELERATE_USE_FSDP") and self.is_world_process_zero():
            kind = self.accelerator.distributed_type.value
            log.warning("FSDP was asked for and is not in use: accelerate runs %s here", kind)
        self._window: list[Rollout] = []
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.remove_callback(PrinterCallback)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(ProgressBar)
        self.add_callback(JsonLines)
        self.add_callback(StopOnInterrupt)
        if args.fp16:
            self.add_callback(SkippedSteps(self._watch_skipped))

    def _shard_decoder(self, plugin: Any) -> None:
        """Let FSDP2 shard the language model layer by layer, and the tower with the rest.

        Left alone, accelerate shards blocks of the tower too, and PyTorch refuses to run one
        before the whole model's first ``forward``. Classes that the user names stand.
        """
        if plugin.fsdp_version != 2:
            raise ModelError(
                f"expected fsdp_version 2, got {plugin.fsdp_version}: write fsdp_version: 2 under "
                "fsdp_config, as in configs/accelerate/fsdp2.yaml"
            )
        if plugin.transformer_cls_names_to_wrap is None:
            layer = base_model(self.model).get_decoder().layers[0]
            plugin.transformer_cls_names_to_wrap = [type(layer).__name__]

    def _rollout(self, loaded: dict[str, Any], device: torch.device) -> Rollout:
        """Return the answers to learn from, to what the loader returned."""
        raise NotImplementedError

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        args = self.args
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        return RepeatedWindows(
            len(dataset),
            window=args.window,
            times=args.num_iterations,
            seed=args.data_seed or args.seed,
            tasks=[r["task"] for r in dataset] if args.task_sampling == "balanced" else None,
            epoch=lambda: int(self.state.epoch or 0),
        )

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Return one step's answers; load a new window when the last is used up.

        A window is ``sampled_at_once`` micro-batches, each used ``num_iterations`` times.
        A run resumed inside a window makes the rest of it anew.
        """
        if not self._window:
            fresh = self.args.sampled_at_once
            size = fresh * self.args.num_iterations
            used = self.state.global_step * self.args.gradient_accumulation_steps % size
            batches = self._load(epoch_iterator, size - used, device)
            rollouts = [
                self._rollout(b, device) for b in batches[: len(batches) if used else fresh]
            ]
            self._window = rollouts if used else rollouts * self.args.num_iterations
        step, self._window = self._window[:num_batches], self._window[num_batches:]
        tokens = torch.tensor([float(sum(r.mask.sum() for r in step))], device=device)
        return step, self.accelerator.reduce(tokens, "mean")[0].clamp(min=1)

    def _load(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> list[Any]:
        """Load micro-batches; a clip that stops one process stops all of them, by name."""
        batches: list[Any] = []
        failure = None
        try:
            batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        except (OSError, VideoError) as error:
            failure = error
        stop_together(failure)
        unreadable = [why for batch in batches for why in batch["unreadable"]]
        if self.args.on_error == "skip":
            told = torch.tensor([float(bool(why)) for why in unreadable], device=device)
            self._watch("unreadable_clips", told)
        for why in filter(None, unreadable):
            log.warning("skipped: %s", why)
        if batches and not any_process(not all(unreadable), device):
            raise VideoError(
                f"none of a step's clips can be read ({len(unreadable)} in all), the first "
                f"because: {unreadable[0]}; run python -m vcr1_lib.video.prescan"
            )
        return batches

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs  # a rollout is on its device already

    def _watch(self, name: str, values: Tensor) -> None:
        """Add values to a mean that the next log reports."""
        sums = torch.stack([values.double().sum(), values.new_tensor(values.numel()).double()])
        total, count = self.accelerator.reduce(sums, "sum").tolist()
        self._sums[name][0] += total
        self._sums[name][1] += count

    def _watch_skipped(self, skipped: float) -> None:
        self._watch("skipped_steps", torch.tensor([skipped], device=self.args.device))

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
        self.loader.on_error = "raise"  # a clip that fails belongs in the denominator
        texts = each_a_share(
            lambda rows: answer_greedily(model, self.loader, rows, max_completion_length=limit),
            records,
        )
        self.loader.on_error = self.args.at_bad_clip
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
