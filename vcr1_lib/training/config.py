"""The options of a run: what every one has, GRPO's, and those of teaching right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from vcr1_lib.groups.vllm_server import VLLMOptions
from vcr1_lib.grpo import LossType, RatioLevel, ScaleRewards
from vcr1_lib.grpo.kl import KLEstimator
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models.loading import ModelOptions
from vcr1_lib.options import options_parser, refuse_unknown, shorten_help, with_config
from vcr1_lib.training.checkpoints import CheckpointError, find_checkpoint
from vcr1_lib.training.windows import TaskSampling, check_window
from vcr1_lib.video import DEFAULT_FPS, DEFAULT_MAX_FRAMES

OnError = Literal["raise", "skip"]
# What a profile never sets and many want.
COMMON = {"output_dir", "seed", "resume_from_checkpoint", "logging_steps", "report_to", "use_cpu"}


@dataclass
class VideoConfig(TrainingArguments):
    """What every run on video questions can be told; the rest is ``TrainingArguments``'.

    Args:
        max_completion_length: Longest answer, in tokens.
        task_sampling: Of a mixed dataset, ``"proportional"``, each row once per epoch, or
            ``"balanced"``, every task equally often.
        fps: Frames a second taken from each clip.
        max_frames: At most this many frames.
        max_pixels: Pictures with more are shrunk while decoding.
        on_error: At a training clip that cannot be read, ``"raise"`` in every process, or
            ``"skip"`` it: grey frames stand in, so that processes stay in step, the question
            counts for nothing, and ``unreadable_clips`` in the log tells their share.
        train_vision: Also train the vision tower; it is frozen otherwise and encoded once
            a step.
        shared_prefix: A group pays for its prompt once. It is verified on the model at first
            use and given up, with a warning, where it disagrees with separate rows.
    """

    max_completion_length: int = 1024
    task_sampling: TaskSampling = "proportional"
    fps: float = DEFAULT_FPS
    max_frames: int = DEFAULT_MAX_FRAMES
    max_pixels: int | None = None
    on_error: OnError = "raise"
    train_vision: bool = False
    shared_prefix: bool = True

    learning_rate: float = 1e-6
    lr_scheduler_type: str = "linear"
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Questions a device."})
    remove_unused_columns: bool = False
    label_names: list[str] | None = field(default_factory=list)
    # Every adapter and every layer takes part in the one forward of a step.
    ddp_find_unused_parameters: bool | None = False
    logging_steps: float = 1
    # HfArgumentParser reads this union in this order only.
    report_to: None | str | list[str] = "none"  # noqa: RUF036
    dataloader_drop_last: bool = True
    # Not an option: how often an answer is learnt from.
    num_iterations = 1

    def __post_init__(self) -> None:
        if self.max_steps < -1 or self.max_steps == 0:
            raise ValueError(
                f"expected max_steps > 0, or -1 to count num_train_epochs, got {self.max_steps}"
            )
        if self.per_device_train_batch_size < 1:
            raise ValueError(
                f"expected per_device_train_batch_size >= 1, got {self.per_device_train_batch_size}"
            )
        if self.use_cpu:
            # Transformers (5.23) forgets the time-out there; who comes first decides.
            PartialState(cpu=True, backend=self.ddp_backend, timeout=self.ddp_timeout_delta)
        super().__post_init__()
        # One process, one GPU: two that are seen without a launcher would share its batch.
        self._n_gpu = min(self.n_gpu, 1)

    @property
    def sampled_at_once(self) -> int:
        """Micro-batches that are loaded together."""
        return self.gradient_accumulation_steps

    @property
    def window(self) -> int:
        """Questions that are loaded together, by all processes."""
        return self.per_device_train_batch_size * self.world_size * self.sampled_at_once

    @property
    def frames(self) -> dict[str, Any]:
        """Which frames of a clip are shown, in ``PromptLoader``'s terms."""
        return {"fps": self.fps, "max_frames": self.max_frames, "max_pixels": self.max_pixels}

    @property
    def at_bad_clip(self) -> Literal["raise", "blank"]:
        """What a training clip that cannot be read does, in ``PromptLoader``'s terms."""
        return "blank" if self.on_error == "skip" else "raise"

    @property
    def checkpoint(self) -> str | None:
        """Where to go on; ``last`` is the newest whole checkpoint of the output folder."""
        return find_checkpoint(
            self.resume_from_checkpoint, str(self.output_dir), world_size=self.world_size
        )

    def check(self, num_questions: int) -> None:
        """Refuse at once what training would refuse after the base has answered everything.

        Args:
            num_questions: To train on.

        Raises:
            AnnotationError: If there are fewer than one step takes.
            CheckpointError: If the run cannot go on from where it is told to, or its folder is
                not one, or holds a finished run.
        """
        folder = Path(str(self.output_dir))
        if folder.is_file():
            raise CheckpointError(f"expected a folder as output_dir, {folder} is a file")
        if (folder / "result.json").exists() and not self.resume_from_checkpoint:
            raise CheckpointError(
                f"{folder} holds a finished run: give another --output_dir, or add "
                "--resume_from_checkpoint last to go on with it"
            )
        check_window(num_questions, self.window)
        _ = self.checkpoint


