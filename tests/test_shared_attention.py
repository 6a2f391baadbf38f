"""A packed row's prompt attends without a mask, and nothing else about a model changes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_groups import CLIPS, batch_of, gradient_of, random_answers, relative
from tiny import FAMILIES
from torch.nn.functional import scaled_dot_product_attention

from vcr1_lib.groups import encode_prompts, padding_inside, score_groups, visible
from vcr1_lib.groups.rollout import answer_noise, sample_groups
from vcr1_lib.models import shared_attention
from vcr1_lib.models.shared_attention import NAME, shared_prefix_attention, use_shared_attention

# Two rows of 6 prompt tokens, the second with padding before the last, and three answers.
OWNER = torch.tensor([[0] * 6 + [1, 1, 2, 3, -1], [0, 0, -1, -1, -1, 0, 1, 2, 2, 2, 3]])


def states(heads: int, length: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, heads, length, 8, generator=generator, requires_grad=True)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_two_parts_equal_one_dense_mask(key_heads: int) -> None:
    inputs = states(4, 11, 0), states(key_heads, 11, 1), states(key_heads, 11, 2)
    module: Any = SimpleNamespace(num_key_value_groups=4 // key_heads)
    out, _ = shared_prefix_attention(module, *inputs, visible(OWNER, rows=6))
    wide = [x.repeat_interleave(4 // x.shape[1], dim=1) for x in inputs]
    dense = scaled_dot_product_attention(*wide, attn_mask=visible(OWNER)).transpose(1, 2)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    weight = weight * (OWNER >= 0)[..., None, None]  # what padding holds is never read
    sums = [(x * weight).sum() for x in (out, dense)]
    gradients = [torch.autograd.grad(x, inputs) for x in sums]
    assert ((out - dense) * weight).abs().max() < 1e-5
    assert relative(list(gradients[0]), list(gradients[1])) < 1e-5


def test_any_other_mask_is_plain_sdpa() -> None:
    inputs = states(4, 11, 0), states(2, 11, 1), states(2, 11, 2)
    module: Any = SimpleNamespace(num_key_value_groups=2)
    for mask in (None, visible(OWNER)):
        ours, _ = shared_prefix_attention(module, *inputs, mask)
        plain, _ = shared_attention._sdpa(module, *inputs, mask)
        assert torch.equal(ours, plain)


def test_padding_moves_to_where_no_prompt_token_sees_it() -> None:
    model, processor = FAMILIES["qwen2_5_vl"]()
    batch, singles = batch_of(model, processor, CLIPS["long"])
    prompts = encode_prompts(model, batch)
    moved = padding_inside(prompts)
    for i, one in enumerate(singles):
        alone = encode_prompts(model, one)
        kept = moved.attention_mask[i].bool()
        assert torch.equal(moved.input_ids[i, kept], alone.input_ids[0])
        assert torch.equal(moved.position_ids[:, i, kept], alone.position_ids[:, 0])
        assert kept[-1], "answers follow the prompt's last token"
    assert not moved.attention_mask[1].bool().all(), "the batch must be padded"
    assert torch.equal(padding_inside(alone).input_ids, alone.input_ids)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_mask_covers_the_prompt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = FAMILIES[name]()
    batch, _ = batch_of(model, processor, CLIPS["long"])
    tokens, mask = random_answers()
    prompts = encode_prompts(model, batch)
    plain, seen = shared_attention._sdpa, []

    def spy(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        seen.append(None if mask is None else tuple(mask.shape))
        return plain(module, query, key, value, mask, **options)

    monkeypatch.setattr(shared_attention, "_sdpa", spy)
    score_groups(model, prompts, tokens, mask).sum().backward()
    answers, width = int(mask.sum((1, 2)).max()), prompts.input_ids.shape[1]
    layers = model.config.get_text_config().num_hidden_layers
    assert seen == [None, (2, 1, 1 + answers, width + answers)] * layers


@pytest.mark.parametrize("name", FAMILIES)
def test_eager_attention_gives_the_same(name: str) -> None:
    noise = answer_noise(0, 0, [1, 2], group=4, length=9)
    logps, gradients, sampled = [], [], []
    for kind in ("sdpa", "eager"):
        model, processor = FAMILIES[name]()
        model.set_attn_implementation(kind)
        batch, _ = batch_of(model, processor, CLIPS["long"])
        with torch.no_grad():
            prompts = encode_prompts(model, batch)
        answers = sample_groups(model, prompts, noise=noise, eos_token_id=-1)
        tokens, mask = random_answers()
        logps.append(score_groups(model, prompts, tokens, mask))
        gradients.append(gradient_of(model, logps[-1].sum()))
        sampled.append(answers)
    assert (logps[0] - logps[1]).abs().max() < 1e-5
    assert relative(*gradients) < 1e-4
    assert torch.equal(sampled[0].tokens, sampled[1].tokens)
    assert (sampled[0].logps - sampled[1].logps).abs().max() < 1e-5


def test_answers_that_are_all_empty_score_nothing() -> None:
    model, processor = FAMILIES["qwen2_5_vl"]()
    batch, _ = batch_of(model, processor, CLIPS["short"])
    tokens, mask = random_answers()
    logps = score_groups(model, encode_prompts(model, batch), tokens, torch.zeros_like(mask))
    assert torch.equal(logps, torch.zeros(mask.shape))


@pytest.mark.parametrize("name", FAMILIES)
def test_only_the_language_layers_change_and_nothing_is_saved(name: str, tmp_path: Path) -> None:
    model, processor = FAMILIES[name]()
    _, (_, one) = batch_of(model, processor, CLIPS["short"])
    options = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": None}
    before = model.generate(**one, **options)
    use_shared_attention(model)
    assert torch.equal(model.generate(**one, **options), before)
    kinds = {type(m).__name__: m.config._attn_implementation for m in model.modules()
             if type(m).__name__.endswith("Attention")}  # fmt: skip
    assert sorted(kinds.values()) == ["sdpa", NAME]
    assert kinds[next(kind for kind in kinds if "Vision" in kind)] == "sdpa"
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
    again = type(model).from_pretrained(tmp_path)
    assert again.config.get_text_config()._attn_implementation == "sdpa"


def test_an_attention_without_such_masks_is_refused() -> None:
    model, _ = FAMILIES["smolvlm"]()
    model.config.get_text_config()._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(ValueError, match=r"'sdpa' or 'eager'.*'flash_attention_2'"):
        use_shared_attention(model)
