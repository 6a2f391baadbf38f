"""Profiles: one code path from a laptop up, only these numbers change."""

from __future__ import annotations

from typing import Any

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
}
