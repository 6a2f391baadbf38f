"""QLoRA: four-bit weights stay as they are, adapters learn, are saved, resumed and reloaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from test_training import HELDOUT, LENGTH, QUICK, REWARDS, SAMPLES, SMALL, predict, trainer_of
from tiny import CHECKPOINTING
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from vcr1_lib.evaluation import answer_greedily
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models import PromptLoader, banned_tokens
from vcr1_lib.models.loading import UNQUANTISED, ModelError, check_scaled, load_model
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import VideoGRPOConfig

TINY = SAMPLES / "tiny_model"
QLORA = {"load_in_4bit": True, "use_peft": True, "lora_r": 8}


def qlora() -> Any:
    torch.manual_seed(0)  # of the adapters' first matrix
    return load_model(TINY, **QLORA)[0]


def hashes(model: Any) -> dict[str, str]:
    state = model.state_dict()
    return {
        name: hashlib.sha256(t.contiguous().flatten().view(torch.uint8).numpy()).hexdigest()
        for name, t in state.items()
        if t.numel()
    }


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, dict[str, str], float]:
    folder = tmp_path_factory.mktemp("qlora")
    model = qlora()
    before, score = hashes(model), predict(model, HELDOUT[:48]).ious.mean()
    options = {"learning_rate": 1e-3, "max_steps": 15, "warmup_steps": 0, "beta": 0.001}
    trainer = trainer_of(folder, REWARDS, model=model, **options)
    trainer.train()
    trainer.save_model(str(folder / "model"))
    return trainer, folder / "model", before, score


def test_adapters_on_four_bits_learn_on_clips_they_have_not_seen(tuned: Any) -> None:
    trainer, *_, before = tuned
    assert predict(trainer.model, HELDOUT[:48]).ious.mean() > before + 0.1


def test_only_adapters_change(tuned: Any) -> None:
    trainer, _, before, _ = tuned
    after = hashes(trainer.model)
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert {name for name in before if "lora_B" in name} <= changed
    assert all("lora_" in name for name in changed)
    log = [row for row in trainer.state.log_history if "loss" in row]
    assert trainer.policy.shares_prefix
    assert all(row["grad_norm"] > 0 for row in log)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-8), "the reference is the model without adapters"
    assert log[-1]["kl"] > 0


def test_a_saved_adapter_answers_the_same_without_this_library(tuned: Any) -> None:
    trainer, folder, *_ = tuned
    assert {path.name for path in folder.glob("*.safetensors")} == {"adapter_model.safetensors"}
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=list(UNQUANTISED),
    )
    base = AutoModelForImageTextToText.from_pretrained(TINY, quantization_config=four_bits)
    plain = PeftModel.from_pretrained(base, folder)
    # Evaluation mode would repack the four-bit weights and compute in bfloat16 on some CPUs.
    plain.train()
    processor = AutoProcessor.from_pretrained(folder)
    loader = PromptLoader(processor, fps=1, max_frames=24)
    records = HELDOUT[:8]
    ours = answer_greedily(trainer.model, loader, records, max_completion_length=LENGTH)
    banned = banned_tokens(plain, processor).nonzero().flatten().tolist()
    for record, answer in zip(records, ours, strict=True):
        (inputs,) = loader([record])["prompts"]
        out = plain.generate(
            **inputs, do_sample=False, max_new_tokens=LENGTH, suppress_tokens=banned,
            eos_token_id=processor.tokenizer.eos_token_id,
        )  # fmt: skip
        new = out[0, inputs["input_ids"].shape[1] :]
        assert processor.tokenizer.decode(new, skip_special_tokens=True) == answer


def test_a_resumed_run_of_adapters_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    options = SMALL | {"save_strategy": "steps", "save_total_limit": 9}
    options |= {"learning_rate": 1e-3}
    whole = trainer_of(tmp_path / "whole", REWARDS, model=qlora(), save_steps=2, **options)
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert not (checkpoint / "model.safetensors").exists()
    again = trainer_of(tmp_path / "again", REWARDS, model=qlora(), save_steps=9, **options)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert hashes(whole.model) == hashes(again.model)
    # Training can also go on from the saved adapter alone, with a fresh optimizer.
    model, _ = load_model(checkpoint, **QLORA)
    saved = json.loads((checkpoint / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(TINY)
    fresh = trainer_of(tmp_path / "fresh", REWARDS, model=model, **SMALL)
    before = hashes(model)
    fresh.train()
    assert hashes(model) != before


def test_checkpointing_changes_memory_and_nothing_else(tmp_path: Path) -> None:
    weights = []
    for on in (False, True):
        options = SMALL | {"max_steps": 1, "optim": "sgd", "max_grad_norm": 0.0}
        model = qlora()
        trainer = trainer_of(
            tmp_path / str(on), REWARDS, model=model, learning_rate=1.0,
            **{CHECKPOINTING: on}, **options,
        )  # fmt: skip
        start = [p.detach().clone() for p in model.parameters() if p.requires_grad]
        trainer.train()
        if on:
            assert getattr(model.get_base_model(), f"is_{CHECKPOINTING}")
        moved = [p.detach() for p in model.parameters() if p.requires_grad]
        weights.append(torch.cat([(b - a).flatten() for a, b in zip(start, moved, strict=True)]))
    assert weights[0].norm() > 0
    assert (weights[0] - weights[1]).norm() < 1e-4 * weights[0].norm()


def test_half_precision_weights_are_not_trained_with_a_scaler(tmp_path: Path) -> None:
    options = PROFILES["cpu"] | QUICK
    config = VideoGRPOConfig(output_dir=str(tmp_path), **options)
    config.fp16 = True  # which Transformers refuses without a GPU
    model, processor = load_model(TINY, dtype="float16")
    with pytest.raises(ModelError, match="expected trainable weights in float32 under fp16"):
        VideoGRPOTrainer(model, REWARDS, config, HELDOUT, None, processor)
    check_scaled(load_model(TINY, dtype="float16", use_peft=True)[0])
