"""Hours, traffic and cost of a run before it starts, from one GPU to many.

A group's work is counted; how fast a GPU does it is assumed, or measured and handed in. Sampling
is bound by memory, so a decoding step takes as long as the weights and the cache take to read.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from vcr1_lib.planning.footprint import NF4_DOUBLE, footprint
from vcr1_lib.planning.setup import Setup
from vcr1_lib.planning.shapes import Shape, Video

Mark = Literal["measured", "derived", "assumed"]
# Share of the peak that matrix products reach, and of the bandwidth that decoding reaches.
UTILISATION, BANDWIDTH_SHARE = 0.35, 0.5
# Seconds to launch one layer's kernels from Python: the floor of a decoding step.
LAUNCH_SECONDS: Final = 1e-3
# Tokens of an answer, where the longest allowed is longer.
ANSWER_TOKENS: Final = 200
TERA, GIGA = 1e12, 1e9
# What scripts/train_grpo.py answers besides the held-out questions, once before: training ones.
BASE_SAMPLES: Final = 200
# Questions that an evaluation answers together.
EVAL_BATCH: Final = 16


class GPU(NamedTuple):
    """A card, from its maker's data sheet; memory as torch reports it.

    Attributes:
        memory_gib: Usable.
        teraflops: Peak of dense 16-bit matrix products.
        bandwidth_gb: Memory, in GB a second.
        link_gb: To its neighbours, in GB a second and direction.
    """

    memory_gib: float
    teraflops: float
    bandwidth_gb: float
    link_gb: float


GPUS: Final[dict[str, GPU]] = {
    "T4": GPU(14.5, 65, 300, 16),
    "L4": GPU(21.9, 121, 300, 32),
    "A10G": GPU(22.1, 70, 600, 32),
    "RTX-4090": GPU(23.6, 165, 1008, 32),
    "A100-80": GPU(79.1, 312, 2039, 300),
    "H100-80": GPU(79.1, 989, 3350, 450),
}


class Work(NamedTuple):
    """Floating-point operations of one group; a multiplication and an addition are two.

    Attributes:
        vision: Encoding the clip.
        prefill: Reading the prompt once.
        decode: Writing G answers.
        update: Scoring them with gradient, recomputed layers included.
        reference: Scoring them without adapters or by the frozen copy.
    """

    vision: float
    prefill: float
    decode: float
    update: float
    reference: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


def group_work(shape: Shape, setup: Setup, video: Video, answer_tokens: int) -> Work:
    """Count a group's operations; the vision tower's attention is left out.

    Args:
        shape: Of the model.
        setup: The run's options.
        video: The prompt.
        answer_tokens: R, of an average answer.
    """
    prompt, answers = video.prompt_tokens, setup.num_generations * answer_tokens
    row, pair = prompt + answers, 4 * shape.attention * shape.layers
    head = 2 * shape.vocab * shape.hidden
    layers = 2 * shape.linear
    vision = 2.0 * shape.vision * video.patches
    # With a mask the kernel computes every pair of the row.
    forward = layers * row + pair * row**2
    passes = 1 + (1 if setup.use_peft else 2) + setup.gradient_checkpointing
    update = 1.0 * passes * forward + (2 if setup.use_peft else 4) * head * answers
    if setup.train_vision:
        update += (3 + setup.gradient_checkpointing) * vision
    return Work(
        vision=vision,
        prefill=layers * prompt + pair * prompt**2 / 2,
        decode=(layers + head) * answers + pair * answers * (prompt + answer_tokens / 2),
        update=update,
        reference=forward + head * answers if setup.beta else 0.0,
    )


class Schedule(NamedTuple):
    """How long a run takes.

    Attributes:
        steps: Optimizer steps of the whole run.
        tokens_a_step: Prompt and answer tokens that all GPUs handle in one.
        work: Of one group.
        rollout_seconds: Of one group, vision included.
        update_seconds: Of one group, the reference included.
        traffic_bytes: That a GPU sends in one step.
        traffic_seconds: At the link's rate, nothing hidden behind work.
        hours: Of the training itself.
        evaluation_hours: Of answering before and after it; 0 where no questions are named.
        cost: Of both, in the price's currency; ``None`` without a price.
        speed: Whether the seconds per group were measured or are assumed.
    """

    steps: int
    tokens_a_step: int
    work: Work
    rollout_seconds: float
    update_seconds: float
    traffic_bytes: float
    traffic_seconds: float
    hours: float
    evaluation_hours: float
    cost: float | None
    speed: Mark


def schedule(
    shape: Shape,
    setup: Setup,
    video: Video,
    gpu: GPU,
    *,
    samples: int,
    eval_samples: int = 0,
    answer_tokens: int | None = None,
    utilisation: float = UTILISATION,
    price: float | None = None,
    group_seconds: tuple[float, float] | None = None,
) -> Schedule:
    """Say how long a run takes and what it costs.

    Args:
        shape: Of the model.
        setup: The run's options; ``num_gpus`` and ``strategy`` among them.
        video: The average prompt.
        gpu: The card.
        samples: Rows of the training set.
        eval_samples: Held-out questions, answered by the base and by the tuned model. Besides,
            the base answers some of the training set. 0 counts no evaluation.
        answer_tokens: R of an average answer.
        utilisation: Share of the peak that matrix products reach, above 0 and up to 1.
        price: Of one GPU for an hour.
        group_seconds: Measured seconds of rollout and update of one group, instead of what the
            card's data sheet lets expect.

    Raises:
        ValueError: If a number is out of range, or there are fewer samples than a step takes.
    """
    length = answer_tokens or min(setup.max_completion_length, ANSWER_TOKENS)
    a_rank = setup.per_device_train_batch_size * setup.gradient_accumulation_steps
    if not 0 < utilisation <= 1:
        raise ValueError(f"expected a utilisation above 0 and up to 1, got {utilisation}")
    if length > setup.max_completion_length:
        raise ValueError(
            f"expected answer_tokens <= max_completion_length ({setup.max_completion_length}), "
            f"got {length}"
        )
    if samples < a_rank * setup.num_gpus:
        raise ValueError(
            f"expected at least the {a_rank * setup.num_gpus} samples of one step, got {samples}"
        )
    if eval_samples < 0:
        raise ValueError(f"expected eval_samples >= 0, got {eval_samples}")
    work = group_work(shape, setup, video, length)
    rate = gpu.teraflops * TERA * utilisation
    if group_seconds is None:
        speed: Mark = "assumed"
        rollout = _answer_seconds(shape, setup, video, gpu, rate=rate, length=length)
        update = (work.update + work.reference) / rate
    else:
        speed, (rollout, update) = "measured", group_seconds
    traffic = step_traffic(shape, setup, video)
    traffic_seconds = traffic / (gpu.link_gb * GIGA)
    steps = int(samples / (a_rank * setup.num_gpus) * setup.num_train_epochs)
    if setup.max_steps > 0:
        steps = setup.max_steps
    hours = steps * (a_rank * (rollout + update) + traffic_seconds) / 3600
    questions = 2 * eval_samples + min(samples, BASE_SAMPLES) if eval_samples else 0
    greedy = setup._replace(num_generations=1)
    batch = _answer_seconds(shape, greedy, video, gpu, rate=rate, length=length, prompts=EVAL_BATCH)
    evaluation = questions * batch / EVAL_BATCH / setup.num_gpus / 3600
    return Schedule(
        steps=steps,
        tokens_a_step=a_rank * setup.num_gpus
        * (video.prompt_tokens + setup.num_generations * length),
        work=work,
        rollout_seconds=rollout,
        update_seconds=update,
        traffic_bytes=traffic,
        traffic_seconds=traffic_seconds,
        hours=hours,
        evaluation_hours=evaluation,
        cost=None if price is None else price * (hours + evaluation) * setup.num_gpus,
        speed=speed,
    )  # fmt: skip


def _answer_seconds(
    shape: Shape,
    setup: Setup,
    video: Video,
    gpu: GPU,
    *,
    rate: float,
    length: int,
    prompts: int = 1,
) -> float:
    """Return the seconds to encode prompts and write all their answers together."""
    work = group_work(shape, setup, video, length)
    # The cache is half filled with answers, on average.
    cached = prompts * (video.prompt_tokens + setup.num_generations * length / 2)
    size = setup.compute_bytes
    # NF4 is read, written in 16 bit and read again.
    a_weight = NF4_DOUBLE + 2 * size if setup.load_in_4bit else size
    head = (shape.head or shape.embeddings) * size
    cache = 2 * shape.layers * shape.key_values * size * cached
    read = (shape.linear * a_weight + head + cache) / (gpu.bandwidth_gb * GIGA * BANDWIDTH_SHARE)
    decoding = length * max(read, shape.layers * LAUNCH_SECONDS)
    return prompts * (work.vision + work.prefill) / rate + max(
        decoding, prompts * work.decode / rate
    )


def step_traffic(shape: Shape, setup: Setup, video: Video) -> float:
    """Return the bytes a GPU sends in one optimizer step, by ring collectives.

    ``ddp`` averages gradients; ``zero2`` scatters them and gathers weights; ``zero3`` and
    ``fsdp`` gather weights for the rollout (once, kept whole), for the update's forward and
    backward of each micro-batch, and for the reference.

    Reference: ZeRO (arXiv 1910.02054), section 7.
    """
    ranks = setup.num_gpus
    if ranks == 1:
        return 0.0
    alone = footprint(shape, setup._replace(num_gpus=1), video)
    gradients, weights = alone.gradients, alone.weights + alone.adapters
    share = (ranks - 1) / ranks
    if setup.strategy == "ddp":
        return 2 * share * gradients
    if setup.strategy == "zero2":
        trained = alone.adapters if setup.use_peft else weights
        return share * (gradients + trained)
    gathers = 3 + (setup.beta != 0)
    return share * setup.gradient_accumulation_steps * (gathers * weights + gradients)
