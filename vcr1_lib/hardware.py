"""Profiles: one code path from a laptop up, only these numbers change.

Option names are those of :class:`vcr1_lib.training.config.VideoGRPOConfig` and of TRL's
``ModelConfig``. What each needs: ``python -m vcr1_lib.planner --profile NAME``.
"""

from __future__ import annotations

from typing import Any

# A frozen model in 4 bit, LoRA on its language layers.
QLORA: dict[str, Any] = {
    "attn_implementation": "sdpa",
    "use_peft": True,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "use_bnb_nested_quant": True,
    "optim": "paged_adamw_8bit",
    "gradient_checkpointing": True,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 5,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "num_generations": 8,
    "save_strategy": "steps",
    "save_steps": 20,
    "save_total_limit": 2,
    "log_completions": True,
}

PROFILES: dict[str, dict[str, Any]] = {
    # The embedded model on two CPU cores.
    "cpu": {
        "learning_rate": 2e-4,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 5,
        "max_steps": 120,
        "per_device_train_batch_size": 16,
        "num_generations": 8,
        "max_completion_length": 48,
        "fps": 1.0,
        "max_frames": 24,
        "eval_strategy": "steps",
        "eval_steps": 20,
        "eval_on_start": True,
        "save_strategy": "steps",
        "save_steps": 40,
        "save_total_limit": 1,
        "use_cpu": True,
        "log_completions": True,
    },
    # A free Colab or Kaggle T4: no bf16, so fp16 with a gradient scaler.
    "t4": QLORA
    | {
        "model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct",
        "dtype": "float16",
        "fp16": True,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 256,
        "fps": 1.0,
        "max_frames": 16,
    },
    # One card of 24 GB: L4, A10G, RTX 3090 or 4090.
    "gpu24": QLORA
    | {
        "model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct",
        "dtype": "bfloat16",
        "bf16": True,
        "gradient_accumulation_steps": 4,
        "max_completion_length": 512,
        "fps": 1.0,
        "max_frames": 16,
    },
    # One card of 80 GB: LoRA on 16-bit weights.
    "gpu80": QLORA
    | {
        "model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct",
        "dtype": "bfloat16",
        "bf16": True,
        "load_in_4bit": False,
        "lora_r": 64,
        "lora_alpha": 128,
        "optim": "adamw_torch_fused",
        "gradient_accumulation_steps": 4,
        "max_completion_length": 1024,
        "fps": 2.0,
        "max_frames": 32,
    },
    # Eight cards of 80 GB under ZeRO-3 or FSDP: VideoChat-R1's recipe (arXiv 2504.06958 and its
    # code). It shrinks pictures to about 3,584 visual tokens per clip; here frames are fewer.
    "multi": {
        "model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct",
        "dtype": "bfloat16",
        "attn_implementation": "sdpa",
        "use_peft": False,
        "bf16": True,
        "gradient_checkpointing": True,
        "train_vision": True,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 1.0,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 1,
        "num_generations": 8,
        "max_completion_length": 1024,
        "beta": 0.04,
        "fps": 2.0,
        "max_frames": 24,
        "save_strategy": "steps",
        "save_steps": 200,
        "save_total_limit": 2,
        "log_completions": True,
    },
}
