"""The lmms-eval adapter without lmms-eval: order, lengths, stops, videos that cannot be read.

`make engines` runs it with the real thing; `test_benchmarks.py` looks at what that recorded.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vcr1_lib.datasets.benchmarks import read_benchmark
from vcr1_lib.prompts import render_question

ROOT = Path(__file__).parents[1]
FILE = ROOT / "benchmarks" / "engines" / "lmms_eval" / "adapter.py"


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load the module beside stand-ins for the two names that it imports."""
    monkeypatch.chdir(ROOT)
    for name, holds in (("model", {"lmms": object}), ("instance", {"Instance": object})):
        module = ModuleType(f"lmms_eval.api.{name}")
        vars(module).update(holds)
        monkeypatch.setitem(sys.modules, f"lmms_eval.api.{name}", module)
    for name in ("lmms_eval", "lmms_eval.api"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    spec = importlib.util.spec_from_file_location("adapter", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(text: str, place: int, **options: Any) -> Any:
    """Build a request as lmms-eval does."""
    return SimpleNamespace(args=(text, options, lambda doc: doc["visuals"], place, "toy", "test"))


def build(adapter: Any, visuals: list[list[Any]], **options: Any) -> Any:
    model = adapter.VideoModel(fps=1, max_frames=24, batch_size=2, **options)
    model.task_dict = {"toy": {"test": [{"visuals": row} for row in visuals]}}
    return model


def test_it_answers_in_order_and_stops_where_told(adapter: Any, tmp_path: Path) -> None:
    records = read_benchmark("toyworld")[0][:3]
    model = build(adapter, [[r["video"]] for r in records] + [[str(tmp_path / "none.mp4")]])
    texts = [render_question(record) for record in records]
    requests = [
        ask(texts[0], 0, max_new_tokens=48),
        ask(texts[1], 1, max_new_tokens=4, until="look"),
        ask("?", 3, max_new_tokens=48),
        ask(texts[2], 2, max_new_tokens=48, until=[" to"]),
    ]
    said = model.generate_until(requests)
    # What the recorded result holds for the same questions, the last one up to its stop.
    assert said[0] == "0 to 15"
    assert said[1].startswith("<think>I")
    assert "look" not in said[1]
    assert said[2] == adapter.FAILED
    assert said[3] == "8"


def test_pictures_are_a_clip_with_times(adapter: Any) -> None:
    pictures = [Image.fromarray(np.full((8, 8, 3), i, dtype=np.uint8)) for i in range(50)]
    clip = build(adapter, [])._clip(pictures)
    assert clip.frames[:, 0, 0, 0].tolist() == list(range(0, 50, 3))  # at most 24: every third
    assert clip.times_seconds[1] == 1.0
    assert clip.duration_seconds == pytest.approx(50 / 3)


def test_what_it_cannot_do_it_says(adapter: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown model_args \['modle'\]"):
        adapter.VideoModel(modle="x")
    model = build(adapter, [["x.mp4"]])
    with pytest.raises(ValueError, match="wants sampled answers"):
        model.generate_until([ask("?", 0, do_sample=True, temperature=0.7)])
    with pytest.raises(NotImplementedError, match="a task that generates"):
        model.loglikelihood([])
