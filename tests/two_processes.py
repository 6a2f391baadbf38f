"""One training step of the shipped model, for ``torchrun``: writes the weights it ends with."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from vcr1_lib.config import VideoGRPOConfig
from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.loading import load_model
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import VideoGRPOTrainer

SAMPLES = Path(__file__).parent.parent / "data_samples"
GROUPS = 2


def flat_on_the_first_rows(completions: list[str], id: list[str], **columns: object) -> list[float]:
    """Give the odd question equal rewards: of two processes, one has nothing to learn."""
    ious = temporal_iou_reward(completions, **columns)
    odd = [int(name.split(":")[1][1:]) % 2 for name in id]
    return [0.5 if flat else iou for flat, iou in zip(odd, ious, strict=True)]


def main() -> None:
    folder, loss_type, flat = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "flat"
    clips = SAMPLES / "charades_sta"
    records = read_charades_sta(
        clips / "toyworld_sta_train.txt", clips / "toyworld_v1_train.csv", clips / "videos"
    )
    model, processor = load_model(SAMPLES / "tiny_model")
    config = VideoGRPOConfig(
        output_dir=str(folder), max_steps=1, num_generations=4, max_completion_length=24,
        fps=1, max_frames=24, optim="sgd", learning_rate=1.0, max_grad_norm=0.0, warmup_steps=0,
        lr_scheduler_type="constant", loss_type=loss_type, use_cpu=True, disable_tqdm=True,
        save_strategy="no", ddp_timeout=120,
    )  # fmt: skip
    config.per_device_train_batch_size = GROUPS // config.world_size
    rewards = [flat_on_the_first_rows] if flat else [format_reward, temporal_iou_reward]
    trainer = VideoGRPOTrainer(model, rewards, config, records[:GROUPS], None, processor)
    trainer.train()
    inner = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_world_process_zero():
        weights = {n: p.detach().clone() for n, p in inner.named_parameters() if p.requires_grad}
        save_file(weights, folder / f"{config.world_size}.safetensors")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
