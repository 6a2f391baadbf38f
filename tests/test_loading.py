"""Models load by name or folder, in the precision asked for; what cannot load says why."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import bitsandbytes as bnb
import pytest
import torch
from peft import PeftModel
from test_groups import CLIPS, assert_exact, batch_of, random_answers
from tiny import FAMILIES, noise_clip
from torch import nn
from transformers import TrainingArguments
from transformers.integrations.deepspeed import (
    is_deepspeed_zero3_enabled,
    set_hf_deepspeed_config,
    unset_hf_deepspeed_config,
)
from trl import ModelConfig

from scripts.train_grpo import ScriptArguments
from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.groups import encode_prompts, score_groups
from vcr1_lib.groups.rollout import answer_noise, sample_groups
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models import PromptLoader, family_of, loading
from vcr1_lib.models.loading import ModelError, ModelOptions, load_model, merge_adapter
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.options import explained
from vcr1_lib.training.config import VideoGRPOConfig, read_options

ROOT = Path(__file__).parent.parent
TINY = ROOT / "data_samples" / "tiny_model"
FOUR_BITS = {"load_in_4bit": True, "use_peft": True, "lora_r": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    """Save a random model of a family as people's folders look."""

    def save(name: str) -> Path:
        model, processor = FAMILIES[name]()
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


