"""Every name and option of TRL, Transformers, PEFT and bitsandbytes that is used exists.

These four move fast. What a new version renames fails here, by name, not in the middle of a run.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import transformers
from transformers import Trainer, TrainingArguments

from vcr1_lib.hardware import PROFILES
from vcr1_lib.models.loading import ModelOptions
from vcr1_lib.training.config import VideoGRPOConfig

ROOT = Path(__file__).parent.parent
WATCHED = ("bitsandbytes", "peft", "transformers", "trl")
FILES = sorted(
    path
    for folder in ("vcr1_lib", "scripts", "notebooks", "benchmarks", "tools")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".ipynb")
)
MODELS = (
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
    "SmolVLMForConditionalGeneration",
)


def code_of(path: Path) -> str:
    """Return a file's Python; of a notebook, its code cells without magics and commands."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    python = (s for s in sources if not s.startswith("%%"))
    return re.sub(r"^(\s*)[!%].*$", r"\1pass", "\n".join(python), flags=re.MULTILINE)


def find(dotted: str) -> Any:
    """Import a dotted name: a module, or something in one."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(find(module), name)


def names_of(tree: ast.Module) -> dict[str, str]:
    """Return what a file calls things of the watched packages: local name -> dotted name."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in WATCHED:
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in WATCHED:
                    package = alias.name.split(".")[0]
                    known[alias.asname or package] = alias.name if alias.asname else package
    return known


def optional_names(tree: ast.Module) -> set[str]:
    """Return what a file says it can do without: imports whose failure it catches."""
    tries = [n for n in ast.walk(tree) if isinstance(n, ast.Try)]
    ready = [t for t in tries if any("ImportError" in ast.unparse(h.type) for h in t.handlers)]
    return {name for t in ready for name in names_of(ast.Module(t.body, [])).values()}


def dotted_of(node: ast.expr, known: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and (outer := dotted_of(node.value, known)):
        return f"{outer}.{node.attr}"
    return None


def at_the_pins() -> bool:
    """Return whether the watched packages are those of the lock, where nothing may be missing."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return all(f"{name}=={version(name)}" in lock for name in WATCHED)


def drifts(code: str, *, complete: bool = True) -> Iterator[str]:
    """Yield every name that is not there, and every keyword that a call would not take.

    Unless ``complete``, a name may be missing where the code catches that.
    """
    tree = ast.parse(code)
    known = names_of(tree)
    used = set(known.values())
    used |= {
        d for n in ast.walk(tree) if isinstance(n, ast.Attribute) and (d := dotted_of(n, known))
    }
    if not complete:
        optional = tuple(optional_names(tree))
        used = {dotted for dotted in used if not dotted.startswith(optional)}
    for dotted in sorted(used):
        try:
            find(dotted)
        except (AttributeError, ImportError):
            yield f"no {dotted}"
    for node in ast.walk(tree):
        dotted = dotted_of(node.func, known) if isinstance(node, ast.Call) else None
        if dotted is None:
            continue
        try:
            parameters = inspect.signature(find(dotted)).parameters
        except (AttributeError, ImportError, ValueError):
            continue
        # A configuration or ``from_pretrained`` takes any keyword; those are read below.
        loose = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in parameters and not loose:
                yield f"{dotted} takes no {keyword.arg}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_name_and_keyword_exists(path: Path) -> None:
    assert not list(drifts(code_of(path), complete=at_the_pins()))


def test_a_renamed_name_or_keyword_would_be_found() -> None:
    code = "import transformers\nfrom peft import get_peft_model, get_old_model\n"
    code += "get_peft_model(a, b, renamed=3)\ntransformers.set_sead(3)\n"
    assert list(drifts(code)) == [
        "no peft.get_old_model",
        "no transformers.set_sead",
        "peft.get_peft_model takes no renamed",
    ]
    caught = "try:\n    from trl import Gone\nexcept ImportError as error:\n    raise\nGone.use()\n"
    assert list(drifts(caught)) == ["no trl.Gone", "no trl.Gone.use"]
    assert not list(drifts(caught, complete=False))
    assert list(drifts(code + caught, complete=False)) == list(drifts(code))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("transformers.BitsAndBytesConfig", "load_in_4bit bnb_4bit_compute_dtype "
         "bnb_4bit_quant_type bnb_4bit_use_double_quant llm_int8_skip_modules"),
        ("peft.LoraConfig", "r lora_alpha lora_dropout target_modules task_type"),
        ("peft.PeftModel.from_pretrained", "is_trainable"),
        ("transformers.PreTrainedModel.from_pretrained", "use_safetensors"),
        ("transformers.Trainer.get_batch_samples", "epoch_iterator num_batches device"),
        ("transformers.Trainer.compute_loss", "model inputs return_outputs num_items_in_batch"),
        ("transformers.Trainer.log", "logs start_time"),
        ("transformers.Trainer.evaluate", "eval_dataset ignore_keys metric_key_prefix"),
    ],
    ids=lambda value: value.split()[0],
)  # fmt: skip
def test_options_that_any_keyword_would_hide_exist(name: str, options: str) -> None:
    module, _, attribute = name.partition(".")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    assert set(options.split()) <= inspect.signature(found).parameters.keys()


@pytest.mark.parametrize("name", MODELS)
def test_the_models_take_what_a_shared_prefix_hands_them(name: str) -> None:
    taken = inspect.signature(getattr(transformers, name).forward).parameters
    wanted = {"input_ids", "attention_mask", "position_ids", "past_key_values"}
    assert wanted | {"mm_encoder_outputs", "logits_to_keep"} <= taken.keys()


def test_attributes_that_are_only_set_still_mean_something() -> None:
    # Setting an attribute that nobody reads any more would fail in silence.
    assert hasattr(Trainer, "_get_train_sampler")
    source = inspect.getsource(transformers.trainer)
    for attribute in ("loss_is_scaled_for_ga", "model_accepts_loss_kwargs"):
        assert attribute in source
    layer = bitsandbytes.nn.Linear4bit(64, 64)
    assert hasattr(layer, "support_avx512bf16_for_cpu")
    assert "support_avx512bf16_for_cpu" in inspect.getsource(type(layer).forward)
    assert "cpu" in bitsandbytes.supported_torch_devices


def test_profiles_hold_known_options_only() -> None:
    known = {*VideoGRPOConfig.__dataclass_fields__, *ModelOptions.__dataclass_fields__}
    assert TrainingArguments.__dataclass_fields__.keys() <= known
    for name, profile in PROFILES.items():
        assert profile.keys() <= known, name
