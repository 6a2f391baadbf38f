import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from trl import ModelConfig

from benchmarks.planner import CASES
from vcr1_lib.hardware import PROFILES
from vcr1_lib.models.loading import ModelOptions
from vcr1_lib.planner import CARD, compare, ladder, main, plan_time
from vcr1_lib.planning.advice import advise, plan_memory, smaller_models
from vcr1_lib.planning.footprint import GIB, NF4_DOUBLE, NF4_SINGLE
from vcr1_lib.planning.schedule import GPUS, step_traffic
from vcr1_lib.planning.setup import Setup, read_setup
from vcr1_lib.planning.shapes import (
    PUBLISHED,
    TEXT,
    known_shape,
    meta_model,
    model_config,
    video_of,
)
from vcr1_lib.training.config import VideoGRPOConfig
from vcr1_lib.video.tokens import video_grid

ROOT = Path(__file__).parents[1]
ADAPTED = r".*(language_model|text_model)\.layers.*\.(q|k|v|o|gate|up|down)_proj"
MULTI = PROFILES["multi"] | {"num_gpus": 8, "strategy": "zero3"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_true_shapes_have_the_published_number_of_parameters(name: str) -> None:
    assert known_shape(name).total == PUBLISHED[name]
    assert sum(p.numel() for p in meta_model(model_config(name)).parameters()) == PUBLISHED[name]


def test_every_known_shape_has_a_published_count() -> None:
    assert TEXT.keys() == PUBLISHED.keys()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "Qwen/Qwen3-VL-2B-Instruct",
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
    ],
)
def test_adapters_are_counted_as_peft_does(name: str) -> None:
    lora = LoraConfig(r=16, target_modules=ADAPTED)
    with torch.device("meta"):
        model = get_peft_model(meta_model(model_config(name)), lora)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert known_shape(name).adapters(16) == trained
    assert 0 < known_shape(name).adapters(16, frozenset({"q_proj"})) < trained


def test_nf4_is_counted_as_bitsandbytes_stores_it() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(1024, 512)
    for double, each in ((True, NF4_DOUBLE), (False, NF4_SINGLE)):
        packed, state = functional.quantize_4bit(
            weight, quant_type="nf4", compress_statistics=double
        )
        stored = packed.nbytes + state.absmax.nbytes
        if double:
            stored += state.state2.absmax.nbytes
        assert stored == pytest.approx(weight.numel() * each, rel=1e-3)


def test_a_clip_costs_what_the_processors_rule_says() -> None:
    qwen = known_shape("Qwen/Qwen2.5-VL-3B-Instruct")
    sixteen, thirty_two = (video_of(qwen, n, 360, 640).prompt_tokens for n in (16, 32))
    assert thirty_two - sixteen == video_grid(16, 360, 640).num_tokens
    # 512 x 512 pixels are 32 x 32 patches of 16, and 4 x 4 of those are a token.
    smol = known_shape("HuggingFaceTB/SmolVLM2-256M-Video-Instruct")
    assert video_of(smol, 10, 360, 640).patches == 10 * 32 * 32
    # 352 x 640 pixels of 16 frames are 8 x 11 x 20 tokens.
    qwen3 = known_shape("Qwen/Qwen3-VL-2B-Instruct")
    assert video_of(qwen3, 16, 360, 640).patches == 4 * 8 * 11 * 20
    assert video_of(qwen, 16, 360, 640, 100_000).patches < video_of(qwen, 16, 360, 640).patches
    with pytest.raises(ValueError, match="at least 1 of each"):
        video_of(qwen, 0, 360, 640)


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_use_options_that_exist(name: str) -> None:
    known = {f.name for kind in (ModelConfig, VideoGRPOConfig) for f in dataclasses.fields(kind)}
    assert PROFILES[name].keys() <= known


@pytest.mark.parametrize("name", CARD)
def test_profiles_fit_the_cards_they_are_for(name: str) -> None:
    card, num_gpus, strategy = CARD[name]
    setup = read_setup(PROFILES[name] | {"num_gpus": num_gpus, "strategy": strategy})
    assert plan_memory(setup).total <= GPUS[card].memory_gib * GIB
    assert advise(setup, GPUS[card].memory_gib * GIB) == ([], [])


def test_the_recipe_of_the_paper() -> None:
    stated = {"num_generations": 8, "beta": 0.04, "learning_rate": 1e-6, "use_peft": False}
    stated |= {"max_completion_length": 1024, "per_device_train_batch_size": 1, "bf16": True}
    assert PROFILES["multi"].items() >= stated.items()


def test_the_t4_profile_needs_no_bf16() -> None:
    assert PROFILES["t4"]["fp16"]
    assert "bf16" not in PROFILES["t4"]
    assert PROFILES["t4"]["dtype"] == "float16"


