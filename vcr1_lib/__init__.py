"""Reinforcement fine-tuning of video language models, in small importable pieces.

A module imports only from modules above it in this list:

``overlap``    the only IoU definitions
``prompts``    one template per task, and the tag names
``grammar``    what may stand inside a tag
``answers``    model text -> typed value, or a named reason it is not one
``gold``       is the truth usable?
``judges``     does a caption tell an event?
``grading``    TRL's signature around a scorer of one sample; reasons on request
``rewards``    reward functions, and the paper's combinations
``shaping``    shaped variants of the temporal IoU reward
``reward_cases`` the adversarial table
``reward_bench`` runs that table on any reward
``blind_policy`` what GRPO makes of a reward without looking
``metrics``    dataset-level scores of spans, bootstrap intervals
``task_metrics`` dataset-level scores of tracks, grounded answers, options, captions
``reference_metrics`` mAP of segments, BLEU and CIDEr, by kept libraries
``baselines``  what can be had without looking
``scoring``    completions of any task -> scores beside the baselines
``clues``      where to look again, from a model's own answer
``predictions`` files of answers: our log, the official formats
``official_files`` answers in the files that other scorers read
``decoders``   readers of pictures and their times: decord, PyAV, folders
``video``      choose frames; the clip carries its true times
``tokens``     frames into visual tokens and time positions: counting
``prescan``    try a folder of videos in processes that can be killed
``datasets``   annotation files -> records
``labels``     the file that keeps what you say about your clips
``benchmarks`` questions that have a name: their files, terms and frame budget
``toyworld``   synthetic clips with exact truth
``toyworld_scenes`` clips with several visits, tracks, damage
``toyworld_tasks`` questions about them, for every task
``kl``         three estimates of the distance from the reference policy
``grpo``       advantages, ratio, losses: pure tensor functions
``logprobs``   log-probabilities without the (tokens x vocabulary) matrix
``hardware``   profiles: the numbers that change from a laptop to a cluster
``shapes``     true shapes of models, counted without their weights
``processing`` a clip and what is said about it -> a model's inputs
``models``     what differs between model families; records -> model inputs
``sharding``   weights in pieces over several processes
``shared_attention`` a packed row's prompt attends without a mask
``loading``    load a model by name or folder: precision, four bits, adapters
``groups``     one video, G answers: the shared-prefix forward
``rollout``    sample G answers a video
``separate_rows`` the plain way, to compare with and to fall back on
``policy``     sample and score groups, by a shared prefix where it is verified
``asker``      a model that answers about a clip
``inference``  ask a video, look again where the answer points, talk about it
``evaluation`` run a model over a dataset
``report``     before against after: did it learn?
``reward_panel`` asks several rewards about the same answers
``callbacks``  what a training run shows and writes
``windows``    the order of training rows
``options``    command lines of scripts
``by_task``    a mixed run, task by task
``checkpoints`` which one is whole after a crash
``config``     the options of a run
``run_setup``  the options that decide memory and time
``footprint``  memory of a step, before it runs
``advice``     what to change so that a run fits
``schedule``   hours, traffic and cost of a run, before it starts
``planner``    a run's plan as tables: ``python -m vcr1_lib.planner``
``doctor``     what this machine can do: ``python -m vcr1_lib.doctor``
``training``   ``VideoGRPOTrainer`` on ``transformers.Trainer``
``plots``      figures
``score_plots`` figures of scores
``eval_page``  one page about an evaluation
``mask_view``  who sees whom in a packed row, as a figure
``token_views`` figures about frames, tokens and positions
``drawings``   what widgets show, as SVG
``labelling``  play your clips and say when things happen
``widgets``    what a reader drags
``checks``     try an exercise's answer and name the mistake

A plain install brings NumPy and serves ``overlap`` to ``predictions``; the rest needs
the ``train`` extra.
"""

import logging

__version__ = "0.1.0"

# Transformers imports it, and on some CPUs it warns every time that an optional kernel is not
# installed. Nothing here needs that kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
