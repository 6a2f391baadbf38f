"""Models by family: what differs between video language models, and nothing else.

Everything here goes through a Transformers model's public methods, so that wrappers
(PEFT, DDP) keep working. Notation: ``B`` prompts, ``P`` prompt tokens, ``F`` frames.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BatchFeature
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.prompts import render_question
from vcr1_lib.video import DEFAULT_FPS, DEFAULT_MAX_FRAMES, GREY, Clip, VideoError, read_clip

# Shown in place of a clip that cannot be read.
STAND_IN = Clip(
    np.full((2, 64, 64, 3), GREY, dtype=np.uint8), np.array([0.0, 1.0]), 2.0, "unreadable"
)


class Family(NamedTuple):
    """What the shared-prefix code must know of a model family.

    Attributes:
        pixel_keys: Processor outputs that hold the video; joined along ``pixel_axis``.
        pixel_axis: The axis along which clips are joined.
        encode: ``(model, pixels) -> mm_encoder_outputs`` for the model's ``forward``.
        positions: ``(model, batch) -> (B, P)`` or ``(3, B, P)`` rotary positions.
        tower: ``model -> modules`` that turn pixels into features.
        placeholder: ``model -> token id`` that stands where a visual token goes.
    """

    pixel_keys: tuple[str, ...]
    pixel_axis: int
    encode: Callable[[nn.Module, dict[str, Any]], dict[str, Any]]
    positions: Callable[[nn.Module, dict[str, Any]], Tensor]
    tower: Callable[[nn.Module], list[nn.Module]]
    placeholder: Callable[[nn.Module], int]


def base_model(model: nn.Module) -> Any:
    """Return the Transformers model inside a PEFT or data-parallel wrapper, if any."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def _smolvlm_encode(model: nn.Module, pixels: dict[str, Any]) -> dict[str, Any]:
    out = base_model(model).get_image_features(**pixels, return_dict=True)
    return {"image": BaseModelOutputWithPooling(pooler_output=out.pooler_output)}


def _qwen_encode(model: nn.Module, pixels: dict[str, Any]) -> dict[str, Any]:
    out = base_model(model).get_video_features(
        pixels["pixel_values_videos"], pixels["video_grid_thw"], return_dict=True
    )
    # Qwen3-VL feeds features of several depths to its first layers (DeepStack, arXiv 2406.04334).
    kept = {key: out[key] for key in ("pooler_output", "deepstack_features") if key in out}
    return {"video": type(out)(**kept)}


