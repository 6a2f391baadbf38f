"""A vLLM server that answers for the trained model: its options, its address, its weights.

For :mod:`vcr1_lib.groups.vllm_rollout`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from safetensors.torch import save_file
from torch import distributed, nn

from vcr1_lib.groups.vllm_pixels import VLLMError
from vcr1_lib.models import base_model
from vcr1_lib.models.sharding import any_process, is_one_of_several, is_sharded

Correction = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
WEIGHTS_FOLDER, HEAD_FILE = "vllm_weights", "lm_head.safetensors"
ADAPTER = "policy"


@dataclass
class VLLMOptions:
    """Options of rollouts by a vLLM server, with TRL's names.

    Args:
        use_vllm: Sample by a vLLM server.
        vllm_mode: Only ``"server"``; TRL has ``"colocate"`` too.
        vllm_server_base_url: Its address; without one, host and port tell it.
        vllm_server_host: Where it runs.
        vllm_server_port: Its port.
        vllm_server_timeout: Seconds that one answer of the server may take.
        vllm_importance_sampling_correction: Weigh tokens by our probability over the server's.
        vllm_importance_sampling_mode: ``"token_truncate"``, ``"token_mask"`` or either by whole
            answers, ``"sequence_..."``; TRL's own default is ``"sequence_mask"``.
        vllm_importance_sampling_clip_max: Ratios above are cut to it, or set to 0 (``mask``).
        vllm_importance_sampling_clip_min: The same from below; ``None`` for no bound.
        vllm_max_logp_difference: Training stops if our log-probabilities and the server's differ
            by more, as the mean over the tokens of a step's answers.
    """

    use_vllm: bool = False
    vllm_mode: Literal["server"] = "server"
    vllm_server_base_url: str | None = None
    vllm_server_host: str = "127.0.0.1"
    vllm_server_port: int = 8000
    vllm_server_timeout: float = 240.0
    vllm_importance_sampling_correction: bool = True
    vllm_importance_sampling_mode: Correction = "token_truncate"
    vllm_importance_sampling_clip_max: float | None = 3.0
    vllm_importance_sampling_clip_min: float | None = None
    vllm_max_logp_difference: float = 0.1

    @property
    def vllm_url(self) -> str:
        """The server's address."""
        address = f"http://{self.vllm_server_host}:{self.vllm_server_port}"
        return (self.vllm_server_base_url or address).rstrip("/")


class VLLMServer:
    """A server, and which step's weights it has.

    Args:
        model: The policy.
        options: Where the server is.
        folder: The run's folder, in which weights go that the server reads: both must see it.

    Raises:
        VLLMError: If the server cannot be reached, was started without what this needs, or serves
            another model.
    """

    def __init__(self, model: nn.Module, options: VLLMOptions, folder: Path) -> None:
        self.options, self.folder = options, (folder / WEIGHTS_FOLDER).resolve()
        self.adapter = hasattr(model, "peft_config")
        self.step: int | None = None
        self._check(base_model(model).config.name_or_path)

    def _check(self, name: str) -> None:
        """Compare the server's model and settings with what this run needs."""
        told = self.ask("/server_info?config_format=json")["vllm_config"]
        theirs, served = told["model_config"], self.ask("/v1/models")["data"][0]
        if Path(theirs["model"]).name != Path(name).name:
            raise VLLMError(
                f"{self.options.vllm_url} serves another model: expected {name!r}, it has "
                f"{theirs['model']!r}; start it with this run's model"
            )
        if theirs["logprobs_mode"] != "processed_logprobs":
            raise VLLMError(
                "expected a server started with --logprobs-mode processed_logprobs, this one has "
                f"{theirs['logprobs_mode']}: its log-probabilities leave the temperature out"
            )
        if self.adapter and not told["lora_config"]:
            raise VLLMError(
                "expected a server started with --enable-lora, since this run trains adapters"
            )
        self.served = ADAPTER if self.adapter else served["id"]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Get, or post a body, and return the answer."""
        data = None if body is None else json.dumps(body).encode()
        address, kind = self.options.vllm_url + path, {"Content-Type": "application/json"}
        request = Request(address, data, kind)  # noqa: S310  (the address is the user's own)
        try:
            with urlopen(request, timeout=self.options.vllm_server_timeout) as reply:  # noqa: S310
                content = reply.read()
        except HTTPError as error:
            needed = "; start it as vcr1_lib.groups.vllm_rollout says" if error.code == 404 else ""
            raise VLLMError(
                f"the vLLM server answered {path} with {error.code}: "
                f"{error.read()[:500].decode(errors='replace')}{needed}"
            ) from error
        except OSError as error:
            raise VLLMError(
                f"no vLLM server answers at {self.options.vllm_url} ({error}): start it first, or "
                "give vllm_server_base_url"
            ) from error
        return json.loads(content) if content.startswith((b"{", b"[")) else None

    def sync(self, model: nn.Module, step: int) -> None:
        """Let the server have this step's weights, if it has not.

        The first process writes them, and every process hears if that failed.

        Raises:
            VLLMError: If it did, or if the weights lie in pieces over the processes.
        """
        if step == self.step:
            return
        if is_sharded(model):
            raise VLLMError("use_vllm needs the whole model in every process: no FSDP, no ZeRO-3")
        problem: Exception | None = None
        if not is_one_of_several() or distributed.get_rank() == 0:
            try:
                self._send_weights(model, step)
            except (VLLMError, OSError) as error:
                problem = error
        if any_process(problem is not None, next(model.parameters()).device):
            told = problem or "the first process says why"
            raise VLLMError(f"the server did not take the weights of step {step}: {told}")
        self.step = step

    def _send_weights(self, model: Any, step: int) -> None:
        kept = model if self.adapter else base_model(model)
        kept.save_pretrained(self.folder)
        head = base_model(model).get_output_embeddings().weight
        if not self.adapter and head is base_model(model).get_input_embeddings().weight:
            # vLLM repacks the output head on a CPU, and renews it only if it has a name.
            save_file({"lm_head.weight": head.data.contiguous()}, self.folder / HEAD_FILE)
        # While it waits, vLLM forgets what it computed with the old weights.
        self.ask("/pause?mode=wait", {})
        if self.adapter:
            adapter = {"lora_name": ADAPTER, "lora_path": str(self.folder), "load_inplace": True}
            self.ask("/v1/load_lora_adapter", adapter)
        else:
            where = {"weights_path": str(self.folder)}
            self.ask("/collective_rpc", {"method": "reload_weights", "kwargs": where})
        self.ask("/update_weight_version", {"new_version": f"step {step}"})
        self.ask("/resume", {})
