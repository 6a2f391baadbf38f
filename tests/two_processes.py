"""One training step of the shipped model, for ``torchrun``: writes the weights it ends with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file
from tiny import FAMILIES
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import set_seed

from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.models import base_model
from vcr1_lib.models.loading import load_model
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import VideoGRPOConfig

SAMPLES = Path(__file__).parent.parent / "data_samples"
GROUPS = 2
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}

FOUR_BITS = {"load_in_4bit": True, "use_peft": True, "bnb_4bit_quant_storage": "float32"}


def flat_on_the_first_rows(completions: list[str], id: list[str], **columns: object) -> list[float]:
    """Give the odd question equal rewards: of two processes, one has nothing to learn."""
    ious = temporal_iou_reward(completions, **columns)
    odd = [int(name.split(":")[1][1:]) % 2 for name in id]
    return [0.5 if flat else iou for flat, iou in zip(odd, ious, strict=True)]


def length_reward(completions: list[str], **columns: object) -> list[float]:
    """Tell apart what a random model says."""
    return [float(len(text)) for text in completions]


def zero_options(engine: str) -> dict[str, Any]:
    """Return the options that let DeepSpeed shard, if that is the engine."""
    if not engine.startswith("zero"):
        return {}
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}
    auto = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    stage = {"stage": int(engine[-1])}
    untested = {"zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}
    untested |= {"gradient_clipping": 0.0}
    return {"deepspeed": {"zero_optimization": stage} | untested | dict.fromkeys(auto, "auto")}


def shard_on_cpu() -> None:
    """Let accelerate shard by FSDP2 as it would on GPUs; it refuses to on a CPU, torch does not."""
    os.environ |= FSDP2 | os.environ  # a launcher's own word comes first
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def whole(weight: torch.Tensor) -> torch.Tensor:
    """Gather a sharded weight."""
    if hasattr(weight, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([weight]):
            return weight.detach().clone()
    return weight.full_tensor() if isinstance(weight, DTensor) else weight.detach().clone()


REWARDS: dict[str, list[Any]] = {
    "all": [format_reward, temporal_iou_reward],
    "flat": [flat_on_the_first_rows],
    "length": [length_reward],
}


def main() -> None:
    folder, loss_type, rewards, engine = Path(sys.argv[1]), *sys.argv[2:5]
    family = sys.argv[5] if len(sys.argv) > 5 else None
    clips = SAMPLES / "charades_sta"
    records = read_charades_sta(
        clips / "toyworld_sta_train.txt", clips / "toyworld_v1_train.csv", clips / "videos"
    )
    set_seed(0)  # of new adapters
    options = FOUR_BITS if "nf4" in engine else {}
    model, processor = (
        FAMILIES[family]() if family else load_model(SAMPLES / "tiny_model", **options)
    )
    config = VideoGRPOConfig(
        output_dir=str(folder), max_steps=1, num_generations=4, max_completion_length=24,
        fps=1, max_frames=24, optim="sgd", learning_rate=1.0, max_grad_norm=0.0, warmup_steps=0,
        lr_scheduler_type="constant", loss_type=loss_type, use_cpu=True, disable_tqdm=True,
        save_strategy="no", ddp_timeout=120, preflight=family is None,
        per_device_train_batch_size=GROUPS // int(os.environ["WORLD_SIZE"]), **zero_options(engine),
    )  # fmt: skip
    if "fsdp2" in engine:
        shard_on_cpu()
    trainer = VideoGRPOTrainer(model, REWARDS[rewards], config, records[:GROUPS], None, processor)
    assert bool(trainer.is_fsdp_enabled) == ("fsdp2" in engine)
    assert bool(trainer.is_deepspeed_enabled) == engine.startswith("zero")
    trainer.train()
    inner = trainer.accelerator.unwrap_model(trainer.model)
    layers = base_model(inner).get_decoder().layers
    assert all(isinstance(layer, FSDPModule) == ("fsdp2" in engine) for layer in layers)
    four_bits = [p for name, p in inner.named_parameters() if "base_layer.weight" in name]
    assert all(isinstance(p, DTensor) == ("fsdp2" in engine) for p in four_bits)
    assert bool(four_bits) == ("nf4" in engine)
    weights = {n: whole(p) for n, p in inner.named_parameters() if p.requires_grad}
    if trainer.is_world_process_zero():
        save_file(weights, folder / f"{config.world_size}.safetensors")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
