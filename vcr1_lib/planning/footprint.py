r"""Memory of one GRPO step, counted before it runs.

A step samples with one cache a group, then scores all of a group in one shared-prefix row of
:math:`L = P + G R` tokens (:mod:`vcr1_lib.groups`); without the shared prefix in G rows of
:math:`P + R`. What a decoder layer keeps for its backward,
an element a token: the inputs of both norms and of the projections (:math:`4H`), queries, keys
and values (repeated to every head) and the attention's output (:math:`4A`), the MLP's gate, its
activation, up and their product (:math:`4I`), and a row of the attention mask (:math:`L`). With
gradient checkpointing a layer keeps :math:`H` and one layer at a time the rest.

All counts are derived; ``MARGIN`` is assumed. Sizes are in bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from vcr1_lib.groups import CHUNK_SCORES
from vcr1_lib.planning.setup import DTYPE_BYTES, Setup
from vcr1_lib.planning.shapes import Shape, Video

GIB: Final = 2**30
# Assumed: the CUDA context, workspaces of cuBLAS, and what the allocator cannot reuse.
MARGIN: Final = int(1.25 * GIB)
# bitsandbytes: one absmax for 64 weights, of double quantisation one byte, and one fp32 for 256.
NF4_DOUBLE, NF4_SINGLE = 0.5 + 1 / 64 + 4 / (64 * 256), 0.5 + 4 / 64
# Two states: a byte each and one fp32 absmax for 256.
ADAM_8BIT: Final = 2 * (1 + 4 / 256)


class Footprint(NamedTuple):
    """Bytes on one GPU.

    Attributes:
        weights: Of the model, by their stored form.
        adapters: LoRA's weights, fp32.
        gradients: Of what is trained.
        optimizer: Its states, and fp32 master weights under DeepSpeed.
        reference: A frozen copy, where KL needs one.
        casts: 16-bit copies and dequantised or gathered weights that a layer works with.
        saved: Activations kept for the backward, at its start.
        layer: What one layer adds while its backward runs.
        logits: Chunk of scores, the chosen hidden states and the head's gradient.
        cache: Keys and values of prompt and answers.
        sampling: What prefill or decoding adds to the cache.
        vision: Pixels and activations of the tower while it encodes.
        features: Pixels and encoded video, kept through the step.
        check: At first use a group is scored packed and answer by answer, without gradient.
        accumulates: Whether gradients wait while activations grow.
        margin: Assumed: context, workspaces, fragmentation.
    """

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    reference: int
    casts: int
    saved: int
    layer: int
    logits: int
    cache: int
    sampling: int
    vision: int
    features: int
    check: int
    accumulates: bool
    margin: int

    @property
    def held(self) -> int:
        """What is there all the time."""
        kept = self.gradients if self.accumulates else 0
        return self.weights + self.adapters + self.optimizer + self.reference + kept

    @property
    def rollout(self) -> int:
        """What sampling adds, the check at first use aside."""
        return self.features + max(self.vision, self.cache + self.sampling + self.casts)

    @property
    def update(self) -> int:
        """What the training pass adds: activations fall while gradients rise."""
        start = self.saved + max(self.layer, self.logits)
        end = self.layer + (0 if self.accumulates else self.gradients)
        return self.features + self.casts + max(start, end)

    @property
    def total(self) -> int:
        """The peak."""
        first = self.features + self.check + self.casts
        return self.held + max(self.rollout, self.update, first) + self.margin


def footprint(shape: Shape, setup: Setup, video: Video, *, margin: int = MARGIN) -> Footprint:
    """Count a step's memory on one GPU.

    Args:
        shape: Of the model.
        setup: The run's options.
        video: The longest prompt.
        margin: Added on top.
    """
    group, answer = setup.num_generations, setup.max_completion_length
    batch, size, shared = (
        setup.per_device_train_batch_size,
        setup.compute_bytes,
        setup.shared_prefix,
    )
    prompt, tokens = video.prompt_tokens, group * answer
    saved, layer = _activations(shape, setup, video)
    filled = prompt + (tokens if shared else answer)
    written = group if shared else 1
    tower = _tower_forward(shape, setup, video)
    return Footprint(
        **_fixed(shape, setup),
        saved=batch * saved,
        layer=batch * layer,
        logits=_logits(shape, setup),
        cache=batch * shape.layers * 2 * shape.key_values * size * filled,
        sampling=max(
            batch * prompt * (3 * shape.intermediate + 4 * shape.hidden) * size,
            # Keys and values repeated to every head; a row of scores, its softmax and fp64 sums.
            2 * batch * shape.attention * size * filled + batch * written * shape.vocab * 36,
        ),
        vision=batch * tower,
        features=batch
        * (prompt * shape.hidden * size * (1 + shape.deepstack) + _pixels(shape, video)),
        check=batch * _check(shape, setup, video) if shared else 0,
        accumulates=setup.gradient_accumulation_steps > 1,
        margin=margin,
    )


def _check(shape: Shape, setup: Setup, video: Video) -> int:
    """Return the most of encoding again, one answer with its logits, and the packed row."""
    size, answer = setup.compute_bytes, setup.max_completion_length
    answers = setup.num_generations * answer
    row = video.prompt_tokens + answers
    packed = row * ((3 * shape.intermediate + 4 * shape.hidden) * size + answers * (1 + size))
    scores = min(answers * shape.vocab, CHUNK_SCORES)
    alone = answer * shape.vocab * (size + 8)
    return max(
        _tower_forward(shape, setup, video), alone, packed + scores * (8 if size == 4 else 12)
    )


def _logits(shape: Shape, setup: Setup) -> int:
    batch, size = setup.per_device_train_batch_size, setup.compute_bytes
    tokens = setup.num_generations * setup.max_completion_length
    head_gradient = 0 if setup.use_peft else shape.vocab * shape.hidden * 4
    if not setup.shared_prefix:
        # The answers' logits and their gradient; of their scores, fp32, three copies.
        return tokens * (2 * size + 12) * shape.vocab + head_gradient
    scores = min(batch * tokens * shape.vocab, CHUNK_SCORES)
    plain = DTYPE_BYTES[setup.dtype] == 4 and size == 4
    # Scores and their softmax; in 16 bit the product before, and the chances after.
    return scores * (8 if plain else 12) + batch * tokens * shape.hidden * 2 * size + head_gradient


def _fixed(shape: Shape, setup: Setup) -> dict[str, int]:
    stored, size, shards = DTYPE_BYTES[setup.dtype], setup.compute_bytes, setup.shards
    weights, casts = float(shape.total * stored), 0.0
    widest = max(inputs * outputs for _, inputs, outputs in shape.linears)
    if setup.load_in_4bit:
        nf4 = NF4_DOUBLE if setup.use_bnb_nested_quant else NF4_SINGLE
        weights += shape.linear * (nf4 - stored)
        casts += widest * size
    targets = setup.lora_target_modules
    lora = shape.adapters(setup.lora_r, frozenset(targets) if targets else None)
    adapters = lora if setup.use_peft else 0
    frozen_tower = 0 if setup.train_vision else shape.vision
    trained = adapters if setup.use_peft else shape.total - frozen_tower
    trained_bytes = 4 if setup.use_peft else stored
    if size < trained_bytes:
        casts += trained * size
    gradients = trained * trained_bytes
    if setup.optim.startswith("sgd"):
        optimizer = 0.0
    elif "8bit" in setup.optim:
        optimizer = trained * ADAM_8BIT
    else:
        optimizer = trained * 2.0 * trained_bytes
    sharded = setup.num_gpus if setup.strategy != "ddp" else 1
    if sharded > 1 and not setup.use_peft and stored == 2:
        optimizer = trained * 12.0
    if setup.num_gpus > 1 and setup.strategy == "ddp":
        casts += gradients  # buckets of the all-reduce
    if shards > 1:
        # The layer at work and the next, gathered; embedding and head stand whole in between.
        casts += (2 * shape.linear / shape.layers + shape.embeddings + shape.head) * size
    reference = weights if setup.beta and not setup.use_peft else 0.0
    return {
        "weights": int(weights / shards),
        "adapters": int(adapters * 4 / shards),
        "gradients": int(gradients / sharded),
        "optimizer": int(optimizer / sharded),
        "reference": int(reference),
        "casts": int(casts),
    }


def _activations(shape: Shape, setup: Setup, video: Video) -> tuple[int, int]:
    """Return what one group's training pass keeps, and what one layer adds in its backward."""
    size, hidden, wide = setup.compute_bytes, shape.hidden, shape.intermediate
    group, answer = setup.num_generations, setup.max_completion_length
    # A packed row's mask has a row for each answer token only.
    copies, width, masked = 1, video.prompt_tokens + group * answer, group * answer
    if not setup.shared_prefix:
        copies, width = group, video.prompt_tokens + answer
        masked = width
    length = copies * width
    kept = (2 * hidden + 4 * shape.attention + 4 * wide) * size + 2 * hidden * 4
    if not setup.use_peft:
        kept += 2 * hidden * size  # the norms' own gradients
    elif size < 4:
        kept += (3 * hidden + shape.attention) * size  # each adapter casts its input again
    kept += masked * size
    backward = 2 * (wide + hidden) * size
    # Embedding, its copy with the video in it, the last norm.
    ends = (2 * size + 8) * hidden
    # Separate rows run the tower inside ``forward``, where PEFT asks its inputs for gradients.
    seen = copies * video.patches if setup.train_vision or not setup.shared_prefix else 0
    tower = seen * shape.vision_layers * size
    if setup.gradient_checkpointing:
        boundaries = length * (shape.layers * hidden * size + ends) + tower * shape.vision_hidden
        return boundaries, length * (kept + backward)
    kept_by_all = length * (shape.layers * kept + ends) + tower * _tower_width(shape)
    return kept_by_all, length * backward


def _tower_width(shape: Shape) -> int:
    return 6 * shape.vision_hidden + 3 * shape.vision_intermediate


def _tower_forward(shape: Shape, setup: Setup, video: Video) -> int:
    return video.patches * _tower_width(shape) * setup.compute_bytes


def _pixels(shape: Shape, video: Video) -> int:
    """Return the bytes of the pixels in fp32; Qwen's patches hold two frames."""
    frames = 1 if shape.image_size else 2
    return video.patches * 3 * frames * shape.patch**2 * 4
