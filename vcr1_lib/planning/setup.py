"""The options that decide a run's memory and time, read from a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, NamedTuple

from vcr1_lib.training.config import VideoGRPOConfig

DTYPE_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
STRATEGIES: Final = ("ddp", "zero2", "zero3", "fsdp")


class Setup(NamedTuple):
    """The options that decide memory and time, named as in a profile.

    ``height`` and ``width`` are the clips' in pixels; ``num_gpus`` and ``strategy``, one of
    ``"ddp"``, ``"zero2"``, ``"zero3"`` and ``"fsdp"``, are of the launcher.
    """

    model_name_or_path: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    dtype: str = "float32"
    load_in_4bit: bool = False
    use_bnb_nested_quant: bool = False
    use_peft: bool = False
    lora_r: int = 16
    lora_target_modules: tuple[str, ...] | None = None
    bf16: bool = False
    fp16: bool = False
    optim: str = "adamw_torch_fused"
    gradient_checkpointing: bool = False
    gradient_accumulation_steps: int = 1
    per_device_train_batch_size: int = 1
    num_generations: int = 8
    max_completion_length: int = 1024
    max_frames: int = 768
    beta: float = 0.0
    shared_prefix: bool = True
    train_vision: bool = False
    num_train_epochs: float = 1.0
    height: int = 360
    width: int = 640
    max_pixels: int | None = None
    num_gpus: int = 1
    strategy: str = "ddp"

    @property
    def compute_bytes(self) -> int:
        """Size of a number in matrix products and activations."""
        return 2 if self.bf16 or self.fp16 else DTYPE_BYTES[self.dtype]

    @property
    def shards(self) -> int:
        """Ranks that divide the weights among them."""
        return self.num_gpus if self.strategy in ("zero3", "fsdp") else 1


def read_setup(options: Mapping[str, Any]) -> Setup:
    """Pick what the planner needs out of a profile; the rest are the trainer's defaults.

    Args:
        options: Option -> value, such as ``PROFILES["t4"]``.

    Raises:
        ValueError: If a value cannot be planned with.

    >>> read_setup({"num_generations": 4}).num_generations
    4
    """
    known = {
        f.name: f.default
        for f in fields(VideoGRPOConfig)
        if f.name in Setup._fields and f.default not in (MISSING, None)
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
