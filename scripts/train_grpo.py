"""Train a video language model with GRPO on temporal grounding; ``make run`` starts it.

Every option of ``VideoGRPOConfig``, and so of ``transformers.TrainingArguments``, can be given:
    python scripts/train_grpo.py --max_steps 60 --seed 1
A profile makes it a real model on a GPU, and ``ModelOptions`` choose another one:
    python scripts/train_grpo.py --profile t4
    python scripts/train_grpo.py --profile gpu24 --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct
"""

import sys
from dataclasses import asdict, dataclass

import vcr1_lib  # isort: skip  # noqa: F401  (first: it quiets a warning)
from transformers import set_seed
from transformers.utils import logging

from vcr1_lib.callbacks import resume_hint
from vcr1_lib.config import read_options
from vcr1_lib.datasets import AnnotationError, read_charades_sta
from vcr1_lib.evaluation import answer_greedily, read_predictions
from vcr1_lib.loading import ModelError, load_model
from vcr1_lib.models import PromptLoader
from vcr1_lib.plots import write_run_plots
from vcr1_lib.report import compare_runs, render_examples, render_table, write_result
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.video import VideoError


@dataclass
class ScriptArguments:
    """What to train on what."""

    train_annotations: str = "data_samples/charades_sta/toyworld_sta_train.txt"
    train_lengths: str = "data_samples/charades_sta/toyworld_v1_train.csv"
    eval_annotations: str = "data_samples/charades_sta/toyworld_sta_heldout.txt"
    eval_lengths: str = "data_samples/charades_sta/toyworld_v1_heldout.csv"
    videos: str = "data_samples/charades_sta/videos"
    profile: str = "cpu"


def read_arguments(argv):
    """The profile's settings, and whatever is given on top of them."""
    return read_options(ScriptArguments, argv, description=__doc__)


def load(what, options, config):
    """Read and check everything before anything is written."""
    train = read_charades_sta(what.train_annotations, what.train_lengths, what.videos)
    heldout = read_charades_sta(what.eval_annotations, what.eval_lengths, what.videos)
    model, processor = load_model(
        **asdict(options), device=config.device, train_vision=config.train_vision
    )
    return model, processor, train, heldout


def predict(model, processor, records, config, *, progress):
    """Greedy answers, scored."""
    loader = PromptLoader(processor, **config.frames)
    limit, bar = config.max_completion_length, None if config.disable_tqdm else progress
    texts = answer_greedily(model, loader, records, max_completion_length=limit, progress=bar)
    return read_predictions(texts, records)


def train_policy(model, processor, train, heldout, config):
    """GRPO on format and IoU: one group of answers for each question of a step."""
    trainer = VideoGRPOTrainer(
        model=model,
        reward_funcs=[format_reward, temporal_iou_reward],
        args=config,
        train_dataset=train,
        eval_dataset=heldout,
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    return trainer


def run(argv):
    """Before, training, after, verdict."""
    what, options, config = read_arguments(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of saving and loading; the run's own bar stays
    set_seed(config.seed)
    model, processor, train, heldout = load(what, options, config)
    base_train = predict(model, processor, train, config, progress="base, training clips")
    base = predict(model, processor, heldout, config, progress="base, held-out clips")
    print(f"{len(train)} training questions, {len(heldout)} held out; writing {config.output_dir}")
    trainer = train_policy(model, processor, train, heldout, config)
    if (step := trainer.state.global_step) < trainer.state.max_steps:
        print(resume_hint(config.output_dir, step))
        return 130
    tuned = predict(trainer.model, processor, heldout, config, progress="tuned, held-out clips")
    result = compare_runs(base, tuned, heldout, train_before=base_train, train_records=train)
    trainer.save_model(f"{config.output_dir}/model")
    settings = asdict(what) | asdict(options) | config.to_dict()
    write_result(config.output_dir, result, config=settings)
    page = write_run_plots(config.output_dir, title=options.model_name_or_path)
    print(f"\n{render_examples(heldout, base, tuned)}\n\n{render_table(result)}\n")
    print(f"{result['verdict']}\nReward curve: {page}")
    return 0


def main():
    """Bad input is one sentence, not a traceback."""
    try:
        sys.exit(run(sys.argv[1:]))
    except (FileNotFoundError, AnnotationError, ModelError, VideoError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
