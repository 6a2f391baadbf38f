"""Load a model and its processor by name or folder: precision, four bits, adapters.

Only safetensors are read, and no code that comes with a model runs.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    PretrainedConfig,
)
from transformers.utils.import_utils import is_bitsandbytes_available

from vcr1_lib.models import FAMILIES
from vcr1_lib.models.folders import ModelError as ModelError
from vcr1_lib.models.folders import check_folder, not_found
from vcr1_lib.models.sharding import loaded_whole

TINY_MODEL: Final = "data_samples/tiny_model"
DTYPES: Final = ("auto", "bfloat16", "float16", "float32")
ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
# Vision towers, connectors and heads: few parameters, and the first to suffer.
UNQUANTISED: Final = ("model.visual", "model.vision_model", "model.connector", "lm_head")
# Every linear layer of the language model, in each verified family, the head apart.
LANGUAGE_LAYERS: Final = r".*\.(language_model|text_model)\.layers\..*_proj"
ALL_LAYERS: Final = "all-linear"


@dataclass
class ModelOptions:
    """Which model, in which precision, with which adapters. Names are TRL's ``ModelConfig``'s.

    Args:
        model_name_or_path: A name on the hub, a model's folder, or an adapter's folder.
        dtype: ``"auto"`` is the checkpoint's own; float16 instead of bfloat16 on a GPU that
            computes no bfloat16.
        attn_implementation: ``None`` lets Transformers choose; a shared prefix needs
            ``"sdpa"`` or ``"eager"``.
        use_peft: Train LoRA adapters on the language model's linear layers; the rest is frozen.
        lora_r: Rank.
        lora_alpha: The adapters' output is scaled by ``lora_alpha / lora_r``.
        lora_dropout: 0 here and 0.05 in TRL: with it, answers would be scored by another
            model than the one that sampled them.
        lora_target_modules: Instead of the language model's linear layers.
        load_in_4bit: Quantise the language model's linear layers while loading.
        bnb_4bit_quant_type: ``"nf4"`` or ``"fp4"``.
        use_bnb_nested_quant: Quantise the quantisation's constants too. Off in TRL.
        bnb_4bit_quant_storage: The type that the four bits lie in; FSDP2 shards float types only.
    """

    model_name_or_path: str = TINY_MODEL
    dtype: str = field(default="auto", metadata={"choices": DTYPES})
    attn_implementation: str | None = None
    use_peft: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_target_modules: list[str] | None = None
    load_in_4bit: bool = False
    bnb_4bit_quant_type: str = field(default="nf4", metadata={"choices": ("nf4", "fp4")})
    use_bnb_nested_quant: bool = True
    bnb_4bit_quant_storage: str | None = field(default=None, metadata={"choices": DTYPES[1:]})


def load_model(
    model_name_or_path: str | Path,
    *,
    device: str | torch.device = "cpu",
    train_vision: bool = False,
    **options: Any,
) -> tuple[Any, Any]:
    """Load a model of a verified family and its processor.

    An adapter's folder loads its base too; with ``use_peft`` the adapter can be trained on.

    Args:
        model_name_or_path: A name on the hub, a model's folder, or an adapter's folder.
        device: Where to put it.
        train_vision: Put new adapters on the vision tower as well.
        **options: Fields of :class:`ModelOptions`.

    Returns:
        The model, in evaluation mode, and its processor.

    Raises:
        ModelError: If it cannot be loaded as asked.

    >>> model, processor = load_model("data_samples/tiny_model", use_peft=True, lora_r=4)
    >>> model.get_nb_trainable_parameters()[0] > 0
    True
    """
    name = str(model_name_or_path)
    chosen, device = ModelOptions(name, **options), torch.device(device)
    adapter = Path(name) if (Path(name) / ADAPTER_CONFIG).is_file() else None
    base = name if adapter is None else _base_of(adapter)
    model = _load_base(base, chosen, device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated")  # by PEFT
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter, is_trainable=chosen.use_peft)
        elif chosen.use_peft:
            model = get_peft_model(model, lora_config(chosen, train_vision=train_vision))
    own_processor = adapter is not None and (adapter / "processor_config.json").is_file()
    return model.eval(), AutoProcessor.from_pretrained(name if own_processor else base)


def lora_config(options: ModelOptions, *, train_vision: bool = False) -> LoraConfig:
    """Return PEFT's configuration of the adapters."""
    layers = ALL_LAYERS if train_vision else LANGUAGE_LAYERS
    return LoraConfig(
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=options.lora_target_modules or layers,
        task_type="CAUSAL_LM",
    )


def four_bit_config(options: ModelOptions, dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return Transformers' configuration of four-bit weights: the language layers' alone.

    Args:
        options: Kind of four bits.
        dtype: That products are computed in.

    Reference: QLoRA (arXiv 2305.14314).
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_type=options.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=options.use_bnb_nested_quant,
        bnb_4bit_quant_storage=options.bnb_4bit_quant_storage,
        llm_int8_skip_modules=list(UNQUANTISED),
    )