def test_every_technique_of_the_ladder_saves_memory() -> None:
    rows = [line.replace("*", "").split("|")[2:-1] for line in ladder().splitlines()[2:]]
    for column in zip(*rows, strict=True):
        sizes = [float(cell) for cell in column]
        assert sizes == sorted(sizes, reverse=True)


def test_the_committed_ladder_is_the_computed_one() -> None:
    assert ladder() in (ROOT / "docs" / "one_gpu.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("profile", "limit"), [("t4", 5.5), ("gpu24", 10), ("gpu80", 20), ("gpu80", 14.5)]
)
def test_what_is_advised_does_fit(profile: str, limit: float) -> None:
    setup = read_setup(PROFILES[profile])
    advice = advise(setup, limit * GIB)
    assert advice.alone or advice.together
    for change in advice.alone:
        assert change.total <= limit * GIB
    if advice.together:
        assert advice.together[-1].total <= limit * GIB
        totals = [change.total for change in advice.together]
        assert totals == sorted(totals, reverse=True)


def test_a_number_is_lowered_no_more_than_needed() -> None:
    setup = read_setup(PROFILES["t4"] | {"max_frames": 300})
    (change,) = [c for c in advise(setup, 14.5 * GIB).alone if c.option == "max_frames"]
    assert (change.before, plan_memory(setup).total > 14.5 * GIB) == (300, True)
    assert plan_memory(setup._replace(max_frames=change.after)).total == change.total
    assert plan_memory(setup._replace(max_frames=change.after + 2)).total > 14.5 * GIB


def test_where_nothing_helps_a_smaller_model_is_named() -> None:
    setup = read_setup(PROFILES["gpu80"])
    assert advise(setup, 3 * GIB) == ([], [])
    names = smaller_models(read_setup(PROFILES["t4"]), 4 * GIB)
    assert all(PUBLISHED[name] < PUBLISHED[setup.model_name_or_path] for name in names)
    assert names


def test_ranks_share_weights_by_strategy() -> None:
    alone, ddp, zero2, zero3 = (
        plan_memory(read_setup(MULTI | {"num_gpus": n, "strategy": s}))
        for n, s in ((1, "ddp"), (8, "ddp"), (8, "zero2"), (8, "zero3"))
    )
    assert ddp.weights == alone.weights == zero2.weights == 8 * zero3.weights
    assert zero2.gradients == zero3.gradients == alone.gradients // 8
    # fp32 master weights and two states: 12 bytes a parameter over 8 ranks.
    assert zero3.optimizer == 12 * PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"] // 8
    assert zero3.total < zero2.total < ddp.total
    # The trainer keeps a whole copy in every process.
    assert zero3.reference == alone.reference == alone.weights
    assert plan_memory(read_setup(MULTI | {"strategy": "fsdp2"})) == zero3


def test_traffic_of_one_step() -> None:
    setup = read_setup(MULTI)
    shape = known_shape(setup.model_name_or_path)
    video = video_of(shape, setup.max_frames, 360, 640)
    size = 2 * shape.total
    # Ring: 7 of 8 parts; an average passes twice, weights and gradients once each.
    for strategy, passes in (("ddp", 2), ("zero2", 2), ("zero3", 5)):
        sent = step_traffic(shape, setup._replace(strategy=strategy), video)
        assert sent == pytest.approx(passes * size * 7 / 8)
    assert step_traffic(shape, setup._replace(num_gpus=1), video) == 0


def test_hours_and_cost_scale() -> None:
    setup = read_setup(MULTI)
    eight = plan_time(setup, "A100-80", samples=18_031, price=2.0)
    assert eight.steps == 18_031 // 8
    assert eight.cost == pytest.approx(2.0 * 8 * eight.hours)
    assert plan_time(setup, "H100-80", samples=18_031).hours < eight.hours
    measured = plan_time(setup, "A100-80", samples=8000, group_seconds=(3.0, 6.0))
    assert measured.speed == "measured"
    assert measured.hours == pytest.approx(1000 * (9 + measured.traffic_seconds) / 3600)
    assert plan_time(setup._replace(max_steps=60), "A100-80", samples=18_031).steps == 60