def _plain_positions(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    return (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)


def _qwen_positions(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    # Qwen2.5-VL's positions count seconds; Qwen3-VL writes them as text between the frames.
    known = ("mm_token_type_ids", "video_grid_thw", "second_per_grid_ts", "attention_mask")
    positions, _ = base_model(model).model.get_rope_index(
        batch["input_ids"], **{key: batch[key] for key in known if key in batch}
    )
    if "token_seconds" not in batch:
        return positions
    # The model's rule knows one step for a whole video that begins at second 0.
    seen = batch["input_ids"] == base_model(model).config.video_token_id
    rate = base_model(model).config.vision_config.tokens_per_second
    start = positions[0].masked_fill(~seen, positions.max()).amin(-1, keepdim=True)
    positions[0] = torch.where(
        seen, start + (batch["token_seconds"] * rate).floor().long(), positions[0]
    )
    return positions


FAMILIES: dict[str, Family] = {
    "smolvlm": Family(
        pixel_keys=("pixel_values", "pixel_attention_mask"),
        pixel_axis=1,
        encode=_smolvlm_encode,
        positions=_plain_positions,
        tower=lambda m: [base_model(m).model.vision_model, base_model(m).model.connector],
        placeholder=lambda m: base_model(m).config.image_token_id,
    ),
    "qwen2_5_vl": Family(
        pixel_keys=("pixel_values_videos", "video_grid_thw", "second_per_grid_ts"),
        pixel_axis=0,
        encode=_qwen_encode,
        positions=_qwen_positions,
        tower=lambda m: [base_model(m).model.visual],
        placeholder=lambda m: base_model(m).config.video_token_id,
    ),
    "qwen3_vl": Family(
        pixel_keys=("pixel_values_videos", "video_grid_thw"),
        pixel_axis=0,
        encode=_qwen_encode,
        positions=_qwen_positions,
        tower=lambda m: [base_model(m).model.visual],
        placeholder=lambda m: base_model(m).config.video_token_id,
    ),
}


def family_of(model: nn.Module) -> Family:
    """Look up a model's family by its configuration.

    Raises:
        ValueError: If the family has not been verified here; the message lists those that have.
    """
    name = base_model(model).config.model_type
    if name not in FAMILIES:
        raise ValueError(f"expected a model of type {sorted(FAMILIES)}, got {name!r}")
    return FAMILIES[name]


def collate_prompts(
    rows: Sequence[BatchFeature], family: Family, pad_token_id: int
) -> dict[str, Any]:
    """Join processed prompts into one batch, padded on the left.

    Args:
        rows: One processor output per prompt, each with a leading axis of 1.
        family: The model family the processor belongs to.
        pad_token_id: Token to pad with.

    Returns:
        ``input_ids`` and the like ``(B, P)`` and the clips' pixels, joined.
    """
    width = max(row["input_ids"].shape[1] for row in rows)
    batch: dict[str, Any] = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key in family.pixel_keys:
            batch[key] = torch.cat([torch.as_tensor(v) for v in values], dim=family.pixel_axis)
        else:
            fill = pad_token_id if key == "input_ids" else 0
            padded = [nn.functional.pad(v, (width - v.shape[1], 0), value=fill) for v in values]
            batch[key] = torch.cat(padded)
    return batch


def banned_tokens(model: nn.Module, processor: Any) -> Tensor:
    """Return ``(V,)``, true for tokens an answer may never hold.

    Every special token but the one that ends an answer (a sampled vision token would make
    the next forward look for a picture), and the padding rows of the output head.
    """
    tokenizer = processor.tokenizer
    banned = torch.zeros(base_model(model).config.get_text_config().vocab_size, dtype=torch.bool)
    banned[len(tokenizer) :] = True
    banned[[i for i, token in tokenizer.added_tokens_decoder.items() if token.special]] = True
    banned[tokenizer.eos_token_id] = False
    return banned


class PromptLoader:
    """Turn records into model inputs; keep the latest ones ready.

    A data collator for ``Trainer``: it may run in worker processes.

    Args:
        processor: The model's processor.
        fps: Frames a second to take. A record to follow an object in is shown at its boxes'
            ``times``; without times, as many frames as boxes, spread evenly.
        max_frames: At most this many.
        max_pixels: Pictures with more are shrunk while decoding.
        on_error: At a clip that cannot be read, ``"raise"``; or ``"skip"`` its record; or let
            two grey frames stand in for it, ``"blank"``, so that a batch keeps its size. Both
            count it in ``skipped`` (path -> why). Evaluation must do neither: a failed video
            stays in the denominator.
        change_clip: Applied to each clip after decoding, for controls such as
            :func:`vcr1_lib.video.blanked`.
        cache_bytes: Memory for prompts that are kept ready, by record ``id``; the one unused
            for longest goes first.
    """

    def __init__(
        self,
        processor: Any,
        *,
        fps: float = DEFAULT_FPS,
        max_frames: int = DEFAULT_MAX_FRAMES,
        max_pixels: int | None = None,
        on_error: Literal["raise", "skip", "blank"] = "raise",
        change_clip: Callable[[Clip], Clip] | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.processor = processor
        self.fps, self.max_frames, self.max_pixels = fps, max_frames, max_pixels
        self.on_error = on_error
        self.skipped: dict[str, str] = {}
        self.change_clip = change_clip
        self.cache_bytes, self._held = cache_bytes, 0
        self._ready: OrderedDict[str, BatchFeature] = OrderedDict()

    def __call__(self, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return ``records`` beside their ``prompts``, one ``BatchFeature`` each.

        ``unreadable`` tells of each clip that grey frames stand in for why, ``""`` of others.

        Raises:
            FileNotFoundError: If a clip is missing, unless told to skip.
            VideoError: If a clip cannot be read, unless told to skip; if none is left.
        """
        kept, prompts, unreadable = [], [], []
        for record in records:
            try:
                prompts.append(self._prompt(record))
                unreadable.append("")
            except (VideoError, FileNotFoundError) as error:
                if self.on_error == "raise":
                    raise
                self.skipped[record["video"]] = str(error)
                if self.on_error == "skip":
                    continue
                prompts.append(prompt_inputs(self.processor, STAND_IN, render_question(record)))
                unreadable.append(str(error))
            kept.append(record)
        if records and not kept:
            raise VideoError(
                f"none of the clips can be read ({len(records)} in all), the first because: "
                f"{self.skipped[records[0]['video']]}; run python -m vcr1_lib.video.prescan"
            )
        return {"records": kept, "prompts": prompts, "unreadable": unreadable}

    def _prompt(self, record: dict[str, Any]) -> BatchFeature:
        if record["id"] in self._ready:
            self._ready.move_to_end(record["id"])
            return self._ready[record["id"]]
        boxes = record.get("boxes")
        clip = read_clip(
            record["video"],
            fps=self.fps,
            max_frames=self.max_frames,
            num_frames=len(boxes) if boxes else None,
            times_seconds=record.get("times") if boxes else None,
            max_pixels=self.max_pixels,
        )
        if self.change_clip is not None:
            clip = self.change_clip(clip)
        asked = record.get("prompt") or render_question(record)
        turns = [asked] if isinstance(asked, str) else asked
        prompt = self._ready[record["id"]] = prompt_inputs(self.processor, clip, *turns)
        self._held += _nbytes(prompt)
        while self._held > self.cache_bytes and len(self._ready) > 1:
            self._held -= _nbytes(self._ready.popitem(last=False)[1])
        return prompt


def _nbytes(inputs: BatchFeature) -> int:
    return sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