@dataclass
class VideoSFTConfig(VideoConfig):
    """Options of :class:`vcr1_lib.training.sft.VideoSFTTrainer`.

    Args:
        thought: What stands between the thought's tags of every right answer: truth tells no
            thoughts, and the format asks for one.
    """

    thought: str = "I look for it."


@dataclass
class VideoGRPOConfig(VLLMOptions, VideoConfig):
    """Options of :class:`VideoGRPOTrainer`; the others are ``VideoConfig``'s.

    Those of vLLM are in :class:`vcr1_lib.groups.vllm_server.VLLMOptions`.

    Defaults are those of VideoChat-R1's training scripts (arXiv 2504.06958 and its code)
    where they state one, except ``beta``: 0 as in TRL, 0.04 in those scripts.

    Args:
        num_generations: Answers per group, G.
        temperature: Of sampling; the answers are scored under the same distribution.
        beta: Weight of the KL term; the reference policy is the model without its adapters,
            or a frozen copy.
        epsilon: Lower clip range.
        epsilon_high: Upper clip range, ``None`` for ``epsilon``.
        loss_type: ``"grpo"``, ``"bnpo"``, ``"dr_grpo"``, ``"dapo"`` or ``"cispo"``; see
            :func:`vcr1_lib.grpo.grpo_loss`.
        importance_sampling_level: ``"token"``, or ``"sequence"`` for GSPO's one ratio per answer.
        kl_estimator: ``"k1"``, ``"k2"`` or ``"k3"``.
        scale_rewards: ``"group"``, ``"batch"`` or ``"none"``.
        num_iterations: Updates that each sampled answer takes part in. Above 1 the policy
            moves away from the one that sampled, and the clip acts.
        steps_per_generation: Micro-batches sampled at once; ``None`` for
            ``gradient_accumulation_steps``, of which it must be a multiple.
        mask_truncated_completions: Leave answers that hit ``max_completion_length`` out of
            the loss.
        reward_weights: One a reward function, ``None`` for all 1.
        log_completions: Write every sampled answer with its rewards to
            ``completions.jsonl`` in the output folder.
        preflight: Check before the first step that the model looks at its video and that the
            rewards pay the truth; see :mod:`vcr1_lib.training.preflight`.
    """

    num_generations: int = 8
    temperature: float = 1.0
    beta: float = 0.0
    epsilon: float = 0.2
    epsilon_high: float | None = None
    loss_type: LossType = "grpo"
    importance_sampling_level: RatioLevel = "token"
    kl_estimator: KLEstimator = "k3"
    scale_rewards: ScaleRewards = "group"
    num_iterations: int = 1
    steps_per_generation: int | None = None
    mask_truncated_completions: bool = False
    reward_weights: list[float] | None = None
    log_completions: bool = False
    preflight: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        sharded = parse_flag_from_env("ACCELERATE_USE_FSDP") or is_deepspeed_zero3_enabled()
        if self.use_vllm and (sharded or self.fsdp):
            raise ValueError(
                "use_vllm needs the whole model in every process: no FSDP, no ZeRO-3; launch by "
                "configs/accelerate/ddp.yaml"
            )
        if self.num_generations < 2:
            raise ValueError(
                f"expected num_generations >= 2, got {self.num_generations}: "
                "an answer is compared with the others of its group"
            )
        if self.num_iterations < 1:
            raise ValueError(f"expected num_iterations >= 1, got {self.num_iterations}")
        if self.sampled_at_once % self.gradient_accumulation_steps:
            raise ValueError(
                f"expected steps_per_generation to be a multiple of gradient_accumulation_steps "
                f"({self.gradient_accumulation_steps}), got {self.steps_per_generation}"
            )
        if self.temperature <= 0:
            raise ValueError(
                f"expected temperature > 0, got {self.temperature}: "
                "greedy answers are all the same, so a group would have nothing to compare"
            )

    @property
    def sampled_at_once(self) -> int:
        """Micro-batches whose answers come from the same policy."""
        return self.steps_per_generation or self.gradient_accumulation_steps

    @property
    def on_policy(self) -> bool:
        """Whether every answer is used for one update only, by the policy that gave it."""
        return self.num_iterations == 1 and self.sampled_at_once == self.gradient_accumulation_steps


