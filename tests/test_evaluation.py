"""An evaluation can be killed and restarted, counts failed videos, and writes its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vcr1_lib import evaluation
from vcr1_lib.datasets import read_charades_sta
from vcr1_lib.datasets.benchmarks import Section
from vcr1_lib.evaluation import evaluate
from vcr1_lib.evaluation.page import write_page
from vcr1_lib.metrics.predictions import PredictionError
from vcr1_lib.metrics.scoring import score_beside_baselines
from vcr1_lib.models import PromptLoader
from vcr1_lib.models.loading import load_model

SAMPLES = Path(__file__).parent.parent / "data_samples"
FOLDER = SAMPLES / "charades_sta"
RECORDS = read_charades_sta(
    FOLDER / "toyworld_sta_heldout.txt", FOLDER / "toyworld_v1_heldout.csv", FOLDER / "videos"
)[:10]
RUN = {"model": "tiny", "fps": 1.0}


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_model(SAMPLES / "tiny_model")


def answer(tiny: Any, log: Path, records: list[dict[str, Any]] = RECORDS, **options: Any) -> Any:
    model, processor = tiny
    loader = PromptLoader(processor, fps=1, max_frames=24)
    settings = {"run": RUN, "max_completion_length": 48, "batch_size": 4, **options}
    return evaluate(model, loader, records, log, **settings)


class Killed(BaseException):
    """What no handler may catch."""


@pytest.fixture(scope="module")
def whole(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str | None]]:
    log = tmp_path_factory.mktemp("whole") / "predictions.jsonl"
    return log, answer(tiny, log)


@pytest.mark.parametrize("torn", [False, True])
def test_killed_half_way_it_ends_in_the_same_file(
    tiny: Any, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    log, asked = tmp_path / "predictions.jsonl", []
    real = evaluation.append_predictions

    def dies_in_the_second_batch(path: Path, rows: list[dict[str, Any]]) -> None:
        if asked:
            if torn:
                real(path, rows[:1])
                with path.open("a") as file:
                    file.write('{"id": "charades_st')
            raise Killed
        asked.append(rows)
        real(path, rows)

    monkeypatch.setattr(evaluation, "append_predictions", dies_in_the_second_batch)
    with pytest.raises(Killed):
        answer(tiny, log)
    monkeypatch.undo()
    again = []
    greedily = evaluation.answer_greedily
    monkeypatch.setattr(
        evaluation,
        "answer_greedily",
        lambda *args, **options: again.append(len(args[2])) or greedily(*args, **options),
    )
    assert answer(tiny, log) == whole[1]
    assert log.read_bytes() == whole[0].read_bytes()
    assert again == [4, 2]  # the first batch is not asked again


def test_a_finished_log_asks_nothing(tiny: Any, whole: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluation, "answer_greedily", None)
    assert answer(tiny, whole[0]) == whole[1]


def test_another_runs_log_is_refused(tiny: Any, whole: Any) -> None:
    with pytest.raises(PredictionError, match="another run's answers"):
        answer(tiny, whole[0], run=RUN | {"fps": 2.0})
    with pytest.raises(PredictionError, match="no record has the id"):
        answer(tiny, whole[0], RECORDS[:3])
    with pytest.raises(ValueError, match="different ids"):
        answer(tiny, whole[0], [RECORDS[0], RECORDS[0]])


def test_a_broken_video_is_counted_and_shown(tiny: Any, whole: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    records = [RECORDS[0], RECORDS[1] | {"video": str(broken)}, *RECORDS[2:4]]
    texts = answer(tiny, tmp_path / "log.jsonl", records)
    assert texts[1] is None
    assert [texts[0], *texts[2:]] == [whole[1][0], *whole[1][2:4]]
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    (row,) = [json.loads(line) for line in lines if "error" in line]
    assert "is empty (0 bytes)" in row["error"]
    rows = score_beside_baselines(texts, records, train_records=RECORDS)
    assert rows["model"].table["failed"] == 0.25
    section = Section(rows, texts, records)
    page = write_page(tmp_path / "page.html", {"one": section}, title="A < B")
    html = page.read_text()
    assert "A &lt; B" in html
    assert "is empty (0 bytes)" in html
    # The curves, the lengths, and three of the four worst clips.
    assert html.count("data:image/png;base64,") == 5
    assert "http" not in html
    assert "<think>" not in html
