"""The options of a GRPO run."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments

from vcr1_lib.grpo import LossType, ScaleRewards
from vcr1_lib.video import DEFAULT_FPS, DEFAULT_MAX_FRAMES


@dataclass
class VideoGRPOConfig(TrainingArguments):
    """Options of :class:`VideoGRPOTrainer`; every other one is ``TrainingArguments``'.

    Defaults are those of VideoChat-R1's training scripts (arXiv 2504.06958 and its code)
    where they state one, except ``beta``: 0 as in TRL, 0.04 in those scripts.

    Args:
        num_generations: Answers a group, G.
        max_completion_length: Longest answer, in tokens.
        temperature: Of sampling; the answers are scored under the same distribution.
        beta: Weight of the KL term; the reference policy is the model without its adapters,
            or a frozen copy.
        epsilon: Lower clip range.
        epsilon_high: Upper clip range, ``None`` for ``epsilon``.
        loss_type: ``"grpo"``, ``"bnpo"``, ``"dr_grpo"`` or ``"dapo"``.
        scale_rewards: ``"group"``, ``"batch"`` or ``"none"``.
        reward_weights: One a reward function, ``None`` for all 1.
        fps: Frames a second taken from each clip.
        max_frames: At most this many frames.
        train_vision: Also train the vision tower; it is frozen otherwise and encoded once
            a step.
        log_completions: Write every sampled answer with its rewards to
            ``completions.jsonl`` in the output folder.
    """

    num_generations: int = 8
    max_completion_length: int = 1024
    temperature: float = 1.0
    beta: float = 0.0
    epsilon: float = 0.2
    epsilon_high: float | None = None
    loss_type: LossType = "grpo"
    scale_rewards: ScaleRewards = "group"
    reward_weights: list[float] | None = None
    fps: float = DEFAULT_FPS
    max_frames: int = DEFAULT_MAX_FRAMES
    train_vision: bool = False
    log_completions: bool = False

    learning_rate: float = 1e-6
    lr_scheduler_type: str = "linear"
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Groups a device."})
    remove_unused_columns: bool = False
    label_names: list[str] | None = field(default_factory=list)
    logging_steps: float = 1
    # HfArgumentParser reads this union in this order only.
    report_to: None | str | list[str] = "none"  # noqa: RUF036
    dataloader_drop_last: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_generations < 1:
            raise ValueError(f"expected num_generations >= 1, got {self.num_generations}")
        if self.temperature <= 0:
            raise ValueError(
                f"expected temperature > 0, got {self.temperature}: "
                "greedy answers are all the same, so a group would have nothing to compare"
            )