def shake(model: Any) -> None:
    """Give fresh adapters an effect: their second matrix begins at zero."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)


def inside(part: nn.Module, parts: list[nn.Module]) -> bool:
    return any(part is module for whole in parts for module in whole.modules())


@pytest.mark.parametrize("name", FAMILIES)
def test_four_bits_are_the_language_layers_alone(folder: Callable[[str], Path], name: str) -> None:
    model, processor = load_model(folder(name), **FOUR_BITS)
    assert prompt_inputs(processor, noise_clip(2), "When?")["input_ids"].shape[1] > 8
    base = model.get_base_model()
    kept = [*family_of(model).tower(model), base.get_output_embeddings()]
    for path, module in base.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            assert not inside(module, kept), path
            assert module.weight.quant_type == "nf4"
            assert module.weight.quant_state.nested, "double quantisation"
        elif type(module) is nn.Linear and "lora_" not in path:
            assert inside(module, kept), path
    trained = {path for path, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in path and "visual" not in path for path in trained)
    assert not any("vision" in path for path in trained)


@pytest.mark.parametrize("name", FAMILIES)
def test_four_bits_are_exact_and_keep_their_gradient_after_sampling(
    folder: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a CPU with bfloat16 instructions, where sampling repacks weights left alone.
    monkeypatch.setattr(bnb.nn.modules, "has_avx512bf16", lambda: True)
    model, processor = load_model(folder(name), **FOUR_BITS)
    shake(model)
    batch, _ = batch_of(model, processor, CLIPS["short"])
    noise = answer_noise(0, 0, [1, 2], group=2, length=4)
    sample_groups(model.eval(), encode_prompts(model, batch), noise=noise, eos_token_id=-1)
    model.train()
    assert_exact(model, processor)


def test_adapters_may_reach_into_the_tower(folder: Callable[[str], Path]) -> None:
    model, _ = load_model(folder("qwen3_vl"), use_peft=True, train_vision=True)
    trained = {path for path, p in model.named_parameters() if p.requires_grad}
    assert any("visual" in path for path in trained)
    assert any("language_model" in path for path in trained)
    assert not any("lm_head" in path for path in trained)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "float32"), ({"dtype": "bfloat16"}, "bfloat16"), ({"dtype": "float16"}, "float16")],
)
def test_precision_is_the_checkpoints_or_as_asked(options: Any, expected: str) -> None:
    model, _ = load_model(TINY, use_peft=True, **options)
    kinds = {"lora_" in name: p.dtype for name, p in model.named_parameters()}
    # Adapters stay in fp32: a scaler cannot unscale gradients in half precision.
    assert kinds == {True: torch.float32, False: getattr(torch, expected)}


def test_adapters_learn_under_fp16_with_a_scaler() -> None:
    """What a T4 does, on the processor: half-precision weights, autocast, a scaled loss."""
    gradients = []
    for dtype, on in (("float32", False), ("float16", True)):
        torch.manual_seed(0)
        model, processor = load_model(TINY, dtype=dtype, use_peft=True, lora_r=4)
        shake(model)
        model.train()
        batch, _ = batch_of(model, processor, [4, 6])
        tokens, mask = random_answers()
        with torch.no_grad():
            prompts = encode_prompts(model, batch)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=on)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
        with torch.autocast("cpu", dtype=torch.float16, enabled=on):
            loss = score_groups(model, prompts, tokens, mask).mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    full, half = gradients
    assert torch.nn.functional.cosine_similarity(full, half, dim=0) > 0.99


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, processor = load_model(TINY, use_peft=True, lora_r=4)
    shake(model)
    path = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


def scores_of(model: Any, processor: Any) -> torch.Tensor:
    batch, _ = batch_of(model, processor, [4, 6])
    with torch.no_grad():
        return score_groups(model.eval(), encode_prompts(model, batch), *random_answers())


def test_an_adapters_folder_brings_its_base(adapter: Path) -> None:
    bare = scores_of(*load_model(TINY))
    model, processor = load_model(adapter)
    assert isinstance(model, PeftModel)
    assert not any(p.requires_grad for p in model.parameters())
    assert (scores_of(model, processor) - bare).abs().max() > 0.01
    again, _ = load_model(adapter, use_peft=True)
    assert all(p.requires_grad for n, p in again.named_parameters() if "lora_" in n)


def test_a_merged_adapter_needs_no_peft(adapter: Path, tmp_path: Path) -> None:
    merge_adapter(adapter, tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    merged = load_model(tmp_path)
    assert not isinstance(merged[0], PeftModel)
    assert (scores_of(*merged) - scores_of(*load_model(adapter))).abs().max() < 1e-4
    with pytest.raises(ModelError, match=r"with adapter_config\.json, got"):
        merge_adapter(TINY, tmp_path / "out")


class ZeRO3:
    """What Transformers looks at; weights divided at once would need DeepSpeed here."""

    config: ClassVar[dict[str, Any]] = {"zero_optimization": {"stage": 3}}

    def is_zero3(self) -> bool:
        return True


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_weights_are_whole_until_zero3_trains_them(device: str) -> None:
    """Transformers refuses a device under ZeRO-3, and the script answers before it trains."""
    launched = ZeRO3()
    set_hf_deepspeed_config(launched)
    try:
        model, _ = load_model(TINY, device=device)
        assert is_deepspeed_zero3_enabled()
    finally:
        unset_hf_deepspeed_config()
    assert {p.device.type for p in model.parameters()} == {device}
    assert all(p.numel() for p in model.parameters())


def copy_without(path: Path, target: Path, name: str) -> Path:
    shutil.copytree(path, target)
    (target / name).unlink()
    return target


def test_pickles_are_not_read(adapter: Path, tmp_path: Path) -> None:
    model = copy_without(TINY, tmp_path / "model", "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json, found none in"):
        load_model(model)
    (model / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelError, match="pickles are not read"):
        load_model(model)
    small = copy_without(adapter, tmp_path / "adapter", "adapter_model.safetensors")
    (small / "adapter_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelError, match=r"expected adapter_model\.safetensors beside"):
        load_model(small)


def test_an_unknown_family_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(TINY, other)
    config = json.loads((other / "config.json").read_text()) | {"model_type": "llava"}
    # Code that comes with a model would be fetched for this entry; it is never looked at.
    config["auto_map"] = {"AutoConfig": "evil.Config"}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"'llava', and verified here are smolvlm, qwen2_5_vl, q"):
        load_model(other)


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-VL-3B-Instruct", "HuggingFaceTB/absent"])
def test_a_model_that_is_not_here_says_how_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub._is_offline_mode", True, raising=False)
    with pytest.raises(ModelError, match=f"run 'hf download {name}' where there is a network"):
        load_model(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("samples/tiny_modle", "samples/tiny_model"),
        ("./tiny_modle", None),
        ("./sample/tiny_model", "samples"),
        ("sample/tiny_model", "samples"),
        ("sampels", "samples"),
        ("../samples/here/tiny_model", None),
    ],
)
def test_a_misspelt_folder_is_told_from_a_name_on_the_hub(
    name: str, meant: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "samples" / "tiny_model").mkdir(parents=True)
    (tmp_path / "samples" / "many_tasks_model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub._is_offline_mode", True, raising=False)
    with pytest.raises(ModelError) as caught:
        load_model(name)
    said = str(caught.value)
    assert "hf download" not in said
    if meant:
        assert said.endswith(f"did you mean {meant}?")
    else:
        assert "expected a model folder" in said


def test_an_adapter_without_its_base_names_it(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": "gone"}))
    with pytest.raises(ModelError, match="found none in gone"):
        load_model(tmp_path / "adapter")
    path.write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="names no base"):
        load_model(tmp_path / "adapter")


def test_four_bits_need_bitsandbytes_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no four-bit weights for a device of type 'meta'"):
        load_model(TINY, load_in_4bit=True, device="meta")
    monkeypatch.setattr(loading, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(ModelError, match=r"pip install 'vcr1_lib\[gpu\]'"):
        load_model(TINY, load_in_4bit=True)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ModelError, match="expected dtype in auto, bfloat16"):
        load_model(TINY, dtype="int8")
    with pytest.raises(TypeError, match="trust_remote"):
        load_model(TINY, **{"trust_remote_code": True})


def test_options_have_trls_names() -> None:
    ours = {f.name for f in dataclasses.fields(ModelOptions)}
    assert ours <= {f.name for f in dataclasses.fields(ModelConfig)}


@dataclasses.dataclass
class Script:
    """What a training script adds."""

    profile: str = "cpu"


def test_a_profile_fills_in_model_and_run_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = PROFILES["cpu"] | {"lora_r": 5, "load_in_4bit": True, "use_peft": True}
    monkeypatch.setitem(PROFILES, "tried", profile | {"max_steps": 7})
    what, options, config = read_options(Script, ["--profile", "tried", "--lora_alpha", "3"])
    assert what.profile == "tried"
    assert (options.lora_r, options.lora_alpha, options.load_in_4bit) == (5, 3, True)
    assert config.max_steps == 7


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--profile", "gpu"], "is for a CUDA GPU and torch sees none here"),
        (["--load_in_4bit"], "add --use_peft"),
        (["--dtype", "int4"], "invalid choice: 'int4'"),
        (["--trust_remote_code", "true"], "unknown option --trust_remote_code"),
        (["--temperature", "0"], "expected temperature > 0"),
    ],
)
def test_impossible_command_lines_are_one_sentence(
    argv: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setitem(PROFILES, "gpu", {"load_in_4bit": True, "use_peft": True})
    with pytest.raises(SystemExit):
        read_options(Script, argv)
    assert told in capsys.readouterr().err


def test_help_explains_every_option_of_ours_and_leaves_out_rare_ones(capsys: Any) -> None:
    theirs = {f.name for f in dataclasses.fields(TrainingArguments)}
    for kind in (ModelOptions, VideoGRPOConfig, ScriptArguments):
        ours = {f.name for f in dataclasses.fields(kind)} - theirs
        assert ours <= explained(kind).keys()
    lengths = []
    for flag, listed in (("--help", False), ("--help_all", True)):
        with pytest.raises(SystemExit):
            read_options(ScriptArguments, [flag])
        told = capsys.readouterr().out
        for name in ("--scan", "--lora_r", "--num_generations", "--save_steps", "--seed"):
            assert f"{name} " in told
        assert ("--adam_beta1 " in told) == listed
        lengths.append(len(told.splitlines()))
    assert lengths[0] < 0.5 * lengths[1]


def test_a_loaded_model_answers() -> None:
    model, processor = load_model(TINY, load_in_4bit=True)
    clips = ROOT / "data_samples" / "charades_sta" / "videos"
    records = [
        {"id": "a", "task": "temporal_grounding", "video": str(clips / "H0000.mp4"),
         "query": "a red circle is on screen."}
    ]  # fmt: skip
    loader = PromptLoader(processor, fps=1, max_frames=24)
    (text,) = answer_greedily(model, loader, records, max_completion_length=48)
    assert "<answer>" in text


def test_a_model_that_overflows_is_told_from_one_that_is_wrong() -> None:
    model, processor = load_model(TINY, dtype="float16")
    batch, _ = batch_of(model, processor, [2])
    model.lm_head.weight.data.fill_(6e4)
    with pytest.raises(ModelError, match=r"float16 ones that are not: .* dtype='bfloat16'"):
        sample_groups(
            model, encode_prompts(model, batch), noise=torch.zeros(1, 1, 3), eos_token_id=-1
        )