def rare_options() -> set[str]:
    """Return the options of ``TrainingArguments`` that no profile sets and few want."""
    set_by_profiles = {name for profile in PROFILES.values() for name in profile}
    return {f.name for f in fields(TrainingArguments)} - set_by_profiles - COMMON


def read_options(
    own: type[Any],
    argv: Sequence[str],
    *,
    config: type[VideoConfig] = VideoGRPOConfig,
    description: str | None = None,
) -> tuple[Any, ModelOptions, Any]:
    """Read a training script's command line: its own options, the model's and the run's.

    Options may stand in a file, ``--config FILE``; the profile named by ``--profile`` fills in
    what is not given; without ``--output_dir`` the run gets a folder of its own under ``runs/``.
    Unknown options, impossible values and a profile for a GPU that is not there end the program
    with one sentence.

    Args:
        own: The script's dataclass; it has a field ``profile``.
        argv: The command line, without the program.
        config: The run's options.
        description: For ``--help``.
    """
    parser = options_parser([own, ModelOptions, config], description=description)
    argv = shorten_help(parser, with_config(parser, argv), rare_options())
    name = parser.parse_known_args(argv)[0].profile
    if name not in PROFILES:
        parser.error(f"unknown profile {name!r}; there is {', '.join(PROFILES)}")
    names = {action.dest for action in parser._actions}
    parser.set_defaults(**{key: PROFILES[name][key] for key in names & PROFILES[name].keys()})
    parser.set_defaults(output_dir=None)
    given, unknown = parser.parse_known_args(argv)
    refuse_unknown(parser, unknown)
    if not (given.use_cpu or torch.cuda.is_available()):
        parser.error(
            f"profile {name!r} is for a CUDA GPU and torch sees none here: run it on one, or "
            "take --profile cpu"
        )
    if given.load_in_4bit and not given.use_peft:
        parser.error("four-bit weights cannot be trained themselves: add --use_peft")
    try:
        what, model, run = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    except ValueError as error:
        parser.error(str(error))
    if given.output_dir is None:
        if run.world_size > 1:
            parser.error("several processes need one folder to agree on: give --output_dir")
        taken = len(list(Path("runs").glob(f"{name}-seed{run.seed}-*")))
        run.output_dir = f"runs/{name}-seed{run.seed}-{taken + 1}"
    return what, model, run
