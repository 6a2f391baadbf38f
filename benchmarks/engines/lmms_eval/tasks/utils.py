"""How the local tasks ask and score: with the library's own prompts and parsers."""

from __future__ import annotations

from typing import Any

import numpy as np

from vcr1_lib.answers import parse_span
from vcr1_lib.overlap import interval_iou
from vcr1_lib.prompts import render_question

Doc = dict[str, Any]


def video(doc: Doc) -> list[str]:
    return [doc["video"]]


def ask_when(doc: Doc) -> str:
    return render_question({"task": "temporal_grounding", "query": doc["query"]})


def score_when(doc: Doc, results: list[str]) -> dict[str, float]:
    span = parse_span(f"<answer>{results[0]}</answer>", duration_seconds=doc["duration"]).value
    iou = 0.0 if span is None else interval_iou(span, doc["span"])
    return {"mIoU": iou, "unparsed": float(span is None)}


def ask_choice(doc: Doc) -> str:
    """Ask openly: the embedded model was never taught letters."""
    return doc["question"]


def score_choice(doc: Doc, results: list[str]) -> dict[str, float]:
    """Take the one option that the answer names; none or two is no answer."""
    options = zip("ABCD", doc["options"], strict=True)
    named = [letter for letter, text in options if text in results[0]]
    return {"accuracy": float(named == [doc["answer"]]), "unparsed": float(len(named) != 1)}


def mean(values: list[float]) -> float:
    return float(np.mean(values))
