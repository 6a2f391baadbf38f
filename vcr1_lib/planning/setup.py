"""The options that decide a run's memory and time, read from a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, NamedTuple

from vcr1_lib.models.loading import ModelOptions
from vcr1_lib.training.config import VideoGRPOConfig

# "auto" is the checkpoint's own, and those published are in bfloat16.
DTYPE_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
STRATEGIES: Final = ("ddp", "zero2", "zero3", "fsdp", "fsdp2")


class Setup(NamedTuple):
    """The options that decide memory and time, from :func:`read_setup`.

    The first are those of :class:`ModelOptions` and :class:`VideoGRPOConfig`, which hold their
    defaults; the others are known before the run only.

    Attributes:
        height: Of the clips, in pixels.
        width: Of the clips, in pixels.
        num_gpus: Of the launcher.
        strategy: How they share the model: ``"ddp"``, ``"zero2"``, ``"zero3"`` or ``"fsdp2"``;
            ``"fsdp"`` is the same.
    """

    model_name_or_path: str
    dtype: str
    load_in_4bit: bool
    use_bnb_nested_quant: bool
    use_peft: bool
    lora_r: int
    lora_target_modules: tuple[str, ...] | None
    bf16: bool
    fp16: bool
    optim: str
    gradient_checkpointing: bool
    gradient_accumulation_steps: int
    per_device_train_batch_size: int
    num_generations: int
    max_completion_length: int
    max_frames: int
    max_pixels: int | None
    beta: float
    shared_prefix: bool
    train_vision: bool
    num_train_epochs: float
    max_steps: int
    height: int = 360
    width: int = 640
    num_gpus: int = 1
    strategy: str = "ddp"

    @property
    def compute_bytes(self) -> int:
        """Size of a number in matrix products and activations."""
        return 2 if self.bf16 or self.fp16 else DTYPE_BYTES[self.dtype]

    @property
    def shards(self) -> int:
        """Ranks that divide the weights among them."""
        return self.num_gpus if self.strategy in ("zero3", "fsdp", "fsdp2") else 1


def read_setup(options: Mapping[str, Any]) -> Setup:
    """Pick what the planner needs out of a profile; the rest are a run's own defaults.

    Args:
        options: Option -> value, such as ``PROFILES["t4"]``.

    Raises:
        ValueError: If a value cannot be planned with.

    >>> read_setup({"num_generations": 4}).num_generations
    4
    """
    known = {
        f.name: f.default
        for kind in (ModelOptions, VideoGRPOConfig)
        for f in fields(kind)
        if f.name in Setup._fields and f.default is not MISSING
    }
    known |= {key: value for key, value in options.items() if key in Setup._fields}
    targets = known.get("lora_target_modules")
    known["lora_target_modules"] = tuple(targets) if targets else None
    setup = Setup(**known)
    counts = (
        "num_generations", "max_completion_length", "max_frames", "per_device_train_batch_size",
        "gradient_accumulation_steps", "height", "width", "num_gpus", "lora_r",
    )  # fmt: skip
    for name in counts:
        if getattr(setup, name) < 1:
            raise ValueError(f"expected {name} >= 1, got {getattr(setup, name)}")
    for name, choices in (("dtype", tuple(DTYPE_BYTES)), ("strategy", STRATEGIES)):
        if getattr(setup, name) not in choices:
            raise ValueError(f"expected {name} in {choices}, got {getattr(setup, name)!r}")
    if setup.load_in_4bit and not setup.use_peft:
        raise ValueError("load_in_4bit needs use_peft: NF4 weights cannot be trained themselves")
    return setup
