"""Run a model over a dataset and score what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from vcr1_lib.answers import parse_span
from vcr1_lib.groups import encode_prompts
from vcr1_lib.metrics import bootstrap_interval, grounding_scores, span_ious
from vcr1_lib.models import PromptLoader, banned_tokens, collate_prompts, family_of
from vcr1_lib.rollout import GREEDY, sample_groups


class Predictions(NamedTuple):
    """A model's answers to temporal-grounding records.

    Attributes:
        texts: ``N`` completions.
        spans: ``(N, 2)`` seconds, NaN where the answer could not be read.
        ious: ``(N,)``, 0 where it could not be read.
    """

    texts: list[str]
    spans: NDArray[np.float64]
    ious: NDArray[np.float64]

    def scores(self, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return mIoU and R1@m, the interval of mIoU over clips, and the unreadable share."""
        interval = bootstrap_interval(self.ious, clusters=[r["video"] for r in records])
        return grounding_scores(self.ious) | {
            "mIoU_interval": [interval.low, interval.high],
            "unparsed": float(np.isnan(self.spans).any(-1).mean()),
            "num_queries": len(self.ious),
        }


def answer_greedily(
    model: nn.Module,
    loader: PromptLoader,
    records: Sequence[dict[str, Any]],
    *,
    max_completion_length: int,
    batch_size: int = 16,
    progress: str | None = None,
) -> list[str]:
    """Return the model's most likely answer to each record's question.

    Args:
        model: Any model of a known family.
        loader: Turns records into prompts.
        records: See :mod:`vcr1_lib.datasets`.
        max_completion_length: In tokens.
        batch_size: Prompts decoded together.
        progress: Label of a progress bar; ``None`` shows none.
    """
    tokenizer = loader.processor.tokenizer
    device = next(model.parameters()).device
    family, banned = family_of(model), banned_tokens(model, loader.processor).to(device)
    was_training = model.training
    model.eval()
    texts: list[str] = []
    batches = range(0, len(records), batch_size)
    for first in tqdm(batches, desc=progress, disable=progress is None):
        rows = loader(records[first : first + batch_size])["prompts"]
        batch = collate_prompts(rows, family, tokenizer.pad_token_id)
        with torch.no_grad():
            prompts = encode_prompts(model, {k: v.to(device) for k, v in batch.items()})
        answers = sample_groups(
            model,
            prompts,
            noise=torch.zeros(len(rows), 1, max_completion_length),
            eos_token_id=tokenizer.eos_token_id,
            temperature=GREEDY,
            banned=banned,
        )
        texts += tokenizer.batch_decode(answers.tokens[:, 0], skip_special_tokens=True)
    model.train(was_training)
    return texts


def read_predictions(texts: Sequence[str], records: Sequence[dict[str, Any]]) -> Predictions:
    """Read spans out of completions and compare them with the truth."""
    spans = np.full((len(texts), 2), np.nan)
    for i, (text, record) in enumerate(zip(texts, records, strict=True)):
        parsed = parse_span(text, duration_seconds=record["duration"])
        if parsed.value is not None:
            spans[i] = parsed.value
    truth = np.array([record["span"] for record in records], dtype=np.float64)
    return Predictions(list(texts), spans, span_ious(spans, truth))
