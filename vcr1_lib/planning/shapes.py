"""True shapes of the models a reader may train, and what a video costs each of them.

Published configurations as data: with them a model is built on ``meta``, where tensors have a
shape and no memory, so its parameters are counted exactly and nothing is downloaded.

Reference: ``config.json`` and the safetensors index of each model's page on the hub.
"""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import Any, Final, NamedTuple

import torch
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
    SmolVLMConfig,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from vcr1_lib.video.tokens import TEMPORAL, video_grid

# A page of the hub says so much: parameters in the safetensors files, a tied head once.
PUBLISHED: Final[dict[str, int]] = {
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": 256_484_928,
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": 507_482_304,
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": 2_246_784_880,
    "Qwen/Qwen3-VL-2B-Instruct": 2_127_532_032,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
}
# Language model: hidden, intermediate, layers, heads, key-value heads, vocabulary; tied head?
TEXT: Final[dict[str, tuple[int, int, int, int, int, int, bool]]] = {
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": (576, 1536, 30, 9, 3, 49280, False),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": (960, 2560, 32, 15, 5, 49280, False),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": (2048, 8192, 24, 32, 32, 49280, False),
    "Qwen/Qwen3-VL-2B-Instruct": (2048, 6144, 28, 16, 8, 151936, True),
    "Qwen/Qwen2.5-VL-3B-Instruct": (2048, 11008, 36, 16, 2, 151936, True),
    "Qwen/Qwen3-VL-4B-Instruct": (2560, 9728, 36, 32, 8, 151936, True),
    "Qwen/Qwen2.5-VL-7B-Instruct": (3584, 18944, 28, 28, 4, 152064, False),
    "Qwen/Qwen3-VL-8B-Instruct": (4096, 12288, 36, 32, 8, 151936, False),
}
NAMES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "tie_word_embeddings",
)  # fmt: skip
# Vision towers: depth, hidden, intermediate, heads.
SIGLIP_BASE, SIGLIP_SO = (12, 768, 3072, 12), (27, 1152, 4304, 16)
QWEN3_SMALL, QWEN3_LARGE = (24, 1024, 4096, 16), (27, 1152, 4304, 16)

# Words around the pictures, in tokens; assumed, since no tokenizer is at hand.
QUESTION_TOKENS, SMOLVLM_FRAME_TOKENS, QWEN3_STEP_TOKENS = 150, 12, 9
# Pixels of a whole Qwen3-VL video, from its published processor.
QWEN3_MIN_PIXELS, QWEN3_MAX_PIXELS = 4096, 25_165_824


class Shape(NamedTuple):
    """What of a model the planner needs, all counts of parameters exact.

    Attributes:
        model_type: Transformers' name of the family.
        layers: Of the language model.
        hidden: H, width of its residual stream.
        intermediate: I, width of its MLP.
        attention: A, query heads times head size.
        key_values: Key-value heads times head size.
        vocab: V.
        linears: Name, inputs and outputs of every linear layer of the language layers.
        others: Parameters of the language layers that are no linear weight: norms, biases.
        embeddings: Parameters of the input embedding.
        head: Parameters of the output head, 0 if it is the embedding.
        vision: Parameters of the tower and its way to the language model.
        vision_layers: Of the tower.
        vision_hidden: Width of the tower.
        vision_intermediate: Width of the tower's MLP.
        patch: Side of a patch in pixels.
        merge: Patches along the side of one visual token.
        image_size: Side every frame is brought to in pixels, 0 where size is kept.
        deepstack: Further sets of features that early language layers take.
    """

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    attention: int
    key_values: int
    vocab: int
    linears: tuple[tuple[str, int, int], ...]
    others: int
    embeddings: int
    head: int
    vision: int
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    patch: int
    merge: int
    image_size: int
    deepstack: int

    @property
    def linear(self) -> int:
        """Weights of linear language layers: what NF4 stores small."""
        return sum(inputs * outputs for _, inputs, outputs in self.linears)

    @property
    def language(self) -> int:
        """Parameters that a token passes: language layers and head, not the embedding."""
        return self.linear + self.others + (self.head or self.embeddings)

    @property
    def total(self) -> int:
        """All parameters."""
        return self.linear + self.others + self.embeddings + self.head + self.vision

    def adapters(self, rank: int, targets: frozenset[str] | None = None) -> int:
        """Count LoRA's parameters, ``rank x (inputs + outputs)`` an adapted layer.

        Args:
            rank: ``lora_r``.
            targets: Names of layers; ``None`` for every linear language layer.
        """
        widths = (i + o for name, i, o in self.linears if targets is None or name in targets)
        return rank * sum(widths)


