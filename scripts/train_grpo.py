"""Train a video language model with GRPO on temporal grounding; ``make run`` starts it.

``--help`` lists the options, ``--help_all`` those of ``TrainingArguments`` as well:
    python scripts/train_grpo.py --annotations own.jsonl --videos FOLDER
    python scripts/train_grpo.py --profile gpu24 --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct
"""

import sys
from dataclasses import asdict, dataclass

import vcr1_lib  # isort: skip  # noqa: F401  (first: it quiets a warning)
from transformers import set_seed
from transformers.utils import logging

from vcr1_lib.datasets import AnnotationError, read_moments_and_split, read_usable, take
from vcr1_lib.evaluation import answer_greedily, read_predictions
from vcr1_lib.evaluation.report import compare_runs, render_examples, render_table, write_result
from vcr1_lib.metrics.scoring import many
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import ModelError, load_model
from vcr1_lib.models.sharding import each_a_share, leave_processes
from vcr1_lib.options import option
from vcr1_lib.plots import write_run_plots
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import read_options
from vcr1_lib.video import VideoError

SAMPLES = "data_samples/charades_sta"


@dataclass
class ScriptArguments:
    """What to train on what; one file of annotations has some of its clips held out."""

    annotations: str = option("", "your file of questions, in place of the four below")
    dataset: str = option("", "its format, of vcr1_lib.datasets.FORMATS; the ending tells")
    heldout: float = option(0.2, "share of its clips that is never trained on")
    train_annotations: str = option(f"{SAMPLES}/toyworld_sta_train.txt", "to train on")
    train_lengths: str = option(f"{SAMPLES}/toyworld_v1_train.csv", "their clips' lengths")
    eval_annotations: str = option(f"{SAMPLES}/toyworld_sta_heldout.txt", "to measure on")
    eval_lengths: str = option(f"{SAMPLES}/toyworld_v1_heldout.csv", "their clips' lengths")
    videos: str = option(f"{SAMPLES}/videos", "folder of the clips")
    scan: str = option("", "a report of vcr1_lib.video.prescan: only files it could read are used")
    profile: str = option("cpu", "fills in what is not given: cpu, t4, gpu24, gpu80 or multi")


def load(what, options, config):
    """Read and check everything before anything is written."""
    how = {"scan": what.scan, "on_error": config.on_error}
    if what.annotations:
        how |= {"dataset": what.dataset, "heldout": what.heldout}
        train, heldout = read_moments_and_split(what.annotations, what.videos, **how)
    else:
        how |= {"videos": what.videos}
        train = read_usable(what.train_annotations, lengths=what.train_lengths, **how)
        heldout = read_usable(what.eval_annotations, lengths=what.eval_lengths, **how)
    config.check(len(train))
    how = asdict(options) | {"device": config.device, "train_vision": config.train_vision}
    return *load_model(**how), train, heldout


def predict(model, processor, records, config, *, progress, on_error="raise"):
    """Greedy answers, scored; several processes share the work."""
    loader = PromptLoader(processor, **config.frames, on_error=on_error)
    options = {"max_completion_length": config.max_completion_length}
    options["progress"] = None if config.disable_tqdm or config.process_index else progress
    texts = each_a_share(lambda rows: answer_greedily(model, loader, rows, **options), records)
    return read_predictions(texts, records)


def train_policy(model, processor, train, heldout, config):
    """GRPO on format and IoU: one group of answers for each question of a step."""
    rewards = [format_reward, temporal_iou_reward]
    trainer = VideoGRPOTrainer(model, rewards, config, train, heldout, processor)
    trainer.train(resume_from_checkpoint=config.checkpoint)
    return trainer


def run(argv):
    """Before, training, after, verdict."""
    what, options, config = read_options(ScriptArguments, argv, description=__doc__)
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of saving and loading; the run's own bar stays
    set_seed(config.seed)
    model, processor, train, heldout = load(what, options, config)
    seen = take(train, 200)
    skip = {"on_error": config.at_bad_clip}
    base_seen = predict(model, processor, seen, config, progress="base, training clips", **skip)
    base = predict(model, processor, heldout, config, progress="base, held-out clips")
    if not config.process_index:
        asked = many(len(train), "training question")
        print(f"{asked}, {len(heldout)} held out; {config.output_dir}")
    trainer = train_policy(model, processor, train, heldout, config)
    if trainer.state.global_step < trainer.state.max_steps:
        return 130  # interrupted; the trainer has said how to go on
    tuned = predict(trainer.model, processor, heldout, config, progress="tuned, held-out clips")
    trainer.save_model(f"{config.output_dir}/model")
    if config.process_index:
        return 0
    result = compare_runs(base, tuned, heldout, train_before=base_seen, train_records=seen)
    write_result(config.output_dir, result, config=vars(what) | vars(options) | config.to_dict())
    page = write_run_plots(config.output_dir, title=result["verdict"])
    print(f"\n{render_examples(heldout, base, tuned)}\n\n{render_table(result)}\n")
    print(f"{result['verdict']}\nReward curve, for a browser: {page} (notebook 04 reads it)")
    return 0


def main():
    """Bad input is one sentence, not a traceback."""
    try:
        sys.exit(run(sys.argv[1:]))
    except (KeyboardInterrupt, OSError, AnnotationError, ModelError, VideoError) as error:
        sys.exit(f"error: {str(error) or 'stopped, and nothing new is saved'}")
    finally:
        leave_processes()


if __name__ == "__main__":
    main()
