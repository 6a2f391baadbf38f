r"""Run tasks of lmms-eval on one of our models; in an environment of its own (`make engines`).

    python benchmarks/engines/lmms_eval/run.py                      # the local tasks
    python benchmarks/engines/lmms_eval/run.py --tasks mvbench,videomme,videomme_w_subtitle \
        --model_args pretrained=MODEL,fps=2,max_frames=64

Every option but `--result` is lmms-eval's. The local tasks ask about shipped clips; what they
score is written to `result.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path

from lmms_eval.evaluator import simple_evaluate
from lmms_eval.models import MODEL_REGISTRY_V2
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.tasks import TaskManager

HERE = Path(__file__).parent
TOY = "pretrained=data_samples/tiny_model,fps=1,max_frames=24"
# What the paper's tables ask through multiple choice; each needs its videos from the hub.
PUBLIC_TASKS = (
    "mvbench",
    "videomme",
    "videomme_w_subtitle",
    "videomme_long",
    "longvideobench_val_v",
    "lvbench",
    "mlvu_dev",
    "perceptiontest_val_mc",
)
PACKAGES = ("lmms-eval", "torch", "transformers", "datasets", "av", "decord", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="vcr1_when,vcr1_choice")
    parser.add_argument("--model_args", default=TOY)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    told = parser.parse_args()
    sys.path.insert(0, str(HERE))
    MODEL_REGISTRY_V2.register_manifest(
        ModelManifest("vcr1", simple_class_path="adapter.VideoModel"), overwrite=True
    )
    manager = TaskManager(include_path=str(HERE / "tasks"))
    start = time.perf_counter()
    found = simple_evaluate(
        model="vcr1",
        model_args=told.model_args,
        tasks=told.tasks.split(","),
        batch_size=told.batch_size,
        limit=told.limit,
        task_manager=manager,
        bootstrap_iters=0,
    )
    seconds = time.perf_counter() - start
    scores = {
        task: {k.split(",")[0]: v for k, v in row.items() if isinstance(v, float)}
        for task, row in found["results"].items()
    }
    answers = {
        task: [{"id": row["doc"].get("id"), "said": row["filtered_resps"][0]} for row in rows]
        for task, rows in found["samples"].items()
    }
    result = {
        "command": shlex.join(["python", "benchmarks/engines/lmms_eval/run.py", *sys.argv[1:]]),
        "model_args": told.model_args,
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "seconds": round(seconds, 1),
        "questions": {task: len(rows) for task, rows in answers.items()},
        "known_public_tasks": [name for name in PUBLIC_TASKS if name in manager.all_tasks],
        "scores": scores,
        "answers": answers,
    }
    told.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: result[k] for k in ("questions", "scores", "seconds")}, indent=1))


if __name__ == "__main__":
    main()
