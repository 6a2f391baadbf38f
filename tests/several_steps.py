"""Steps of the shipped model, for ``torchrun``: ``several_steps.py VIDEOS [--option value ...]``.

``VIDEOS`` is a folder of the first clips' copies, of which a test may have spoilt some.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import HfArgumentParser

from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.models.loading import load_model
from vcr1_lib.models.sharding import leave_processes
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import VideoGRPOConfig

SAMPLES = Path(__file__).parent.parent / "data_samples"
OPTIONS = ["--use_cpu", "true", "--disable_tqdm", "true", "--save_strategy", "no", "--fps", "1"]
OPTIONS += ["--max_frames", "24", "--num_generations", "2", "--max_completion_length", "24"]
OPTIONS += ["--ddp_timeout", "120", "--log_completions", "true"]


def main() -> None:
    clips = SAMPLES / "charades_sta"
    records = read_charades_sta(
        clips / "toyworld_sta_train.txt", clips / "toyworld_v1_train.csv", sys.argv[1]
    )
    (config,) = HfArgumentParser(VideoGRPOConfig).parse_args_into_dataclasses(
        [*OPTIONS, *sys.argv[2:]]
    )
    known = [record for record in records if Path(record["video"]).exists()]
    model, processor = load_model(SAMPLES / "tiny_model")
    rewards = [format_reward, temporal_iou_reward]
    try:
        VideoGRPOTrainer(model, rewards, config, known, None, processor).train()
    except (OSError, ValueError) as error:
        sys.exit(f"error of process {config.process_index}: {error}")
    finally:
        leave_processes()


if __name__ == "__main__":
    main()
