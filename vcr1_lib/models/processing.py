"""A clip and what is said about it -> a model's inputs, with the clip's own times.

What differs between the families' processors stands here; notation as in
:mod:`vcr1_lib.models`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature, Qwen3VLProcessor
from transformers.video_utils import VideoMetadata

from vcr1_lib.video import Clip

UNUSED_INPUTS = ("video_metadata", "rows", "cols")
# In a processor's ``mm_token_type_ids``.
VIDEO_TYPE = 2


def prompt_inputs(processor: Any, clip: Clip, *turns: str) -> BatchFeature:
    """Turn a clip and a question about it into a model's inputs, with the clip's own times.

    The frames are used as they are: the processor is told not to sample again.

    Args:
        processor: The model's processor.
        clip: Frames with their seconds.
        *turns: The question; in a dialogue, questions and answers by turns, a question last.
            The chat template is applied here.

    Returns:
        Tensors with a leading axis of 1. Where the processor would take frames to be evenly
        spaced and these are not, ``token_seconds`` ``(1, P)`` tells each visual token's second.
    """
    messages: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[turn % 2], "content": [{"type": "text", "text": text}]}
        for turn, text in enumerate(turns)
    ]
    messages[0]["content"].insert(0, {"type": "video"})
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    if isinstance(processor, Qwen3VLProcessor):
        text, clip = _as_published(processor, text, clip)
    inputs = processor(
        text=[text],
        videos=[[torch.from_numpy(clip.frames).permute(0, 3, 1, 2)]],
        video_metadata=[[VideoMetadata(**clip.metadata())]],
        do_sample_frames=False,
        return_tensors="pt",
    )
    if "second_per_grid_ts" in inputs and not clip.evenly_spaced:
        inputs["token_seconds"] = _token_seconds(processor, clip, inputs)
    return BatchFeature({key: inputs[key] for key in inputs if key not in UNUSED_INPUTS})


def _as_published(processor: Qwen3VLProcessor, text: str, clip: Clip) -> tuple[str, Clip]:
    """Write a Qwen3-VL prompt as it was when the model came out, in Transformers 4.57.

    Each pair of frames stood between its own markers, after its time, with nothing around
    them all; the processor now leaves the chat template's markers there. It refuses a single
    frame, so that one comes twice, as a last one without a partner does.
    """
    video = processor.video_token
    text = text.replace(processor.vision_start_token + video + processor.vision_end_token, video)
    if len(clip.frames) == 1:
        times = clip.times_seconds.repeat(2)
        clip = clip._replace(frames=clip.frames.repeat(2, axis=0), times_seconds=times)
    return text, clip


def _token_seconds(processor: Any, clip: Clip, inputs: BatchFeature) -> Tensor:
    """Return ``(1, P)``: when each visual token's first frame is shown, 0 for text."""
    shape = processor.video_processor
    starts = torch.from_numpy(clip.times_seconds[:: shape.temporal_patch_size]).float()
    _, rows, columns = inputs["video_grid_thw"][0].tolist()
    seconds = torch.zeros(inputs["input_ids"].shape)
    seen = inputs["mm_token_type_ids"] == VIDEO_TYPE
    seconds[seen] = starts.repeat_interleave(rows * columns // shape.merge_size**2)
    return seconds
