"""Rollouts by a vLLM server: a small server in vLLM's words, that answers from our own model.

What ran against vLLM itself is recorded in ``benchmarks/engines/vllm/result.json``.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor

from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.groups import encode_prompts
from vcr1_lib.groups.policy import GroupPolicy, Rollout
from vcr1_lib.groups.rollout import Answers, answer_noise, sample_groups
from vcr1_lib.groups.vllm_pixels import VLLMError, features
from vcr1_lib.groups.vllm_rollout import VLLMRollout, importance_ratio
from vcr1_lib.groups.vllm_server import VLLMOptions
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models import PromptLoader, family_of
from vcr1_lib.models.loading import load_model
from vcr1_lib.models.processing import prompt_inputs
from vcr1_lib.rewards import format_reward, temporal_iou_reward
from vcr1_lib.training import VideoGRPOTrainer
from vcr1_lib.training.config import VideoGRPOConfig

ROOT = Path(__file__).parent.parent
MODEL, CLIPS = ROOT / "data_samples" / "tiny_model", ROOT / "data_samples" / "charades_sta"
TRAIN = read_charades_sta(
    CLIPS / "toyworld_sta_train.txt", CLIPS / "toyworld_v1_train.csv", CLIPS / "videos"
)


def unpacked(data: bytes) -> Any:
    """Read back what ``packed`` writes, with tensors as vLLM's decoder makes them."""

    def read(at: int) -> tuple[Any, int]:
        kind = data[at]
        if kind in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at + 1
        if kind == 0xD3:
            return struct.unpack_from(">q", data, at + 1)[0], at + 9
        size, at = struct.unpack_from(">I", data, at + 1)[0], at + 5
        if kind in (0xDB, 0xC6):
            part = data[at : at + size]
            return part.decode() if kind == 0xDB else part, at + size
        parts = []
        for _ in range(size * (2 if kind == 0xDF else 1)):
            part, at = read(at)
            parts.append(part)
        if kind == 0xDF:
            return dict(zip(parts[::2], parts[1::2], strict=True)), at
        if len(parts) == 3 and isinstance(parts[2], bytes):
            values = torch.frombuffer(bytearray(parts[2]), dtype=getattr(torch, parts[0]))
            return values.view(parts[1]), at
        return parts, at

    value, end = read(0)
    assert end == len(data)
    return value


def items_of(told: dict[str, Any], modality: str) -> list[dict[str, Tensor]]:
    items = [unpacked(base64.b64decode(item)) for item in told["kwargs_data"][modality]]
    return [{name: part["data"] for name, part in item.items()} for item in items]


