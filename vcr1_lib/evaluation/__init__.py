"""Run a model over a dataset and score what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from vcr1_lib.groups import encode_prompts
from vcr1_lib.inference.asker import answer_prompts
from vcr1_lib.metrics import bootstrap_interval, grounding_scores, span_ious
from vcr1_lib.metrics.predictions import PredictionError, append_predictions, read_prediction_log
from vcr1_lib.metrics.scoring import read_answer
from vcr1_lib.models import PromptLoader, collate_prompts, family_of
from vcr1_lib.video import VideoError


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
    family = family_of(model)
    was_training = model.training
    model.eval()
    texts: list[str] = []
    batches = range(0, len(records), batch_size)
    for first in tqdm(batches, desc=progress, disable=progress is None):
        rows = loader(records[first : first + batch_size])["prompts"]
        batch = collate_prompts(rows, family, tokenizer.pad_token_id)
        with torch.no_grad():
            prompts = encode_prompts(model, {k: v.to(device) for k, v in batch.items()})
        answers = answer_prompts(
            model, loader.processor, prompts, max_completion_length=max_completion_length
        )
        texts += tokenizer.batch_decode(answers.tokens[:, 0], skip_special_tokens=True)
    model.train(was_training)
    return texts


def read_predictions(texts: Sequence[str], records: Sequence[dict[str, Any]]) -> Predictions:
    """Read spans out of completions and compare them with the truth."""
    spans = np.full((len(texts), 2), np.nan)
    for i, (text, record) in enumerate(zip(texts, records, strict=True)):
        span = read_answer(text, {"task": "temporal_grounding", **record}).value
        if span is not None:
            spans[i] = span
    truth = np.array([record["span"] for record in records], dtype=np.float64)
    return Predictions(list(texts), spans, span_ious(spans, truth))


def evaluate(
    model: nn.Module,
    loader: PromptLoader,
    records: Sequence[dict[str, Any]],
    log: str | Path,
    *,
    run: Mapping[str, Any],
    max_completion_length: int,
    batch_size: int = 16,
    progress: str | None = None,
) -> list[str | None]:
    """Answer records into a file, a batch at a time; started again, go on where it stopped.

    Batches are always the same records, so an interrupted evaluation ends in the same file as
    one that was not.

    Args:
        model: Any model of a known family.
        loader: Turns records into prompts.
        records: See :mod:`vcr1_lib.datasets`; their ids must differ.
        log: The file, one answer a line; made if it does not exist.
        run: What the answers depend on, such as the model's name and the frame rate; written
            first and compared on a restart. Plain data.
        max_completion_length: In tokens.
        batch_size: Prompts decoded together.
        progress: Label of a progress bar; ``None`` shows none.

    Returns:
        A completion for each record, ``None`` where the video could not be read.

    Raises:
        PredictionError: If the file holds answers of another run, or a row that does not fit.
        ValueError: If two records share an id.
    """
    path = Path(log)
    names = [record["id"] for record in records]
    if len(set(names)) != len(names):
        raise ValueError(f"expected records with different ids, got {len(set(names))} of them")
    done = _resume(path, records, {**run, "num_records": len(records)})
    for first in tqdm(range(0, len(records), batch_size), desc=progress, disable=progress is None):
        batch = records[first : first + batch_size]
        if all(record["id"] in done for record in batch):
            continue
        rows = _answer_batch(model, loader, batch, max_completion_length=max_completion_length)
        append_predictions(path, [row for row in rows if row["id"] not in done])
        done |= {row["id"]: row for row in rows if row["id"] not in done}
    return [done[name]["completion"] for name in names]


def _resume(
    path: Path, records: Sequence[dict[str, Any]], run: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Read what an earlier start wrote; start the file if there is none."""
    run = json.loads(json.dumps(run))
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # a killed process may leave half a line
    if not whole:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"run": run}) + "\n", encoding="utf-8")
        return {}
    done = read_prediction_log(path, records, partial=True)
    header = json.loads(whole.splitlines()[0])
    before = header.get("run", {})
    changed = sorted(k for k in {*before, *run} if before.get(k) != run.get(k))
    if changed:
        found = {key: before.get(key) for key in changed}
        raise PredictionError(
            f"{path} holds another run's answers: {found} there, "
            f"{ {key: run.get(key) for key in changed} } now; choose another folder or delete it"
        )
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return done


def _answer_batch(
    model: nn.Module, loader: PromptLoader, batch: Sequence[dict[str, Any]], **options: Any
) -> list[dict[str, Any]]:
    """Answer what can be decoded; a video that cannot is a row with its error."""
    errors: dict[str, str] = {}
    for record in batch:
        try:
            loader([record])  # kept ready for the batch
        except (VideoError, FileNotFoundError) as error:
            errors[record["id"]] = str(error)
    good = [record for record in batch if record["id"] not in errors]
    texts = answer_greedily(model, loader, good, batch_size=len(batch), **options)
    said = dict(zip([record["id"] for record in good], texts, strict=True))
    return [
        {"id": name, "completion": said[name]}
        if name in said
        else {"id": name, "completion": None, "error": errors[name]}
        for name in (record["id"] for record in batch)
    ]
