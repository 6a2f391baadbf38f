"""Who decides which of the true events a caption tells: a rule, or a language model.

A judge is ``judge(caption, events) -> list[bool]``, one verdict an event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from vcr1_lib.answers import split_events
from vcr1_lib.prompts import JUDGE_TEMPLATE

Judge = Callable[[str, Sequence[str]], Sequence[bool]]

SENTENCES_PER_EVENT: Final = 3
SAME_EVENT_F1: Final = 0.7
_WORDS = re.compile(r"[^\W_]+")
_SMALL: Final = (
    "a an the and or of to in on at with by for from into as is are was were be been being it its "
    "he she his her they them their then there this that while"
)
_SMALL_WORDS: Final = frozenset(_SMALL.split())


def word_judge(caption: str, events: Sequence[str]) -> list[bool]:
    """Match events and sentences one to one by the words they share.

    An event is told if a sentence of its own has ``F1 >= 0.7`` with it over content words.
    F1 makes extra words cost, and one sentence serves one event, so a list of every word
    there is earns nothing. Deterministic and crude: it knows no synonyms.

    Args:
        caption: The model's description.
        events: ``E`` true events.

    Returns:
        ``E`` verdicts.

    >>> word_judge("A man opens the door. He barks.", ["a man opens a door", "a dog barks"])
    [True, False]
    """
    told = [_content_words(sentence) for sentence in split_events(caption)]
    verdicts: list[bool] = []
    for event in events:
        wanted = _content_words(event)
        scores = [_f1(wanted, words) for words in told]
        best = max(range(len(told)), key=scores.__getitem__, default=None)
        verdicts.append(best is not None and scores[best] >= SAME_EVENT_F1)
        if best is not None and verdicts[-1]:
            told.pop(best)
    return verdicts


def event_recall(caption: str, events: Sequence[str], *, judge: Judge = word_judge) -> float:
    """Return the share of the true events that a caption tells, in [0, 1].

    ``recall * min(1, 3 E / S)`` for ``E`` events told in ``S`` sentences. The paper pays recall
    alone, which a list of everything that could happen wins.

    Raises:
        ValueError: If the judge does not give one verdict an event.

    >>> event_recall("A man sits.", ["a man sits", "a dog barks"])
    0.5
    """
    verdicts = [bool(verdict) for verdict in judge(caption, events)]
    if len(verdicts) != len(events):
        raise ValueError(f"expected {len(events)} verdicts of the judge, got {len(verdicts)}")
    allowed, told = SENTENCES_PER_EVENT * len(events), len(split_events(caption))
    return sum(verdicts) / len(events) * min(1.0, allowed / max(1, told))


def _content_words(text: str) -> frozenset[str]:
    words = frozenset(word.casefold() for word in _WORDS.findall(text))
    return words - _SMALL_WORDS or words


def _f1(a: frozenset[str], b: frozenset[str]) -> float:
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0


def transformers_judge(model: Any, tokenizer: Any) -> Judge:
    """Make a judge of a causal language model from Transformers.

    Each event is one question answered by the first token: "yes" if it is likelier than "no".
    Nothing is sampled, so a verdict never changes.

    Args:
        model: From ``AutoModelForCausalLM.from_pretrained``, on any device.
        tokenizer: Its tokenizer, with a chat template if it is a chat model.

    Raises:
        ValueError: If the tokenizer gives "yes" and "no" the same first token.
    """
    import torch

    sides = [_first_tokens(tokenizer, word) for word in ("yes", "no")]
    if sides[0] & sides[1]:
        raise ValueError(f"expected first tokens that tell yes from no, got {sides}")
    yes, no = (torch.tensor(sorted(side)) for side in sides)

    def judge(caption: str, events: Sequence[str]) -> list[bool]:
        verdicts: list[bool] = []
        for event in events:
            ids = _question(tokenizer, caption, event).to(model.device)
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, -1].float().cpu()
            verdicts.append(bool(logits[yes].logsumexp(0) > logits[no].logsumexp(0)))
        return verdicts

    return judge


def _first_tokens(tokenizer: Any, word: str) -> set[int]:
    spellings = [word, word.capitalize(), f" {word}", f" {word.capitalize()}"]
    return {tokenizer.encode(text, add_special_tokens=False)[0] for text in spellings}


def _question(tokenizer: Any, caption: str, event: str) -> Any:
    quoted = [json.dumps(words, ensure_ascii=False) for words in (caption, event)]
    text = JUDGE_TEMPLATE.format(caption=quoted[0], event=quoted[1])
    text = text.encode("utf-8", "replace").decode()  # a tokenizer refuses half a character
    if tokenizer.chat_template is None:
        return tokenizer(text, return_tensors="pt").input_ids
    messages = [{"role": "user", "content": text}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(rendered, return_tensors="pt", add_special_tokens=False).input_ids