class Fake:
    """A server that knows the requests this library makes, and can be told to misbehave."""

    def __init__(self) -> None:
        self.model, self.processor = load_model(MODEL)
        self.policy = GroupPolicy(self.model, self.processor, temperature=1.0)
        self.name, self.logprobs_mode, self.lora = "tiny_model", "processed_logprobs", False
        self.version, self.paused, self.calls = "default", False, list[str]()
        self.shift, self.change = 0.0, dict[str, Any]()
        self.port, self.missing = 0, ""

    def answer(self, path: str, body: Any) -> Any:
        path = path.partition("?")[0]
        self.calls.append(path)
        return getattr(self, path.strip("/").replace("/", "_"))(body)

    def v1_models(self, _: Any) -> Any:
        return {"data": [{"id": "tiny", "root": self.name}]}

    def server_info(self, _: Any) -> Any:
        model = {"model": f"elsewhere/{self.name}", "logprobs_mode": self.logprobs_mode}
        lora = {"max_lora_rank": 16} if self.lora else None
        return {"vllm_config": {"model_config": model, "lora_config": lora}}

    def pause(self, _: Any) -> Any:
        self.paused = True

    def resume(self, _: Any) -> Any:
        self.paused = False

    def update_weight_version(self, body: Any) -> Any:
        self.version = body["new_version"]

    def collective_rpc(self, body: Any) -> Any:
        assert self.paused
        assert body["method"] == "reload_weights"
        folder = Path(body["kwargs"]["weights_path"])
        weights = load_file(folder / "model.safetensors")
        tied = load_file(folder / "lm_head.safetensors")["lm_head.weight"]
        assert torch.equal(tied, weights["model.text_model.embed_tokens.weight"])
        missing = self.model.load_state_dict(weights, strict=False).missing_keys
        assert missing in ([], ["lm_head.weight"])

    def v1_load_lora_adapter(self, body: Any) -> Any:
        assert self.paused
        assert body["load_inplace"]
        self.model = PeftModel.from_pretrained(load_model(MODEL)[0], body["lora_path"])

    def inference_v1_generate(self, body: Any) -> Any:
        options, told = body["sampling_params"], body["features"]
        assert not self.paused
        assert body["model"] == ("policy" if self.lora else "tiny")
        items = items_of(told, "image")
        ids = torch.tensor([body["token_ids"]])
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        for name in ("pixel_values", "pixel_attention_mask"):
            batch[name] = torch.cat([item[name] for item in items])[None]
        noise = answer_noise(
            options["seed"], 0, [0], group=options["n"], length=options["max_tokens"]
        )
        banned = torch.zeros_like(self.policy.banned)
        banned[[int(token) for token in options["logit_bias"]]] = True
        given = sample_groups(
            self.model.eval(),
            encode_prompts(self.model, batch),
            noise=noise,
            eos_token_id=options["stop_token_ids"][0],
            temperature=options["temperature"],
            banned=banned,
        )
        choices = [self._choice(given, index) for index in range(options["n"])]
        reply = {"prompt_token_ids": body["token_ids"], "choices": choices[::-1]}
        return reply | {k: v for k, v in self.change.items() if k in reply}

    def _choice(self, given: Answers, index: int) -> Any:
        length = int(given.mask[0, index].sum())
        logps = (given.logps[0, index, :length] + self.shift).tolist()
        choice = {
            "index": index,
            "token_ids": given.tokens[0, index, :length].tolist(),
            "logprobs": {"content": [{"logprob": logp} for logp in logps]},
            "finish_reason": "stop" if given.finished[0, index] else "length",
            "weight_versions": [{"version": self.version, "start": 0, "end": length}],
        }
        return choice | {k: v for k, v in self.change.items() if k in choice}


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply(json.loads(body or b"null"))

        def do_GET(self) -> None:
            self.reply(None)

        def reply(self, body: Any) -> None:
            code, content = 404, b"not found"
            if self.path != server.missing:
                code, content = 200, json.dumps(server.answer(self.path, body)).encode()
            self.send_response(code)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.port = listening.server_port
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield server
        listening.shutdown()
        thread.join()


def trainer_of(fake: Fake, folder: Path, *, model: Any = None, **options: Any) -> Any:
    loaded, processor = load_model(MODEL)
    quick = {"eval_strategy": "no", "eval_on_start": False, "save_strategy": "no"}
    quick |= {"max_steps": 2, "per_device_train_batch_size": 2, "num_generations": 4}
    quick |= {"max_frames": 6}
    options = {"disable_tqdm": True} | options
    config = VideoGRPOConfig(
        output_dir=str(folder),
        use_vllm=True,
        vllm_server_port=fake.port,
        **(PROFILES["cpu"] | quick | options),
    )
    rewards = [format_reward, temporal_iou_reward]
    return VideoGRPOTrainer(
        loaded if model is None else model, rewards, config, TRAIN, processing_class=processor
    )


def backend_of(fake: Fake, folder: Path, **options: Any) -> tuple[VLLMRollout, Any, Rollout]:
    """Return a backend, the model, and a rollout of one prompt by the server."""
    model, processor = load_model(MODEL)
    policy = GroupPolicy(model, processor, temperature=1.0)
    given = VLLMOptions(vllm_server_port=fake.port, **options)
    backend = VLLMRollout(model, policy, given, folder)
    loaded = PromptLoader(processor, fps=1, max_frames=8)(TRAIN[:1])["prompts"]
    prompts = encode_prompts(model, policy.collate(loaded, torch.device("cpu")))
    noise = answer_noise(0, 0, [0], group=3, length=12)
    answers = backend.synced(model, 0).sample(model, prompts, loaded, noise)
    advantages = torch.tensor([[1.0, -1.0, 0.0]])
    return backend, model, Rollout(loaded, prompts, answers, answers.mask, advantages)


