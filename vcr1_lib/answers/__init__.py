"""Model text to a typed value, or a named reason it is not one. The only parsers.

Every parser takes ``text``, the whole completion. *Strict* accepts exactly what is asked for.
*Lenient*, the default, accepts what a careful human would take for the same answer: units,
dashes, brackets, ``mm:ss``, line breaks, a missing thought. Neither guesses: two answers,
a sign, a comma that may be a decimal point are refused with a reason. Any string is safe:
nothing raises, nothing is evaluated, time grows linearly with the text.

``**where`` of every parser: ``tag``, the block that holds the answer, and ``frame``, all tags
of a completion in order, the thought's first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from vcr1_lib.answers import grammar
from vcr1_lib.answers.grammar import Box, Parsed, Reason, Span
from vcr1_lib.prompts import ANSWER_TAG, CLUE_TAG, CLUE_TAG_ALIAS, FRAMES, THINK_TAG

_WORD = re.compile(r"[^\W_]")
_EMPHASIS = "*`"
# What chat templates' parsers call a thought, LFM2.5's the second.
_THOUGHT_FIELDS = ("reasoning_content", "thinking")
_LINE_END = re.compile(r"[\n\r;\u3002]")
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++(?=\s|$)")
_BULLET = re.compile(r"\s*+(?:[-*\u2022]|[0-9]{1,3}[.)])\s++")


class Where(TypedDict, total=False):
    """The block that holds an answer, and all tags of a completion in order."""

    tag: str
    frame: Sequence[str]


def completion_text(completion: Any) -> str:
    """Return the model's text: a string, or all text of its assistant messages.

    A thought that a chat template's parser has put into a field of its own comes back between
    its tags.

    Raises:
        ValueError: If it is neither a string nor a list of messages.

    >>> completion_text([{"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}])
    'Hi'
    """
    if isinstance(completion, str):
        return completion
    texts: list[str] = []
    for message in completion if isinstance(completion, Sequence) else [None]:
        if not isinstance(message, Mapping):
            raise ValueError(
                "expected a completion, a string or a list of messages such as "
                f"[{{'role': 'assistant', 'content': 'Hi'}}], got {completion!r:.80}"
            )
        if message.get("role", "assistant") == "assistant":
            content: Any = message.get("content") or ""
            thoughts = [message[name] for name in _THOUGHT_FIELDS if message.get(name)]
            texts += [f"<{THINK_TAG}>{thought}</{THINK_TAG}>" for thought in thoughts[:1]]
            parts = [{"text": content}] if isinstance(content, str) else content
            texts += [part.get("text") or "" for part in parts]
    return "".join(texts)


def check_format(text: str, *, tags: Sequence[str] = (THINK_TAG, ANSWER_TAG)) -> Reason | None:
    """Say what is wrong with a completion's frame, if anything is.

    Args:
        text: The whole completion.
        tags: Names of the blocks it must consist of, in order, each exactly once, each with
            a letter or digit inside, with nothing but white space around them.

    Returns:
        ``None`` if the frame is right.

    >>> check_format("<think>I saw it.</think><answer>4 to 9</answer>") is None
    True
    >>> check_format("<think></think><answer></answer>")
    <Reason.EMPTY: 'empty'>
    """
    at, empty, outside = 0, False, False
    for tag in tags:
        reason = _count_tag(text, tag)
        if reason is not None:
            return reason
    for tag in tags:
        start, end = text.find(f"<{tag}>", at), text.find(f"</{tag}>", at)
        if start < 0 or end < start:
            return Reason.MISPLACED_TAG
        outside = outside or not _is_blank(text[at:start])
        empty = empty or _WORD.search(text, start + len(tag) + 2, end) is None
        at = end + len(tag) + 3
    if outside or not _is_blank(text[at:]):
        return Reason.TEXT_OUTSIDE
    return Reason.EMPTY if empty else None


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _count_tag(text: str, tag: str) -> Reason | None:
    counts = text.count(f"<{tag}>"), text.count(f"</{tag}>")
    if 0 in counts:
        return Reason.MISSING_TAG
    return None if counts == (1, 1) else Reason.DUPLICATE_TAG


def extract_answer(
    text: str,
    *,
    strict: bool = False,
    tag: str = ANSWER_TAG,
    frame: Sequence[str] = (THINK_TAG, ANSWER_TAG),
) -> Parsed[str]:
    """Return what stands in the one block of a tag.

    Args:
        text: The whole completion.
        strict: Demand that the whole completion passes :func:`check_format`.
        tag: The block to return.
        frame: Tags of the whole completion, the thought's first. Lenient reading only uses
            the first: a block inside an open thought is not an answer.

    >>> extract_answer("It is this: <answer> B </answer>").value
    'B'
    >>> extract_answer("<answer>A</answer><answer>B</answer>").reason
    <Reason.DUPLICATE_TAG: 'duplicate_tag'>
    """
    reason = check_format(text, tags=frame) if strict else _count_tag(text, tag)
    if reason is not None:
        return Parsed(None, reason)
    start, end, thought = text.find(f"<{tag}>"), text.find(f"</{tag}>"), frame[0]
    in_thought = text.rfind(f"<{thought}>", 0, start) > text.rfind(f"</{thought}>", 0, start)
    if end < start or in_thought or text.find(f"</{thought}>", start, end) >= 0:
        return Parsed(None, Reason.MISPLACED_TAG)
    content = text[start + len(tag) + 2 : end]
    if _WORD.search(content) is None:
        return Parsed(None, Reason.EMPTY)
    return Parsed(content if strict else content.strip().strip(_EMPHASIS).strip())


def parse_span(
    text: str,
    *,
    strict: bool = False,
    duration_seconds: float | None = None,
    **where: Unpack[Where],
) -> Parsed[Span]:
    """Read one time span, ``0 <= start <= end`` seconds; one of no length is a value.

    Args:
        strict: Accept ``START to END`` in a perfect frame and nothing else.
        duration_seconds: Refuse a span that ends more than a second after this.

    >>> parse_span("<answer>00:10 - 00:20</answer>").value
    (10.0, 20.0)
    >>> parse_span("<answer>0 to 5, 10 to 20</answer>").reason
    <Reason.MANY_SPANS: 'many_spans'>
    """
    content = extract_answer(text, strict=strict, **where)
    return content.then(
        lambda words: grammar.read_span(words, strict=strict, duration_seconds=duration_seconds)
    )


def parse_spans(
    text: str,
    *,
    strict: bool = False,
    duration_seconds: float | None = None,
    **where: Unpack[Where],
) -> Parsed[list[Span]]:
    """Read one or more time spans from the clue, in the order written, not merged.

    Args:
        strict: Accept ``[(START, END), ...]`` in a perfect frame and nothing else. Lenient
            reading takes the authors' ``<glue>`` for ``<clue>``.
        duration_seconds: Refuse a span that ends more than a second after this.

    >>> parse_spans("<answer>B</answer><glue> [[10,20], [30,40]]</glue>").value
    [(10.0, 20.0), (30.0, 40.0)]
    """
    tag = CLUE_TAG if strict else clue_tag(text)
    where = {"tag": tag, "frame": FRAMES["grounded_qa"], **where}
    content = extract_answer(text, strict=strict, **where)
    return content.then(
        lambda words: grammar.read_spans(words, strict=strict, duration_seconds=duration_seconds)
    )


def clue_tag(text: str) -> str:
    """Return the spelling of the clue tag that a completion uses.

    >>> clue_tag("<glue>[(1, 2)]</glue>")
    'glue'
    """
    authors = f"<{CLUE_TAG}>" not in text and f"<{CLUE_TAG_ALIAS}>" in text
    return CLUE_TAG_ALIAS if authors else CLUE_TAG


def parse_track(
    text: str, *, num_boxes: int, strict: bool = False, **where: Unpack[Where]
) -> Parsed[list[Box]]:
    """Read one box ``(x0, y0, x1, y1)`` a frame, in shares of the picture.

    Args:
        num_boxes: How many boxes were asked for; any other number is refused.
        strict: Accept ``[[LEFT, TOP, RIGHT, BOTTOM], ...]`` in a perfect frame, nothing else.

    >>> parse_track("<answer>(0, 0, .5, 1)</answer>", num_boxes=1).value
    [(0.0, 0.0, 0.5, 1.0)]
    """
    content = extract_answer(text, strict=strict, **where)
    return content.then(lambda words: grammar.read_track(words, num_boxes=num_boxes, strict=strict))


def parse_option(
    text: str, *, options: Sequence[str], strict: bool = False, **where: Unpack[Where]
) -> Parsed[str]:
    """Read the letter of the stated option.

    Args:
        options: The options' letters, or their texts, with or without letters before them.
        strict: Accept the bare letter in a perfect frame and nothing else.

    >>> parse_option("<answer>The answer is (b).</answer>", options=["wave", "jump"]).value
    'B'
    """
    content = extract_answer(text, strict=strict, **where)
    return content.then(lambda words: grammar.read_option(words, options=options, strict=strict))


def parse_label(
    text: str, *, labels: Sequence[str], strict: bool = False, **where: Unpack[Where]
) -> Parsed[str]:
    """Read one of a few labels, and return it as ``labels`` spells it.

    Args:
        labels: What may be answered.
        strict: Accept the label letter by letter in a perfect frame and nothing else.

    >>> parse_label("<answer>High quality.</answer>", labels=["low quality", "high quality"]).value
    'high quality'
    """
    content = extract_answer(text, strict=strict, **where)
    return content.then(lambda words: grammar.read_label(words, labels=labels, strict=strict))


def parse_events(
    text: str, *, strict: bool = False, max_chars: int | None = None, **where: Unpack[Where]
) -> Parsed[list[str]]:
    """Split a caption into its events: sentences, lines or bullet points.

    Args:
        strict: Demand a perfect frame.
        max_chars: Refuse a caption longer than this many characters.

    >>> parse_events("<answer>A man sits. He rises 1.5 m.</answer>").value
    ['A man sits', 'He rises 1.5 m']
    """
    content = extract_answer(text, strict=strict, **where)
    if content.value is None:
        return Parsed(None, content.reason)
    if max_chars is not None and len(content.value) > max_chars:
        return Parsed(None, Reason.TOO_LONG)
    return Parsed(split_events(content.value))


def split_events(caption: str) -> list[str]:
    """Split a description into sentences, lines or bullet points, without their marks."""
    lines = (_BULLET.sub("", line, count=1) for line in _LINE_END.split(caption))
    pieces = (piece.strip() for line in lines for piece in _SENTENCE_END.split(line))
    return [piece for piece in pieces if _WORD.search(piece)]
