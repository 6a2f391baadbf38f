"""A model that answers about a clip: encode, answer, note what it saw and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from vcr1_lib.answers.grammar import Span
from vcr1_lib.groups import Prompts, encode_prompts, with_pixels
from vcr1_lib.groups.rollout import GREEDY, Answers, sample_groups
from vcr1_lib.inference.clues import Question, read_clue
from vcr1_lib.models import banned_tokens, collate_prompts, family_of
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.video import Clip


class Sight(NamedTuple):
    """What one look at a video may take.

    Attributes:
        num_frames: At most this many frames.
        max_pixels: Pictures with more are shrunk while decoding.
    """

    num_frames: int
    max_pixels: int | None = None


SIDE: Final = 28  # pixels of a visual token of Qwen2.5-VL
GLANCE: Final = Sight(32, 128 * SIDE**2)
CLOSE: Final = Sight(32, 512 * SIDE**2)


class Look(NamedTuple):
    """One pass over a video.

    Attributes:
        clip: What was seen, with its times.
        prompt: What was asked.
        text: What was answered.
        spans: The parts of the video the answer points at, as written.
        prompt_tokens: Question and video.
        answer_tokens: The end token included.
        seconds: Decoding, encoding and answering; ``None`` without a clock.
    """

    clip: Clip
    prompt: str
    text: str
    spans: list[Span]
    prompt_tokens: int
    answer_tokens: int
    seconds: float | None


def answer_prompts(
    model: nn.Module,
    processor: Any,
    prompts: Prompts,
    *,
    max_completion_length: int,
    on_token: Callable[[Tensor], None] | None = None,
) -> Answers:
    """Give the most likely answer to each prompt, in evaluation mode.

    Args:
        model: Any model of a known family.
        processor: Its processor.
        prompts: ``B`` prompts, the videos encoded.
        max_completion_length: In tokens.
        on_token: As :func:`sample_groups` takes it.

    Returns:
        One answer a prompt, ``(B, 1, R)``.
    """
    was_training = model.training
    model.eval()
    answers = sample_groups(
        model,
        prompts,
        noise=torch.zeros(len(prompts.input_ids), 1, max_completion_length),
        eos_token_id=processor.tokenizer.eos_token_id,
        temperature=GREEDY,
        banned=banned_tokens(model, processor).to(prompts.input_ids.device),
        on_token=on_token,
    )
    model.train(was_training)
    return answers


@dataclass(frozen=True)
class Asker:
    """A model with its processor, and how it answers: the most likely token each time.

    Args:
        model: Any model of a known family, adapted or not.
        processor: Its processor.
        max_completion_length: In tokens.
        on_text: Called with each new piece of an answer as soon as it is there.
        clock: Returns seconds, such as ``time.perf_counter``.
    """

    model: nn.Module
    processor: Any
    max_completion_length: int = 1024
    on_text: Callable[[str], None] | None = None
    clock: Callable[[], float] | None = None

    def encode(self, clip: Clip, *turns: str) -> Prompts:
        """Turn a clip and a dialogue about it into a prompt, the video encoded."""
        with torch.no_grad():
            return encode_prompts(self.model, self._batch(clip, *turns))

    def append(self, encoded: Prompts, clip: Clip, *turns: str) -> Prompts:
        """Like :meth:`encode`, but take the video's features from an earlier prompt."""
        prompts = with_pixels(self.model, self._batch(clip, *turns))
        return prompts._replace(vision=encoded.vision)

    def answer(self, prompts: Prompts) -> tuple[str, int]:
        """Return the answer to one prompt and its number of tokens."""
        said = _Stream(self.processor.tokenizer, self.on_text)
        answers = answer_prompts(
            self.model,
            self.processor,
            prompts,
            max_completion_length=self.max_completion_length,
            on_token=said.add,
        )
        text = self.processor.tokenizer.decode(answers.tokens[0, 0], skip_special_tokens=True)
        return text, int(answers.mask.sum())

    def look(self, read: Callable[[], Clip], prompt: str, question: Question) -> Look:
        """Read a clip, ask, and note what the answer points at and what it cost."""
        began = self.clock() if self.clock else 0.0
        clip = read()
        prompts = self.encode(clip, prompt)
        text, count = self.answer(prompts)
        spans = read_clue(text, question)
        seconds = self.clock() - began if self.clock else None
        return Look(clip, prompt, text, spans, prompts.input_ids.shape[1], count, seconds)

    def _batch(self, clip: Clip, *turns: str) -> dict[str, Any]:
        device = next(self.model.parameters()).device
        inputs = prompt_inputs(self.processor, clip, *turns)
        pad_token_id = self.processor.tokenizer.pad_token_id
        batch = collate_prompts([inputs], family_of(self.model), pad_token_id)
        return {key: value.to(device) for key, value in batch.items()}


class _Stream:
    """Hand on new text, held back while its last character is incomplete."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None] | None) -> None:
        self.tokenizer, self.on_text = tokenizer, on_text
        self.tokens: list[int] = []
        self.shown = ""

    def add(self, token: Tensor) -> None:
        if self.on_text is None:
            return
        self.tokens.append(int(token))
        text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        if not text.endswith("\N{REPLACEMENT CHARACTER}") and text != self.shown:
            self.on_text(text[len(self.shown) :])
            self.shown = text