def test_a_run_follows_its_own_weights(fake: Fake, tmp_path: Path) -> None:
    trainer = trainer_of(fake, tmp_path)
    trainer.train()
    log = [row for row in trainer.state.log_history if "loss" in row]
    assert len(log) == 2
    for row in log:
        assert row["sampling/sampling_logp_difference/max"] < 1e-4
        assert row["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4)
        assert row["sampling/max_logp_gap"] < 1e-4
        assert row["grad_norm"] > 0
    assert fake.version == "step 1"
    assert fake.calls.count("/collective_rpc") == 2, "once a step"


def test_an_adapter_travels_alone(fake: Fake, tmp_path: Path) -> None:
    fake.lora = True
    base, _ = load_model(MODEL)
    model = get_peft_model(base, LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
    trainer = trainer_of(fake, tmp_path, model=model, learning_rate=1e-2)
    trainer.train()
    log = [row for row in trainer.state.log_history if "loss" in row]
    assert max(row["sampling/sampling_logp_difference/max"] for row in log) < 1e-4
    assert "/collective_rpc" not in fake.calls
    saved = (tmp_path / "vllm_weights").glob("*.safetensors")
    assert [path.name for path in saved] == ["adapter_model.safetensors"]


def test_an_answer_is_taken_as_it_came(fake: Fake, tmp_path: Path) -> None:
    _, model, rollout = backend_of(fake, tmp_path)
    policy = GroupPolicy(model, fake.processor, temperature=1.0)
    policy.verify(model, rollout)
    assert policy.shares_prefix
    own = policy.score(model, rollout)
    torch.testing.assert_close(own, rollout.answers.logps, atol=1e-4, rtol=0)
    assert rollout.answers.tokens.shape[1] == 3
    ended = rollout.answers.tokens[0] == policy.tokenizer.eos_token_id
    assert torch.equal((ended & rollout.answers.mask[0]).any(-1), rollout.answers.finished[0])


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_tokens_and_pixels_arrive_as_the_processor_made_them(name: str) -> None:
    model, processor = tiny.FAMILIES[name]()
    inputs = prompt_inputs(processor, tiny.noise_clip(6), "When?")
    slot = family_of(model).placeholder(model)
    told = features(name, inputs, slot)
    ((modality, places),) = told["mm_placeholders"].items()
    covered = torch.zeros(inputs["input_ids"].shape[1], dtype=torch.bool)
    for place in places:
        covered[place["offset"] : place["offset"] + place["length"]] = True
    assert torch.equal(covered, inputs["input_ids"][0] == slot)
    items = items_of(told, modality)
    assert len(items) == len(places) == len(set(told["mm_hashes"][modality]))
    own = "pixel_values" if name == "smolvlm" else "pixel_values_videos"
    sent = torch.cat([item.get(own, item.get("pixel_values")) for item in items])
    assert torch.equal(sent, inputs[own].view(sent.shape))
    if name == "qwen2_5_vl":
        assert torch.equal(items[0]["video_grid_thw"], inputs["video_grid_thw"][0])
        assert items[0]["second_per_grid_ts"].item() == inputs["second_per_grid_ts"][0]
    if name == "qwen3_vl":
        assert {int(item["image_grid_thw"][0]) for item in items} == {1}


def test_uneven_frames_are_refused() -> None:
    _, processor = tiny.qwen()
    clip = tiny.noise_clip(6)
    clip = clip._replace(times_seconds=clip.times_seconds**2)
    with pytest.raises(VLLMError, match="evenly spaced"):
        features("qwen2_5_vl", prompt_inputs(processor, clip, "When?"), 5)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("token_truncate", [[0.5, 3.0, 1.0], [1.0, 0.75, 2.0]]),
        ("token_mask", [[0.0, 0.0, 1.0], [1.0, 0.75, 2.0]]),
        ("sequence_truncate", [[2.0] * 3, [1.5] * 3]),
        ("sequence_mask", [[2.0] * 3, [1.5] * 3]),
    ],
)
def test_ratios_are_trls(mode: Any, wanted: list[list[float]]) -> None:
    # The last token of the first answer is padding.
    ratio = torch.tensor([[[0.25, 8.0, 5.0], [1.0, 0.75, 2.0]]])
    mask = torch.tensor([[[True, True, False], [True, True, True]]])
    options = VLLMOptions(vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_min=0.5)
    assert torch.allclose(importance_ratio(ratio.log(), mask, options), torch.tensor([wanted]))


