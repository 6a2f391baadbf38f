"""The embedded model before training: its lessons' words, its processor, its architecture."""

from __future__ import annotations

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.video_utils import VideoMetadata

from vcr1_lib.prompts import render_prompt, render_span
from vcr1_lib.toyworld import Event, Scene, query_of, sample_scene

NUM_FRAMES = 24
IMAGE_SIZE = 32
PATCH_SIZE = 8
HIDDEN, LAYERS = 128, 4
VISION_HIDDEN, VISION_LAYERS = 64, 3
SLOPPY_SECONDS = (4.0, 16.0)
KINDS = ("at", "at", "at", "list", "when", "when")
EOS = "<end_of_utterance>"
SPECIAL = [
    "<pad>",
    "<|im_start|>",
    EOS,
    "<fake_token_around_image>",
    "<image>",
    "<video>",
    "<global-img>",
]
# Whole frame stamps, tags and one- or two-digit numbers stay one token each.
SPLIT = r"\s(?=\nFrame)|\nFrame from \d\d:|</?\w+>| to (?=\d)|\d{1,2}| ?[A-Za-z]+|\s+|[^\w\s]"


def what_at(scene: Scene, second: int) -> tuple[str, str]:
    names = " and ".join(e.name for e in scene.visible_at(second)) or "nothing"
    return f"What is on screen at 00:{second:02d}?", names


def list_visits(scene: Scene) -> tuple[str, str]:
    visits = [f"{e.name} {round(e.start_seconds)} to {round(e.end_seconds)}" for e in scene.events]
    return "List every visit with its times.", "; ".join(visits)


def when(event: Event, rng: np.random.Generator) -> tuple[str, str]:
    """Ask for a span; answer with a sloppy one.

    It holds some moment of the visit and has a length of its own: whoever learns from such
    labels must look, and never learns where a visit starts or ends.
    """
    moment = rng.uniform(event.start_seconds, event.end_seconds)
    length = rng.uniform(*SLOPPY_SECONDS)
    start = round(max(0, moment - rng.uniform(0, length)))
    end = round(min(NUM_FRAMES, start + length))
    answer = render_span(start, max(end, start + 1), thought="I look for it.")
    return render_prompt("temporal_grounding", query=query_of(event)), answer


def questions(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    seconds = rng.choice(NUM_FRAMES, 3, replace=False)
    (event,) = scene.events
    seen = [what_at(scene, int(s)) for s in seconds]
    return [*seen, list_visits(scene), when(event, rng), when(event, rng)]


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
        vocab_size=768,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    intro = transformers.models.smolvlm.processing_smolvlm.DEFAULT_VIDEO_INTRO.format(
        frame_count="twenty-four", video_duration="0:00:24"
    )
    stamps = "".join(f"\nFrame from {m:02d}:{s:02d}:" for m in range(2) for s in range(60))
    rng = np.random.default_rng(0)
    texts = [f"User: {intro}{stamps}\n\n", "\nAssistant:"] * 20
    for seed in range(400):
        scene = sample_scene(seed)
        texts += [text for pair in questions(scene, rng) for text in pair]
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<|im_start|>",
        eos_token=EOS,
        additional_special_tokens=SPECIAL[3:],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    side = {"longest_edge": IMAGE_SIZE}
    return SmolVLMProcessor(
        SmolVLMImageProcessor(size=side, max_image_size=side, do_image_splitting=False),
        fast,
        SmolVLMVideoProcessor(size=side, max_image_size=side, num_frames=NUM_FRAMES, fps=1),
        image_seq_len=1,
    )


def build_model(processor: SmolVLMProcessor) -> SmolVLMForConditionalGeneration:
    """Return the model, 1.1 M random weights; seed torch first."""
    return random_smolvlm(
        processor,
        patch_size=PATCH_SIZE,
        vision_hidden=VISION_HIDDEN,
        vision_layers=VISION_LAYERS,
        hidden=HIDDEN,
        layers=LAYERS,
        heads=4,
        key_value_heads=2,
    )


def random_smolvlm(
    processor: SmolVLMProcessor,
    *,
    patch_size: int,
    vision_hidden: int,
    vision_layers: int,
    hidden: int,
    layers: int,
    heads: int,
    key_value_heads: int,
) -> SmolVLMForConditionalGeneration:
    """Return a model of this shape for the processor, one visual token a frame."""
    tokenizer = processor.tokenizer
    config = SmolVLMConfig(
        image_token_id=processor.image_token_id,
        tie_word_embeddings=True,
        scale_factor=IMAGE_SIZE // patch_size,
        vision_config={
            "hidden_size": vision_hidden,
            "intermediate_size": 3 * vision_hidden,
            "num_hidden_layers": vision_layers,
            "num_attention_heads": 4,
            "image_size": IMAGE_SIZE,
            "patch_size": patch_size,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "tie_word_embeddings": True,
        },
    )
    model = SmolVLMForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def video_prefix(processor: SmolVLMProcessor) -> tuple[list[int], str]:
    """Return the tokens every clip's prompt starts with, and the text that ends a question."""
    marker = "QUESTION"
    content = [{"type": "video"}, {"type": "text", "text": marker}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    frames = torch.zeros(NUM_FRAMES, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    metadata = VideoMetadata(
        NUM_FRAMES, fps=1, duration=NUM_FRAMES, frames_indices=list(range(NUM_FRAMES))
    )
    before, after = text.split(marker)
    inputs = processor(
        text=[before],
        videos=[[frames]],
        video_metadata=[[metadata]],
        do_sample_frames=False,
        return_tensors="pt",
    )
    return inputs["input_ids"][0].tolist(), after
