"""Our rewards in other engines' forms, without the engines; what ran in them is recorded."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vcr1_lib.datasets import read_records
from vcr1_lib.rewards import PRESETS, format_reward, preset_rewards

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "engines" / "ms_swift"
CLIPS = ROOT / "data_samples" / "charades_sta"
GOOD = "<think>Seen.</think><answer>4 to 9</answer>"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ms_swift_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def orms(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand in for ms-swift's table of rewards, and let the plugin fill it."""

    class ORM:
        def __init__(self, args: Any = None) -> None:
            self.args = args

    table: dict[str, Any] = {}
    rewards = ModuleType("swift.rewards")
    rewards.__dict__.update(ORM=ORM, orms=table)
    monkeypatch.setitem(sys.modules, "swift", ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", rewards)
    load("plugin")
    return table


def test_the_plugin_names_every_reward(orms: dict[str, Any]) -> None:
    assert set(orms) == {reward.__name__ for reward in preset_rewards(PRESETS)}
    columns = {"span": [[4.0, 9.0]] * 2, "task": ["temporal_grounding"] * 2, "messages": [[], []]}
    for name, wanted in (("format_reward", [1.0, 0.0]), ("temporal_iou_reward", [1.0, 0.0])):
        reward = orms[name](args=None)
        assert type(reward).__name__ == name, "what ms-swift logs it as"
        assert reward([GOOD, "no idea"], **columns) == wanted


def test_a_row_has_the_video_and_the_truth() -> None:
    lengths = CLIPS / "toyworld_v1_train.csv"
    record = read_records(CLIPS / "toyworld_sta_train.txt", CLIPS / "videos", lengths=lengths)[0]
    row = json.loads(json.dumps(load("dataset").swift_row(record)))
    (message,) = row["messages"]
    assert message["content"].startswith("<video>")
    assert record["query"].rstrip(".") in message["content"]
    assert row["videos"] == [str(Path(record["video"]).resolve())]
    assert (row["task"], tuple(row["span"])) == (record["task"], tuple(record["span"]))


def snippet(word: str) -> str:
    """Return the page's only block of Python that holds a word."""
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (code,) = [block for block in blocks if word in block]
    return str(code)


def test_verls_function_adds_up_the_rewards_of_a_task() -> None:
    names: dict[str, Any] = {}
    exec(snippet("compute_score("), names)
    truth = json.dumps({"span": [4.0, 14.0], "duration": 24.0})
    assert names["compute_score"]("temporal_grounding", GOOD, truth) == pytest.approx(1.5)
    assert names["compute_score"]("temporal_grounding", "no idea", truth) == 0.0
    with pytest.raises(ValueError, match="expected a list of tasks"):
        names["compute_score"]("charades", GOOD, truth)


def test_ms_swift_has_called_our_rewards() -> None:
    result = json.loads((FOLDER / "result.json").read_text(encoding="utf-8"))
    pins = (FOLDER / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert {f"{name}=={result['versions'][name]}" for name in ("ms-swift", "trl")} <= set(pins)
    assert not any("://" in pin for pin in pins)
    names = ["format_reward", "temporal_iou_reward"]
    assert "--external_plugins benchmarks/engines/ms_swift/plugin.py" in result["command"]
    assert f"--reward_funcs {' '.join(names)}" in result["command"]
    # ms-swift writes the last step's answers twice.
    answers = {step["step"][0]: step for step in result["completions"]}
    assert list(answers) == ["1", "2", "3"]
    for logged, step in zip(result["logged"], answers.values(), strict=True):
        paid = format_reward(step["completion"], task=["temporal_grounding"] * 4)
        assert step["format_reward"] == paid, "what ms-swift was told is what the reward says"
        for name in names:
            mean = sum(step[name]) / len(step[name])
            assert logged[f"rewards/{name}/mean"] == pytest.approx(mean, abs=1e-6)
    assert any(any(step["temporal_iou_reward"]) for step in result["completions"])


def test_trls_own_trainer_learns_from_frames_as_pictures(tmp_path: Path) -> None:
    """Run the page's snippet as it stands; TRL's own warnings are not ours."""
    code = snippet("GRPOTrainer(").replace("runs/trl", str(tmp_path))
    code += "\nimport json\nprint(json.dumps(trainer.state.log_history))\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [row for row in json.loads(done.stdout.splitlines()[-1]) if "reward" in row]
    assert [row["step"] for row in steps] == [1, 2]
    assert sum(row["rewards/format_reward/mean"] for row in steps) > 0
    assert sum(row["rewards/temporal_iou_reward/mean"] for row in steps) > 0


def test_vllm_has_answered_for_our_weights() -> None:
    folder = ROOT / "benchmarks" / "engines" / "vllm"
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    pins = (folder / "requirements.lock").read_text(encoding="utf-8").splitlines()
    named = {f"{name}=={number}" for name, number in result["versions"].items() if name != "python"}
    assert named <= set(pins)
    assert not any("://" in pin for pin in pins)
    run = result["full"]
    assert len(run["steps"]) == 6
    assert run["answers"] == 6 * 4 * 8
    assert len({step["reward"] for step in run["steps"]}) > 1
    for step in run["steps"]:
        assert step["sampling/sampling_logp_difference/max"] < 1e-4, "the new weights arrived"
        assert step["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4)
    assert run["prefix_cache_hit_rate_percent"] > 25