def test_ratios_outside_mask_whole_answers() -> None:
    options = VLLMOptions(vllm_importance_sampling_mode="sequence_mask")
    difference = torch.tensor([[[1.0, 1.0], [0.5, 0.0]]])
    ratio = importance_ratio(difference, torch.ones(1, 2, 2, dtype=torch.bool), options)
    assert torch.allclose(ratio, torch.tensor([[[0.0, 0.0], [0.5, 0.5]]]).exp() * (ratio > 0))
    assert ratio[0, 0].tolist() == [0.0, 0.0]


def test_tokens_are_weighed_by_our_probability_over_the_servers(fake: Fake, tmp_path: Path) -> None:
    fake.shift = -0.05
    backend, model, rollout = backend_of(fake, tmp_path)
    seen: dict[str, Tensor] = {}
    fixed = backend.correct(model, rollout, lambda name, values: seen.update({name: values}))
    mask = fixed.mask
    assert seen["sampling/sampling_logp_difference/mean"].mean() == pytest.approx(0.05, abs=1e-4)
    wanted = rollout.advantages[..., None].expand(mask.shape) * 1.05127
    torch.testing.assert_close(fixed.advantages[mask], wanted[mask], atol=1e-4, rtol=0)
    told = rollout.answers.logps[mask]
    torch.testing.assert_close(fixed.answers.logps[mask] - 0.05, told, atol=1e-4, rtol=0)
    assert fixed.moving() == [0]


def test_without_correction_advantages_stay(fake: Fake, tmp_path: Path) -> None:
    fake.shift = -0.05
    off = {"vllm_importance_sampling_correction": False}
    backend, model, rollout = backend_of(fake, tmp_path, **off)
    fixed = backend.correct(model, rollout, lambda name, values: None)
    assert fixed.advantages is rollout.advantages


def test_another_policy_stops_training(fake: Fake, tmp_path: Path) -> None:
    fake.shift = 0.2
    with pytest.raises(VLLMError, match=r"differ from ours by 0\.2 a token"):
        trainer_of(fake, tmp_path).train()


def test_no_server(tmp_path: Path) -> None:
    model, processor = load_model(MODEL)
    policy = GroupPolicy(model, processor, temperature=1.0)
    options = VLLMOptions(vllm_server_base_url="http://127.0.0.1:9/")
    with pytest.raises(VLLMError, match=r"no vLLM server answers at http://127\.0\.0\.1:9 "):
        VLLMRollout(model, policy, options, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "another"}, "serves another model: expected .*tiny_model"),
        ({"logprobs_mode": "raw_logprobs"}, "--logprobs-mode processed_logprobs"),
    ],
)
def test_a_server_started_otherwise(
    fake: Fake, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    vars(fake).update(change)
    with pytest.raises(VLLMError, match=said):
        backend_of(fake, tmp_path)


def test_adapters_need_a_server_that_takes_them(fake: Fake, tmp_path: Path) -> None:
    model = get_peft_model(load_model(MODEL)[0], LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(VLLMError, match="--enable-lora"):
        trainer_of(fake, tmp_path, model=model)


def test_an_unknown_correction(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(VLLMError, match="token_truncate"):
        backend_of(fake, tmp_path, vllm_importance_sampling_mode="both")


def test_weights_that_do_not_arrive(fake: Fake, tmp_path: Path) -> None:
    fake.missing = "/collective_rpc"
    with pytest.raises(VLLMError, match=r"did not take the weights of step 0: .* with 404"):
        backend_of(fake, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_ids": [4, 2]}, "sampled token 4, a vision or special token"),
        ({"prompt_token_ids": [1, 2, 3]}, "the server read 3 others"),
        ({"finish_reason": "abort"}, "gave up an answer: abort"),
        ({"weight_versions": [{"version": "step 7"}]}, r"step 0, it is by \['step 7'\]"),
    ],
)
def test_a_wrong_answer(fake: Fake, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    fake.change = change
    with pytest.raises(VLLMError, match=said):
        backend_of(fake, tmp_path)
