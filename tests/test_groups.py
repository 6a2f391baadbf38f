"""The shared prefix is exact: same log-probabilities and gradients as separate rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import CHECKPOINTING, FAMILIES, noise_clip

from vcr1_lib.groups import encode_prompts, pack, score_groups, with_pixels
from vcr1_lib.groups.rollout import answer_noise, sample_groups
from vcr1_lib.groups.separate_rows import TOLERANCE, score_rows
from vcr1_lib.models import banned_tokens, collate_prompts, family_of
from vcr1_lib.models.processing import prompt_inputs

LENGTHS = [[5, 1, 0, 9], [3, 9, 2, 7]]
# 60 temporal grids two seconds apart: temporal ids far beyond the prompt's last text id.
CLIPS = {"short": [4, 6], "long": [120, 8]}


def batch_of(model: Any, processor: Any, frame_counts: list[int]) -> tuple[Any, list[Any]]:
    pad = processor.tokenizer.pad_token_id
    rows = [
        prompt_inputs(processor, noise_clip(n, seed=n), "When?" + "!" * n) for n in frame_counts
    ]
    family = family_of(model)
    return collate_prompts(rows, family, pad), [collate_prompts([r], family, pad) for r in rows]


def random_answers(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(LENGTHS)
    mask = torch.arange(9) < lengths[..., None]
    tokens = torch.randint(0, 256, mask.shape, generator=generator)
    return tokens, mask


def relative(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    gap = sum(float((x - y).pow(2).sum()) for x, y in zip(a, b, strict=True)) ** 0.5
    return gap / sum(float(y.pow(2).sum()) for y in b) ** 0.5


@pytest.mark.parametrize("clips", CLIPS)
@pytest.mark.parametrize("name", FAMILIES)
def test_shared_forward_equals_separate_rows(name: str, clips: str) -> None:
    model, processor = FAMILIES[name]()
    batch, singles = batch_of(model, processor, CLIPS[clips])
    tokens, mask = random_answers()
    weight = torch.randn(mask.shape, generator=torch.Generator().manual_seed(1))

    gradients, logps = [], []
    for shared in (True, False):
        model.zero_grad()
        if shared:
            out = score_groups(model, with_pixels(model, batch), tokens, mask, temperature=0.9)
        else:
            out = torch.cat(
                [
                    score_rows(model, one, tokens[i : i + 1], mask[i : i + 1], temperature=0.9)
                    for i, one in enumerate(singles)
                ]
            )
        (out * weight).sum().backward()
        logps.append(out.detach())
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])

    assert (logps[0] - logps[1]).abs().max() < 1e-5
    assert relative(gradients[0], gradients[1]) < 1e-4
    if clips == "long" and name == "qwen2_5_vl":
        positions = with_pixels(model, batch).position_ids
        assert positions[0, 0].max() > positions[0, 0, -1], "the clip must outrun the text"


@pytest.mark.parametrize("name", FAMILIES)
def test_features_encoded_once_give_the_same_scores(name: str) -> None:
    model, processor = FAMILIES[name]()
    batch, _ = batch_of(model, processor, CLIPS["short"])
    tokens, mask = random_answers()
    with torch.no_grad():
        inside = score_groups(model, with_pixels(model, batch), tokens, mask)
        once = score_groups(model, encode_prompts(model, batch), tokens, mask)
    assert torch.equal(inside, once)


@pytest.mark.parametrize("clips", CLIPS)
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_scored_is_what_was_sampled(name: str, clips: str) -> None:
    model, processor = FAMILIES[name]()
    batch, _ = batch_of(model, processor, CLIPS[clips])
    banned = banned_tokens(model, processor)
    options = {"temperature": 0.8, "banned": banned}
    prompts = encode_prompts(model, batch)
    noise = answer_noise(0, 3, [11, 12], group=3, length=12)
    answers = sample_groups(
        model, prompts, noise=noise, eos_token_id=processor.tokenizer.eos_token_id, **options
    )
    with torch.no_grad():
        scored = score_groups(model, prompts, answers.tokens, answers.mask, **options)
    assert not banned[answers.tokens[answers.mask]].any()
    assert (scored - answers.logps).abs().max() < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_answers_equal_generate(name: str) -> None:
    model, processor = FAMILIES[name]()
    batch, singles = batch_of(model, processor, CLIPS["long"])
    eos = processor.tokenizer.eos_token_id
    prompts = encode_prompts(model, batch)
    noise = torch.zeros(2, 1, 6)
    ours = sample_groups(model, prompts, noise=noise, eos_token_id=eos, temperature=0.0)
    for i, one in enumerate(singles):
        row = model.generate(**one, do_sample=False, max_new_tokens=6, eos_token_id=eos)
        theirs = row[0, one["input_ids"].shape[1] :]
        assert ours.tokens[i, 0, : len(theirs)].tolist() == theirs.tolist()


def test_answers_do_not_change_with_the_batch() -> None:
    model, processor = FAMILIES["smolvlm"]()
    batch, singles = batch_of(model, processor, CLIPS["short"])
    eos = processor.tokenizer.eos_token_id
    noise = answer_noise(0, 0, [5, 6], group=4, length=8)
    together = sample_groups(model, encode_prompts(model, batch), noise=noise, eos_token_id=eos)
    for i, one in enumerate(singles):
        alone = sample_groups(
            model, encode_prompts(model, one), noise=noise[i : i + 1], eos_token_id=eos
        )
        width = alone.tokens.shape[-1]
        assert torch.equal(alone.tokens[0], together.tokens[i, :, :width])


def test_each_answer_sees_the_prompt_and_its_own_past_only() -> None:
    model, processor = FAMILIES["smolvlm"]()
    _, singles = batch_of(model, processor, [2])
    prompts = with_pixels(model, singles[0])
    width = prompts.input_ids.shape[1]
    tokens = torch.zeros(1, 2, 2, dtype=torch.long)
    seen = pack(prompts, tokens, torch.ones(1, 2, 2, dtype=torch.bool)).attention_mask[0, 0]
    assert seen[0].tolist() == [True] * width + [False] * 4, "the prompt's last token"
    answers = seen[1:, width:].int().tolist()
    assert seen[1:, :width].all()
    assert answers == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_noise_belongs_to_the_answer_alone() -> None:
    pair = answer_noise(3, 7, [1, 2], group=4, length=5)
    alone = answer_noise(3, 7, [2], group=2, length=5)
    assert torch.equal(pair[1, :2], alone[0])
    assert not torch.equal(pair[0], answer_noise(3, 8, [1], group=4, length=5)[0])


ADAPTED = r".*(language_model|text_model).*\.(q_proj|v_proj)"


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("name", FAMILIES)
def test_shared_forward_is_exact_with_adapters(name: str, checkpointing: bool) -> None:
    plain, processor = FAMILIES[name]()
    torch.manual_seed(0)
    model = get_peft_model(plain, LoraConfig(r=2, target_modules=ADAPTED, init_lora_weights=False))
    if checkpointing:
        model.enable_input_require_grads()
        getattr(plain, f"{CHECKPOINTING}_enable")({"use_reentrant": False})
    model.train()
    assert_exact(model, processor)


def assert_exact(model: Any, processor: Any) -> None:
    """Compare the adapters' log-probabilities and gradients with those of separate rows."""
    batch, singles = batch_of(model, processor, CLIPS["long"])
    tokens, mask = random_answers()
    weight = torch.randn(mask.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        prompts = encode_prompts(model, batch)
    shared = score_groups(model, prompts, tokens, mask)
    rows = torch.cat(
        [score_rows(model, b, tokens[i : i + 1], mask[i : i + 1]) for i, b in enumerate(singles)]
    )
    gradients = [gradient_of(model, (x * weight).sum()) for x in (shared, rows)]
    assert (shared - rows).abs().max() < 1e-5
    assert len(gradients[0]) == len([n for n, _ in model.named_parameters() if "lora_" in n])
    assert relative(gradients[0], gradients[1]) < 1e-4


def gradient_of(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", FAMILIES)
def test_shared_forward_is_exact_in_half_precision(name: str) -> None:
    model, processor = FAMILIES[name]()
    model.bfloat16()
    batch, singles = batch_of(model, processor, CLIPS["long"])
    for part in (batch, *singles):
        part.update({k: v.bfloat16() for k, v in part.items() if v.dtype == torch.float32})
        if "second_per_grid_ts" in part:
            part["second_per_grid_ts"] = part["second_per_grid_ts"].float()
    tokens, mask = random_answers()
    with torch.no_grad():
        shared = score_groups(model, encode_prompts(model, batch), tokens, mask)
        rows = [
            score_rows(model, b, tokens[i : i + 1], mask[i : i + 1]) for i, b in enumerate(singles)
        ]
    assert (shared - torch.cat(rows)).abs().max() < TOLERANCE[torch.bfloat16] / 5


def test_an_adapted_head_is_scored_as_it_is() -> None:
    plain, processor = FAMILIES["smolvlm"]()
    torch.manual_seed(0)
    model = get_peft_model(
        plain, LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False)
    )
    batch, singles = batch_of(plain, processor, CLIPS["short"])
    tokens, mask = random_answers()
    with torch.no_grad():
        shared = score_groups(model, encode_prompts(model, batch), tokens, mask)
        row = score_rows(model, singles[0], tokens[:1], mask[:1])
        with model.disable_adapter():
            bare = score_rows(model, singles[0], tokens[:1], mask[:1])
    assert (shared[:1] - row).abs().max() < 1e-5
    assert (bare - row).abs().max() > 1e-3


def test_the_head_is_as_before_after_scoring() -> None:
    model, processor = FAMILIES["smolvlm"]()
    batch, _ = batch_of(model, processor, CLIPS["short"])
    tokens, mask = random_answers()
    prompts = with_pixels(model, batch)
    score_groups(model, prompts, tokens, mask)
    assert "forward" not in vars(model.lm_head)
    with pytest.raises(AttributeError):
        score_groups(model, prompts._replace(vision={"pixel_values": 3}), tokens, mask)
    assert "forward" not in vars(model.lm_head)
