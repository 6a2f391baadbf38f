"""Random models of real families, small enough for a test, with real processors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
    TrainingArguments,
)

from vcr1_lib.video import Clip

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
# Transformers 5.20 has the second name alone, 5.23 warns of it.
NEW, OLD = "activation_checkpointing", "gradient_checkpointing"
CHECKPOINTING = NEW if NEW in TrainingArguments.__dataclass_fields__ else OLD
# Shares of the halved head size for time, height and width.
MROPE = [2, 1, 1]
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'video' %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% elif c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(special: list[str], eos: str) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([*special, "<pad>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=eos,
        pad_token="<pad>",
        additional_special_tokens=[token for token in special if token != eos],
    )


def qwen_tokenizer() -> tuple[PreTrainedTokenizerFast, dict[str, int]]:
    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    tokenizer = byte_tokenizer(special, "<|im_end|>")
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids = tokenizer.convert_tokens_to_ids(special[2:])
    return tokenizer, dict(zip(names, ids, strict=True))


def qwen(**text: int) -> tuple[Any, Any]:
    """Return a random model and its processor; ``text`` overrides its text configuration."""
    tokenizer, ids = qwen_tokenizer()
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config=TEXT
        | text
        | {
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": MROPE},
            "max_position_embeddings": 4096,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": text.get("hidden_size", TEXT["hidden_size"]),
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        **ids,
    )
    size = {"shortest_edge": 64, "longest_edge": 16384}
    shape = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "size": size}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**shape),
        tokenizer,
        Qwen2VLVideoProcessor(**shape),
        chat_template=QWEN_TEMPLATE,
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval(), processor


def qwen3() -> tuple[Any, Any]:
    tokenizer, ids = qwen_tokenizer()
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": MROPE, "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config=TEXT
        | {
            "vocab_size": len(tokenizer),
            "head_dim": 8,
            "rope_parameters": rope,
            "max_position_embeddings": 4096,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": TEXT["hidden_size"],
            "patch_size": 4,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
        **ids,
    )
    size = {"shortest_edge": 64, "longest_edge": 16384}
    shape = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "size": size}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**shape),
        tokenizer,
        Qwen3VLVideoProcessor(**shape, cap_pixels_per_frame=False),
        chat_template=QWEN_TEMPLATE,
    )
    return Qwen3VLForConditionalGeneration(config).eval(), processor


def smolvlm() -> tuple[Any, Any]:
    special = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>"]
    special += ["<image>", "<video>", "<global-img>"]
    tokenizer = byte_tokenizer(special, "<end_of_utterance>")
    torch.manual_seed(0)
    config = SmolVLMConfig(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        text_config=TEXT
        | {"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 4096},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 8,
        },
    )
    side = {"longest_edge": 16}
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(size=side, max_image_size=side, do_image_splitting=False),
        tokenizer,
        SmolVLMVideoProcessor(size=side, max_image_size=side, num_frames=8, fps=1),
        image_seq_len=1,
    )
    return SmolVLMForConditionalGeneration(config).eval(), processor


FAMILIES = {"qwen2_5_vl": qwen, "qwen3_vl": qwen3, "smolvlm": smolvlm}


def noise_clip(num_frames: int, *, seed: int = 0, step_seconds: float = 1.0) -> Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (num_frames, 16, 16, 3), dtype=np.uint8)
    times = np.arange(num_frames) * step_seconds
    return Clip(frames, times, num_frames * step_seconds, "noise")
