"""A processed video as the pixels, places and bytes that a vLLM server takes.

For :mod:`vcr1_lib.groups.vllm_rollout`. What a processor made is sent as it is.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vcr1_lib.models.loading import ModelError

Items = tuple[str, list[dict[str, Any]]]


class VLLMError(ModelError):
    """The server cannot be used as asked; the message says what to do."""


def features(kind: str, inputs: Any, placeholder: int) -> dict[str, Any]:
    """Return a processed prompt's pixels as vLLM's ``features``: what, and where in the prompt.

    vLLM knows one video a run of placeholders. SmolVLM's frames, and Qwen3-VL's pairs of frames,
    stand apart with their times between them, and go as pictures.

    Args:
        kind: The model's type, a family of :mod:`vcr1_lib.models`.
        inputs: The processor's output for one prompt.
        placeholder: The token that stands where a visual one goes.

    Raises:
        VLLMError: If the frames are unevenly spaced and the positions count seconds.
    """
    if "token_seconds" in inputs:
        raise VLLMError(
            "expected evenly spaced frames: vLLM knows one step for a whole Qwen2.5-VL video; "
            "leave use_vllm for these clips"
        )
    modality, items = PIXELS[kind](inputs)
    seen = nn.functional.pad((inputs["input_ids"][0] == placeholder).int(), (1, 1)).diff()
    starts, ends = (seen == 1).nonzero()[:, 0].tolist(), (seen == -1).nonzero()[:, 0].tolist()
    if len(starts) != len(items):
        raise VLLMError(f"expected a place for each of {len(items)} pictures, found {len(starts)}")
    data = [packed(item) for item in items]
    places = [{"offset": a, "length": b - a} for a, b in zip(starts, ends, strict=True)]
    return {
        "mm_hashes": {modality: [hashlib.sha256(item).hexdigest() for item in data]},
        "mm_placeholders": {modality: places},
        "kwargs_data": {modality: [base64.b64encode(item).decode() for item in data]},
    }


def _flat(value: Tensor) -> dict[str, Any]:
    """Describe a tensor that vLLM joins with others along its first axis."""
    how = {"slices": [[0, len(value), None]], "dim": 0, "keep_on_cpu": False}
    return {"data": value, "field": ["flat", how]}


def _whole(value: Any) -> dict[str, Any]:
    return {"data": torch.as_tensor(value), "field": ["batched", {"keep_on_cpu": True}]}


def _smolvlm(inputs: Any) -> Items:
    frames = zip(inputs["pixel_values"][0], inputs["pixel_attention_mask"][0], strict=True)
    return "image", [
        {
            "pixel_values": _flat(pixels[None]),
            "pixel_attention_mask": _flat(seen[None]),
            "num_patches": _whole(1),
        }
        for pixels, seen in frames
    ]


def _qwen2_5_vl(inputs: Any) -> Items:
    video = {
        "pixel_values_videos": _flat(inputs["pixel_values_videos"]),
        "video_grid_thw": _whole(inputs["video_grid_thw"][0]),
        "second_per_grid_ts": _whole(inputs["second_per_grid_ts"][0]),
    }
    return "video", [video]


def _qwen3_vl(inputs: Any) -> Items:
    _, rows, columns = inputs["video_grid_thw"][0].tolist()
    pairs = inputs["pixel_values_videos"].split(rows * columns)
    grid = [1, rows, columns]
    return "image", [{"pixel_values": _flat(p), "image_grid_thw": _whole(grid)} for p in pairs]


PIXELS: dict[str, Callable[[Any], Items]] = {
    "smolvlm": _smolvlm,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
}


def packed(value: Any) -> bytes:
    """Write plain values and tensors as vLLM does: MessagePack, of which it needs these types.

    >>> packed({"dim": 0}).hex(" ")
    'df 00 00 00 01 db 00 00 00 03 64 69 6d d3 00 00 00 00 00 00 00 00'
    """
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return packed([str(value.dtype).removeprefix("torch."), list(value.shape), data])
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value)
    if isinstance(value, str):
        value = value.encode()
        return b"\xdb" + struct.pack(">I", len(value)) + value
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, dict):
        body = b"".join(packed(part) for item in value.items() for part in item)
        return b"\xdf" + struct.pack(">I", len(value)) + body
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))
