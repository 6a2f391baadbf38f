"""Our models as a model of lmms-eval: its tasks, its prompts and scorers, our answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from vcr1_lib.answers import extract_answer
from vcr1_lib.datasets.benchmarks import max_pixels
from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.models.loading import load_model
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.video import Clip, VideoError, read_clip

# What a scorer gets for a video that cannot be read: no letter, no number.
FAILED = "(video failed)"
# MVBench keeps one of its tasks as folders of pictures, three a second.
PICTURES_PER_SECOND = 3.0
THINK = (
    "\nReason between <think> and </think>, then write the answer in the form "
    "<answer>ANSWER</answer>."
)


class VideoModel(lmms):
    """A model folder, asked greedily with lmms-eval's prompts.

    Args:
        pretrained: A name on the hub, a model's folder, or an adapter's.
        fps: Frames a second.
        max_frames: At most this many; pixels are limited to the paper's 3,584 visual tokens.
        max_new_tokens: Longest answer; 0 leaves it to the task. Tasks allow 16 or so, too few
            for a thought.
        think: Ask for a thought and an answer in tags.
        batch_size: Prompts decoded together.
        device: Where to put it; by default a CUDA GPU if there is one.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "data_samples/tiny_model",
        fps: float = 2.0,
        max_frames: int = 64,
        max_new_tokens: int = 0,
        think: bool = False,
        batch_size: int | str = 1,
        device: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            raise ValueError(f"unknown model_args {sorted(unknown)}")
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.processor = load_model(pretrained, device=where)
        self.fps, self.max_frames = float(fps), int(max_frames)
        self.max_new_tokens, self.think = int(max_new_tokens), bool(think)
        self.batch_size = int(batch_size)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answer requests in order; those that want other lengths are decoded apart."""
        asked = [self._question(request) for request in requests]
        said: dict[int, str] = {i: FAILED for i, row in enumerate(asked) if "prompt" not in row}
        for length in sorted({row["length"] for row in asked}):
            places = [i for i, r in enumerate(asked) if r["length"] == length and i not in said]
            texts = answer_greedily(
                self.model,
                self,
                [asked[i] for i in places],
                max_completion_length=length,
                batch_size=self.batch_size,
                progress="lmms-eval",
            )
            said |= dict(zip(places, texts, strict=True))
        return [_plain(said[i], row["until"]) for i, row in enumerate(asked)]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Stand in for a loader: the prompts are there already."""
        return {"records": rows, "prompts": [row["prompt"] for row in rows]}

    def _question(self, request: Instance) -> dict[str, Any]:
        context, options, doc_to_visual, place, task, split = request.args
        if options.get("do_sample") and options.get("temperature", 1):
            raise ValueError(f"{task} wants sampled answers; this adapter answers greedily")
        until = options.get("until") or []
        row = {
            "length": self.max_new_tokens or int(options.get("max_new_tokens", 128)),
            "until": [until] if isinstance(until, str) else list(until),
        }
        try:
            clip = self._clip(doc_to_visual(self.task_dict[task][split][place]))
        except (VideoError, FileNotFoundError):
            return row
        text = context + THINK if self.think else context
        return row | {"prompt": prompt_inputs(self.processor, clip, text)}

    def _clip(self, visuals: Sequence[Any]) -> Clip:
        if len(visuals) == 1 and isinstance(visuals[0], str):
            return read_clip(
                visuals[0],
                fps=self.fps,
                max_frames=self.max_frames,
                max_pixels=max_pixels(self.max_frames),
            )
        if not visuals:
            raise VideoError("the task gives no video")
        step = max(1, -(-len(visuals) // self.max_frames))
        frames = np.stack([np.asarray(picture.convert("RGB")) for picture in visuals[::step]])
        times = np.arange(0, len(visuals), step) / PICTURES_PER_SECOND
        return Clip(frames, times, len(visuals) / PICTURES_PER_SECOND, "pictures")

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("choose a task that generates, such as perceptiontest_val_mc")

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise NotImplementedError("tasks of several rounds are not supported")


def _plain(text: str, until: Sequence[str]) -> str:
    """Return what is in the answer's tags, if there are any, up to the first stop."""
    block = extract_answer(text).value
    plain = text if block is None else block
    for stop in until:
        plain = plain.partition(stop)[0]
    return plain
