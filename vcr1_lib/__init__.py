"""Reinforcement fine-tuning of video language models, in small importable pieces.

A package stands for the module it grew from: what most callers need is imported from it
directly, and its parts are listed under it. Each entry imports only entries above it.

``overlap``    the only IoU definitions
``prompts``    one template per task, and the tag names
``answers``    model text -> typed value, or a named reason it is not one
    ``grammar`` what may stand inside a tag
``rewards``    reward functions, and the paper's combinations
    ``gold`` is the truth usable? ``judges`` does a caption tell an event? ``grading`` TRL's
    signature around a scorer of one sample ``shaping`` shaped variants of the IoU reward
    ``cases`` the adversarial table ``bench`` runs it on any reward ``blind_policy`` what GRPO
    makes of a reward without looking ``panel`` asks several rewards about the same answers
``metrics``    dataset-level scores of spans, bootstrap intervals
    ``tasks`` scores of tracks, grounded answers, options, captions ``reference`` mAP, BLEU and
    CIDEr by kept libraries ``baselines`` what can be had without looking ``scoring``
    completions of any task -> scores beside the baselines ``by_task`` a mixed run, task by task
    ``predictions`` files of answers ``official`` the files that other scorers read
``video``      choose frames; the clip carries its true times
    ``decoders`` decord, PyAV, folders ``tokens`` frames into visual tokens and time positions
    ``prescan`` try a folder of videos in processes that can be killed
``datasets``   annotation files -> records, one format a module
    ``labels`` what you say about your own clips ``benchmarks`` questions that have a name
``toyworld``   synthetic clips with exact truth
    ``scenes`` several visits, tracks, damage ``tasks`` questions about them, for every task
``grpo``       advantages, ratio, losses: pure tensor functions
    ``kl`` three estimates ``logprobs`` without the (tokens x vocabulary) matrix
``hardware``   profiles: the numbers that change from a laptop to a cluster
``models``     what differs between model families; records -> model inputs
    ``sharding`` weights in pieces over several processes ``folders`` which one was meant
    ``loading`` by name or folder: precision, four bits, adapters ``processing`` a clip and what
    is said about it -> inputs
    ``shared_attention`` a packed row's prompt attends without a mask
``groups``     one video, G answers: the shared-prefix forward
    ``rollout`` sample G answers a video ``separate_rows`` the plain way, to compare with and to
    fall back on ``policy`` sample and score, by a shared prefix where it is verified
    ``vllm_rollout`` sample by a vLLM server ``vllm_server`` its address and its weights
    ``vllm_pixels`` what it is sent
``plots``      figures of a run
    ``scores`` of an evaluation ``mask_view`` of a packed row ``token_views`` of frames and tokens
    ``looks`` at one video ``answers`` of a step, under the pointer
``inference``  ask a video, look again where the answer points, talk about it
    ``asker`` a model that answers about a clip ``clues`` where to look again
``evaluation`` run a model over a dataset
    ``report`` before against after: did it learn? ``page`` one page about an evaluation
``options``    command lines of scripts
``training``   ``VideoGRPOTrainer`` on ``transformers.Trainer``
    ``sft`` right answers instead of rewards ``video_trainer`` what both share ``config`` the
    options of a run ``callbacks`` what it shows and writes ``windows`` the order of rows
    ``checkpoints`` which one is whole after a crash ``preflight`` checks before a run
``planning``   what a run will need, before it starts
    ``shapes`` models counted without their weights ``setup`` the options that decide
    ``footprint`` memory of a step ``schedule`` hours and cost ``advice`` what to change
``planner``    a run's plan as tables: ``python -m vcr1_lib.planner``
``doctor``     what this machine can do: ``python -m vcr1_lib.doctor``
``widgets``    what a reader drags
    ``drawings`` what they show, as SVG ``labelling`` play your clips and say when things happen
``checks``     try an exercise's answer and name the mistake, one module a notebook

A plain install brings NumPy and serves ``overlap`` to ``metrics``, and ``datasets`` to read
annotations; the rest needs the ``train`` extra.
"""

import logging

__version__ = "0.1.0"

# Transformers imports it, and on some CPUs it warns every time that an optional kernel is not
# installed. Nothing here needs that kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
