"""The many-tasks model before training: its tokenizer, its processor, its architecture."""

from __future__ import annotations

import re

import numpy as np
import tokenizers
from num2words import num2words
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.models.smolvlm import processing_smolvlm as smolvlm

from tools.lessons import FAKE, GLOBAL, IN_ORDER, TRACK_KINDS, View, lesson
from tools.tiny_model import EOS, IMAGE_SIZE, PATCH_SIZE, SPECIAL, random_smolvlm
from vcr1_lib.prompts import TEMPLATES
from vcr1_lib.toyworld import COLOURS
from vcr1_lib.toyworld.scenes import ALL_SHAPES, box_times, sample_track, sample_visits

HIDDEN, LAYERS, HEADS = 160, 4, 5
VISION_HIDDEN, VISION_LAYERS = 64, 3
# A frame's mark is two tokens around the visual token, and one for its second.
FRAME_MARKS = [f":{FAKE}{GLOBAL}", f"{FAKE}\nFrame from 00:"]
# Numbers, brackets of lists and the letters of options stay one token each.
SPLIT = (
    r"(?:, )?[01]\.\d{1,2}|\d\d:(?=\d\d)|\d{1,2}|\n\([A-Z]\) |\], \[|\[\[|\]\]|\[\(|\)\]|\), \("
    r"|, (?=\d)|; |</?\w+>| to (?=\d)| ?[A-Za-z]+|\s+|[^\w\s]"
)


def phrases() -> list[str]:
    """Return the fixed wording of the prompts, one token each."""
    reason = "Reason between <think> and </think>, then write"
    texts = [*TEMPLATES.values(), smolvlm.DEFAULT_VIDEO_INTRO]
    pieces = [p for text in texts for p in re.split(r"\{\w+\}", text.replace(reason, "{reason}"))]
    fixed = {p for p in pieces if len(p) > 8}
    return [reason, "Write", "\nFrame from 00:", "\nAssistant:", "\nUser:", *sorted(fixed)]


def build_processor() -> SmolVLMProcessor:
    """Train the tokenizer on the world's own text and wrap the family's real processor."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1400,
        min_frequency=10,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample_texts(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<|im_start|>",
        eos_token=EOS,
        additional_special_tokens=[*SPECIAL[3:], *FRAME_MARKS],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases()])
    side = {"longest_edge": IMAGE_SIZE}
    return SmolVLMProcessor(
        SmolVLMImageProcessor(size=side, max_image_size=side, do_image_splitting=False),
        fast,
        SmolVLMVideoProcessor(size=side, max_image_size=side, num_frames=64, fps=1),
        image_seq_len=1,
    )


def sample_texts() -> list[str]:
    """Return text with every word and number that the world can say."""
    rng = np.random.default_rng(0)
    texts = []
    for seed in range(10**6, 10**6 + 300):
        for scene, kinds in (
            (sample_visits(seed, "base"), IN_ORDER.kinds),
            (sample_track(seed, "base"), TRACK_KINDS),
        ):
            view = View(scene, np.array(box_times(scene.duration_seconds)), 0, False)
            texts += [text for kind in kinds for text in lesson(kind, view, rng)]
    numbers = [f"{n:g}" for n in range(100)] + [f"{n:02d}" for n in range(60)]
    decimals = [f"{n / 100!r}, {n / 100!r}" for n in range(101)]
    words = [f"{c} {s} {c}" for c in COLOURS for s in ALL_SHAPES] + list(ALL_SHAPES)
    words += [num2words(n) for n in range(4, 65)] + ["0:00:00", "You are provided"]
    return texts + 12 * [*numbers, *decimals, *words]


def build_model(processor: SmolVLMProcessor) -> SmolVLMForConditionalGeneration:
    """Return the model with random weights; seed torch first."""
    return random_smolvlm(
        processor,
        patch_size=PATCH_SIZE,
        vision_hidden=VISION_HIDDEN,
        vision_layers=VISION_LAYERS,
        hidden=HIDDEN,
        layers=LAYERS,
        heads=HEADS,
        key_value_heads=HEADS,
    )