def keep_gradient(model: nn.Module) -> None:
    """Keep four-bit weights in the layout that has a gradient.

    On a CPU with bfloat16 instructions, bitsandbytes repacks them at the first forward in
    evaluation mode, once and for all, for a kernel that computes in bfloat16 and lets no
    gradient through. A trainer that samples between its updates would then learn nothing.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def check_scaled(model: nn.Module) -> None:
    """Make sure that a scaled loss can train this model.

    Raises:
        ModelError: If a weight that is trained is in half precision: its scaled gradient cannot
            be unscaled, and optimizer steps round to nothing.
    """
    half = {p.dtype for p in model.parameters() if p.requires_grad} - {torch.float32}
    if half:
        raise ModelError(
            f"expected trainable weights in float32 under fp16, got {', '.join(map(str, half))}: "
            "train adapters (use_peft), or load with dtype='float32'"
        )


def merge_adapter(
    adapter: str | Path, output_dir: str | Path, *, dtype: str = "auto"
) -> tuple[Any, Any]:
    """Add an adapter to its base and write one model folder, which needs no PEFT.

    The base is read unquantised: adding to four-bit weights would round the sum again. An
    adapter trained on four-bit weights meets slightly different ones, so measure the result.

    Args:
        adapter: The adapter's folder.
        output_dir: Where the merged model and its processor go.
        dtype: See :class:`ModelOptions`.

    Returns:
        The merged model and its processor.

    Raises:
        ModelError: If the folder holds no adapter, or the base cannot be loaded.
    """
    if not (Path(adapter) / ADAPTER_CONFIG).is_file():
        raise ModelError(f"expected an adapter's folder with {ADAPTER_CONFIG}, got {adapter}")
    model, processor = load_model(adapter, dtype=dtype)
    merged = model.merge_and_unload()
    merged.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    return merged, processor


def _base_of(adapter: Path) -> str:
    """Return the name or folder of an adapter's base."""
    if not (adapter / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"expected {ADAPTER_WEIGHTS} beside {ADAPTER_CONFIG}, none in {adapter}")
    base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    if not base:
        raise ModelError(f"{adapter / ADAPTER_CONFIG} names no base: add base_model_name_or_path")
    return str(base)


def _load_base(name: str, options: ModelOptions, device: torch.device) -> Any:
    dtype = _compute_dtype(name, _read_config(name), options.dtype, device)
    extra: dict[str, Any] = {"attn_implementation": options.attn_implementation}
    if device.type != "cpu" or options.load_in_4bit:
        extra["device_map"] = {"": device}
    if options.load_in_4bit:
        _check_four_bits(device)
        extra["quantization_config"] = four_bit_config(options, dtype)
    try:
        with loaded_whole():
            model = AutoModelForImageTextToText.from_pretrained(
                name, dtype=dtype, use_safetensors=True, **extra
            )
    except OSError as error:
        raise ModelError(not_found(name, error)) from error
    keep_gradient(model)
    return model


def _read_config(name: str) -> dict[str, Any]:
    """Read a model's configuration and refuse what is not ours to load."""
    check_folder(name)
    try:
        config, _ = PretrainedConfig.get_config_dict(name)
    except OSError as error:
        raise ModelError(not_found(name, error)) from error
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise ModelError(
            f"{name} is a model of type {kind!r}, and verified here are {', '.join(FAMILIES)}: "
            "choose one of these"
        )
    return config


def _compute_dtype(
    name: str, config: dict[str, Any], wanted: str, device: torch.device
) -> torch.dtype:
    if wanted not in DTYPES:
        raise ModelError(f"expected dtype in {', '.join(DTYPES)}, got {wanted!r}")
    if wanted == "auto":
        text = config.get("text_config") or {}
        wanted = next(
            (c[key] for c in (config, text) for key in ("dtype", "torch_dtype") if c.get(key)),
            "float32",
        )
        lacks = device.type == "cuda" and not torch.cuda.is_bf16_supported(False)
        wanted = "float16" if wanted == "bfloat16" and lacks else wanted
    return getattr(torch, wanted)


def _check_four_bits(device: torch.device) -> None:
    remedy = "install it with pip install 'vcr1_lib[gpu]', or leave load_in_4bit out"
    if not is_bitsandbytes_available():
        raise ModelError(f"load_in_4bit needs bitsandbytes, which is not installed: {remedy}")
    import bitsandbytes

    if device.type not in bitsandbytes.supported_torch_devices:
        raise ModelError(
            f"bitsandbytes {bitsandbytes.__version__} has no four-bit weights for a device of "
            f"type {device.type!r}: leave load_in_4bit out, or use 'cuda' or 'cpu'"
        )
