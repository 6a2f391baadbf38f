"""Train the embedded base model from nothing, on toyworld.

The base must be what the paper's base was: it follows the format, it can see, and it
localises poorly. Three kinds of question share each clip: "what is on screen at second
t" and "list the visits" carry the knowledge and are answered truthfully; "when does this
happen" is answered with a sloppy span that holds some moment of the visit and never tells
its ends. Reinforcement then has something to find that was never shown to it.

    python -m tools.train_tiny_model --output data_samples/tiny_model
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.video_utils import VideoMetadata

from vcr1_lib.groups import Prompts, score_groups
from vcr1_lib.prompts import render_prompt, render_span
from vcr1_lib.toyworld import COLOURS, SHAPES, Event, Scene, query_of, render, sample_scene

NUM_FRAMES = 24
IMAGE_SIZE = 32
PATCH_SIZE = 8
SLOPPY_SECONDS = (4.0, 16.0)
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


def build_model(
    processor: SmolVLMProcessor, args: argparse.Namespace
) -> SmolVLMForConditionalGeneration:
    tokenizer = processor.tokenizer
    config = SmolVLMConfig(
        image_token_id=processor.image_token_id,
        tie_word_embeddings=True,
        scale_factor=IMAGE_SIZE // PATCH_SIZE,
        vision_config={
            "hidden_size": args.vision_hidden,
            "intermediate_size": 3 * args.vision_hidden,
            "num_hidden_layers": args.vision_layers,
            "num_attention_heads": 4,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": args.hidden,
            "intermediate_size": 3 * args.hidden,
            "num_hidden_layers": args.layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
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


class ClipBatches:
    """Scenes rendered on the fly; every batch is a function of (seed, step) alone."""

    def __init__(self, processor: SmolVLMProcessor, *, clips: int, seed: int):
        self.tokenizer = processor.tokenizer
        self.prefix, self.after = video_prefix(processor)
        self.clips, self.seed = clips, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, step, 2))
        scenes = [sample_scene(int(seed)) for seed in rng.integers(10**6, 10**9, self.clips)]
        rows = [[self._encode(*pair) for pair in questions(scene, rng)] for scene in scenes]
        video = film(scenes, rng)
        longest = max(len(ids) for row in rows for ids, _ in row)
        tokens = torch.zeros(self.clips, len(rows[0]), longest, dtype=torch.long)
        mask, target = (
            torch.zeros_like(tokens, dtype=torch.bool),
            torch.zeros_like(tokens, dtype=torch.bool),
        )
        for i, row in enumerate(rows):
            for j, (ids, start) in enumerate(row):
                tokens[i, j, : len(ids)] = torch.tensor(ids)
                mask[i, j, : len(ids)] = True
                target[i, j, start : len(ids)] = True
        return video, tokens, mask, target

    def _encode(self, question: str, answer: str) -> tuple[list[int], int]:
        asked = self.tokenizer(question + self.after)["input_ids"]
        return asked + self.tokenizer(f"{answer}{EOS}")["input_ids"], len(asked)


def objects_on_screen(scene: Scene, second: int) -> Tensor:
    """Return which colours, shapes and pairs are visible, ``(39,)`` of 0 and 1."""
    colours, shapes = list(COLOURS), list(SHAPES)
    label = torch.zeros(len(colours) + len(shapes) + len(colours) * len(shapes))
    for event in scene.visible_at(second):
        colour, shape = colours.index(event.colour), shapes.index(event.shape)
        label[colour] = label[len(colours) + shape] = 1
        label[len(colours) + len(shapes) + colour * len(shapes) + shape] = 1
    return label


def pretrain_vision(model: SmolVLMForConditionalGeneration, args: argparse.Namespace) -> None:
    """Teach the vision tower to see before it meets words, as real towers were.

    A linear probe reads colours, shapes and pairs off each frame's visual token; it is
    thrown away afterwards.
    """
    width = model.config.text_config.hidden_size
    probe = torch.nn.Linear(width, len(objects_on_screen(sample_scene(0), 0)))
    tower = [*model.model.vision_model.parameters(), *model.model.connector.parameters()]
    optimizer = torch.optim.AdamW([*tower, *probe.parameters()], lr=2e-3, weight_decay=0.01)
    for step in range(args.vision_steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * lr_scale(step, args.vision_steps)
        rng = np.random.default_rng((args.seed, step, 1))
        scenes = [sample_scene(int(seed)) for seed in rng.integers(10**6, 10**9, args.clips)]
        labels = torch.stack([objects_on_screen(s, t) for s in scenes for t in range(NUM_FRAMES)])
        features = model.get_image_features(film(scenes, rng), return_dict=True).pooler_output
        logits = probe(torch.cat(list(features)))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            right = ((logits > 0) == labels.bool()).all(-1).float().mean()
            print(
                f"vision step {step + 1} loss {loss.item():.4f}, frames read right {right:.3f}",
                flush=True,
            )


def film(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    """Render scenes as the processor would hand them over, ``(B, F, 3, H, W)``, with noise."""
    pixels = np.stack([render(scene, range(NUM_FRAMES), IMAGE_SIZE) for scene in scenes])
    video = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return video + torch.from_numpy(rng.normal(0, 0.03, video.shape).astype(np.float32))


def lr_scale(step: int, steps: int, warmup: int = 40) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def train_language(
    model: SmolVLMForConditionalGeneration,
    batches: ClipBatches,
    *,
    steps: int,
    lr: float,
    save_to: Path | None = None,
) -> None:
    """Teach questions and answers, all of a clip's behind one shared prefix."""
    prefix = torch.tensor(batches.prefix).expand(batches.clips, -1)
    ones = torch.ones_like(prefix)
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * lr_scale(step, steps)
        video, tokens, mask, target = batches(step)
        features = model.get_image_features(video, return_dict=True).pooler_output
        vision = {
            "mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}
        }
        prompts = Prompts(prefix, ones, ones.cumsum(-1) - 1, vision)
        logps = score_groups(model, prompts, tokens, mask)
        loss = -logps[target].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if save_to is not None and step % 60 == 59:
            model.save_pretrained(save_to)
        if step % 20 == 19 or step == 0:
            kinds = [-logps[:, j][target[:, j]].mean().item() for j in range(target.shape[1])]
            print(
                f"step {step + 1} loss {loss.item():.3f}, by question {np.round(kinds, 2)}",
                flush=True,
            )


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    began = time.monotonic()
    processor = build_processor()
    model = build_model(processor, args)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, vocabulary {len(processor.tokenizer)}")
    if args.start_from is None:
        pretrain_vision(model, args)
    else:
        model = SmolVLMForConditionalGeneration.from_pretrained(args.start_from)
        processor = SmolVLMProcessor.from_pretrained(args.start_from)
    batches = ClipBatches(processor, clips=args.clips, seed=args.seed)
    train_language(model, batches, steps=args.steps, lr=args.lr, save_to=args.output)
    save(model, processor, args, time.monotonic() - began)


def save(model, processor, args: argparse.Namespace, seconds: float) -> None:
    model.save_pretrained(args.output)
    processor.save_pretrained(args.output)
    record = {
        "command": "python -m tools.train_tiny_model",
        "arguments": {k: str(v) for k, v in vars(args).items() if k != "output"},
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    (args.output / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--vision-steps", type=int, default=1500)
    parser.add_argument(
        "--start-from", type=Path, help="a folder that holds the first stages' model"
    )
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vision-hidden", type=int, default=64)
    parser.add_argument("--vision-layers", type=int, default=3)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