def test_hours_of_evaluation_are_counted_where_its_questions_are() -> None:
    setup = read_setup(PROFILES["t4"])
    without = plan_time(setup, "T4", samples=300, price=1.0)
    assert without.evaluation_hours == 0
    some, more = (plan_time(setup, "T4", samples=300, eval_samples=n, price=1.0) for n in (75, 150))
    assert some.hours == without.hours
    assert some.cost == pytest.approx(without.cost + some.evaluation_hours)
    # 75 and 150 held-out questions twice, and 200 of training.
    assert more.evaluation_hours / some.evaluation_hours == pytest.approx(500 / 350)
    # Sixteen answers are written together, so one of them takes less than a group of eight.
    assert some.evaluation_hours * 3600 / 350 < without.rollout_seconds / 2
    shared = plan_time(setup._replace(num_gpus=2), "T4", samples=300, eval_samples=75)
    assert shared.evaluation_hours == pytest.approx(some.evaluation_hours / 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_generations": 0}, "num_generations >= 1"),
        ({"dtype": "float8"}, "expected dtype in"),
        ({"strategy": "pipeline"}, "expected strategy in"),
        ({"load_in_4bit": True}, "needs use_peft"),
    ],
)
def test_settings_that_cannot_be_planned(options: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_setup(options)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--samples", "1"], "at least the 2 samples"),
        (["--model_name_or_path", "nobody/nothing"], "expected model_name_or_path in"),
        (["--utilisation", "2"], "up to 1"),
        (["--answer_tokens", "999"], "answer_tokens <= max_completion_length"),
        (["--max_frames", "0"], "max_frames >= 1"),
        (["--gpu", "abacus"], "invalid choice"),
        (["--sample", "30"], "unknown option --sample; did you mean --samples?"),
        (["--eval_samples", "-1"], "eval_samples >= 0"),
        (["--config", "nowhere.yaml"], "--config: expected a file of YAML or JSON"),
        (["--load_in_4bit", "maybe"], "Truthy value expected"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert expected in last
    assert "Traceback" not in last


def test_the_command_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "t4", "--samples", "300", "--price", "0.5"]) == 0
    told = capsys.readouterr().out
    for part in ("GiB", "It fits", "not measured on a GPU", "hours", "cost", "derived", "assumed"):
        assert part in told
    assert "--eval_samples N counts it" in told
    main(["--profile", "t4", "--samples", "300", "--eval_samples", "75"])
    told = capsys.readouterr().out
    assert "hours of evaluation" in told
    assert "not counted" not in told
    assert main(["--profile", "gpu80", "--gpu", "T4"]) == 1
    assert "load_in_4bit False -> True" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "train").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_runs_file_plans_that_run(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = {*Setup._fields, "profile"}
    words = [word for key in options.keys() & names for word in (f"--{key}", str(options[key]))]
    main(words)
    by_hand = capsys.readouterr().out
    main(["--config", str(path)])
    by_file = capsys.readouterr().out
    assert by_file.startswith(by_hand.strip())
    left = ", ".join(sorted(options.keys() - names))
    assert f"Of the file, the plan does not depend on: {left}." in by_file
    main(["--config", str(path), "--max_steps", "7"])
    assert "optimizer steps                  7" in capsys.readouterr().out


def test_the_command_takes_switches_and_explains_its_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = []
    for switch in (["--load_in_4bit"], ["--load_in_4bit", "false"], []):
        main(["--profile", "gpu80", *switch, "--explain"])
        told = capsys.readouterr().out
        weights.append(next(line for line in told.splitlines() if line.startswith("weights ")))
    four_bits, sixteen, profile = (float(line.split()[1]) for line in weights)
    assert four_bits < sixteen == profile
    assert "logits      Chunk of scores" in told
    assert "assumed     a rule of thumb" in told


def test_the_planner_starts_from_a_runs_own_defaults() -> None:
    setup = read_setup({})
    for kind in (ModelOptions, VideoGRPOConfig):
        for field in dataclasses.fields(kind):
            if field.name in setup._fields:
                assert getattr(setup, field.name) == field.default, field.name


def test_predicted_beside_measured() -> None:
    plan = plan_memory(read_setup(PROFILES["t4"]))
    figures = compare(plan, plan.total - plan.margin)
    assert [f.mark for f in figures] == ["derived", "measured", "derived"]
    assert figures[-1].value == 1.0
    with pytest.raises(ValueError, match="above 0"):
        compare(plan, 0)


def test_a_model_in_a_folder_is_planned_for() -> None:
    tiny = plan_memory(read_setup({"dtype": "float32"}))
    assert math.isclose(tiny.weights / 4, 1.1e6, rel_tol=0.05)


def test_the_recorded_predictions_are_within_a_fifth() -> None:
    text = (ROOT / "benchmarks" / "results" / "planner.json").read_text(encoding="utf-8")
    cases = json.loads(text)["cases"]
    assert list(cases) == list(CASES)
    rows = [row for case in cases.values() for row in case]
    assert all(abs(row["predicted_bytes"] / row["measured_bytes"] - 1) < 0.2 for row in rows)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_a_real_step_needs_what_was_predicted() -> None:
    case = "qwen2_5_vl, LoRA, G=4"
    code = f"import benchmarks.planner as b, json; print(json.dumps(b.measure({case!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert abs(row["predicted_bytes"] / row["measured_bytes"] - 1) < 0.2