def model_config(name: str) -> PreTrainedConfig:
    """Return a known model's configuration.

    Raises:
        ValueError: If the shape is not recorded here; the message lists those that are.
    """
    if name not in TEXT:
        raise ValueError(f"expected model_name_or_path in {', '.join(TEXT)}, got {name!r}")
    text: dict[str, Any] = dict(zip(NAMES, TEXT[name], strict=True))
    tied, width = text["tie_word_embeddings"], text["hidden_size"]
    if "SmolVLM" in name:
        large = width == 2048
        tower = _tower(SIGLIP_SO if large else SIGLIP_BASE, "num_hidden_layers")
        tower["num_attention_heads"] = tower.pop("num_heads")
        tower |= {"image_size": 384, "patch_size": 14} if large else {"image_size": 512}
        return SmolVLMConfig(
            text_config=text | {"model_type": "llama"},
            vision_config={"patch_size": 16} | tower,
            scale_factor=3 if large else 4,
            tie_word_embeddings=tied,
        )
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e6}
    if "Qwen2.5" in name:
        text["rope_parameters"] = rope | {"mrope_section": [16, 24, 24]}
        vision = _tower((32, 1280, 3420, 16), "depth") | {"out_hidden_size": width}
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)
    text |= {"head_dim": 128, "rope_parameters": rope | {"mrope_section": [24, 20, 20]}}
    vision = _tower(QWEN3_LARGE if width == 4096 else QWEN3_SMALL, "depth")
    vision |= {"out_hidden_size": width, "patch_size": 16}
    vision["deepstack_visual_indexes"] = [8, 16, 24] if width == 4096 else [5, 11, 17]
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


def _tower(sizes: tuple[int, int, int, int], depth: str) -> dict[str, Any]:
    names = (depth, "hidden_size", "intermediate_size", "num_heads")
    return dict(zip(names, sizes, strict=True))


def meta_model(config: PreTrainedConfig) -> Any:
    """Build a model without memory for its weights."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    return model


@cache
def known_shape(name: str) -> Shape:
    """Return a known model's shape.

    >>> known_shape("Qwen/Qwen2.5-VL-3B-Instruct").total
    3754622976
    """
    return shape_of(model_config(name))


def shape_of(config: PreTrainedConfig) -> Shape:
    """Count a configuration's parameters on ``meta``.

    Args:
        config: Of SmolVLM, Qwen2.5-VL or Qwen3-VL.
    """
    model, text, vision = meta_model(config), config.get_text_config(), config.vision_config
    language = model.get_decoder()
    linears = tuple(
        (name.rpartition(".")[2], layer.in_features, layer.out_features)
        for name, layer in language.layers.named_modules()
        if isinstance(layer, torch.nn.Linear)
    )
    inner, outer = language.get_input_embeddings().weight, model.get_output_embeddings().weight
    whole, words = (sum(p.numel() for p in m.parameters()) for m in (model, language))
    head = 0 if outer is inner else outer.numel()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    smolvlm = config.model_type == "smolvlm"
    return Shape(
        model_type=config.model_type,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        attention=text.num_attention_heads * size,
        key_values=text.num_key_value_heads * size,
        vocab=text.vocab_size,
        linears=linears,
        others=words - inner.numel() - sum(i * o for _, i, o in linears),
        embeddings=inner.numel(),
        head=head,
        vision=whole - words - head,
        vision_layers=vision.num_hidden_layers if smolvlm else vision.depth,
        vision_hidden=vision.hidden_size,
        vision_intermediate=vision.intermediate_size,
        patch=vision.patch_size,
        merge=config.scale_factor if smolvlm else vision.spatial_merge_size,
        image_size=vision.image_size if smolvlm else 0,
        deepstack=len(getattr(vision, "deepstack_visual_indexes", [])),
    )


class Video(NamedTuple):
    """What a clip and its question cost a model.

    Attributes:
        patches: What the vision tower sees.
        prompt_tokens: P, what the language model sees, words included.
    """

    patches: int
    prompt_tokens: int


def video_of(
    shape: Shape, num_frames: int, height: int, width: int, max_pixels: int | None = None
) -> Video:
    """Count a clip's patches and tokens by the family's own rule.

    Args:
        shape: Of the model.
        num_frames: F.
        height: In pixels.
        width: In pixels.
        max_pixels: Larger pictures are shrunk first.

    >>> video_of(known_shape("Qwen/Qwen2.5-VL-3B-Instruct"), 16, 360, 640)
    Video(patches=9568, prompt_tokens=2542)
    """
    if min(num_frames, height, width) < 1:
        raise ValueError(f"expected at least 1 of each, got {num_frames}, {height}, {width}")
    if max_pixels is not None and height * width > max_pixels:
        scale = (max_pixels / (height * width)) ** 0.5
        height, width = max(1, int(height * scale)), max(1, int(width * scale))
    if shape.image_size:
        patches = (shape.image_size // shape.patch) ** 2
        tokens = num_frames * (patches // shape.merge**2 + SMOLVLM_FRAME_TOKENS)
        return Video(num_frames * patches, tokens + QUESTION_TOKENS)
    if shape.model_type == "qwen2_5_vl":
        grid = video_grid(num_frames, height, width)
        visual = grid.num_tokens
        return Video(visual * shape.merge**2, visual + QUESTION_TOKENS)
    side, steps = shape.patch * shape.merge, ceil(num_frames / TEMPORAL)
    limits = {"min_pixels": QWEN3_MIN_PIXELS, "max_pixels": QWEN3_MAX_PIXELS}
    high, wide = smart_resize(steps * TEMPORAL, height, width, TEMPORAL, side, **limits)
    visual = steps * (high // side) * (wide // side)
    words = QUESTION_TOKENS + steps * QWEN3_STEP_TOKENS
    return Video(visual * shape.merge**2, visual + words)
