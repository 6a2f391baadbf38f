"""Reinforcement fine-tuning of video language models, in small importable pieces.

A module imports only from modules above it in this list:

``overlap``    the only IoU definitions
``prompts``    one template per task, and the tag names
``answers``    model text -> typed value, or a named reason it is not one
``rewards``    reward functions with TRL's signature
``metrics``    dataset-level scores, trivial baselines, bootstrap intervals
``video``      decode frames; the clip carries its true times
``datasets``   annotation files -> records
``toyworld``   synthetic clips with exact truth
``grpo``       advantages, KL, losses: pure tensor functions
``hardware``   profiles: the numbers that change from a laptop to a cluster
``models``     load a model and its processor by family; records -> model inputs
``groups``     one video, G answers: shared-prefix sampling and scoring
``evaluation`` run a model over a dataset
``report``     before against after: did it learn?
``callbacks``  what a training run shows and writes
``training``   ``VideoGRPOTrainer`` on ``transformers.Trainer``
``plots``      figures

A plain install brings NumPy and serves ``overlap`` to ``metrics``; the rest needs
the ``train`` extra.
"""

__version__ = "0.1.0"
