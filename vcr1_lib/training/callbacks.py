"""What a training run shows, writes and does when it is interrupted."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from transformers.trainer_callback import (
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.training_args import TrainingArguments

from vcr1_lib.models.sharding import any_process

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
COMPLETIONS_FILE = "completions.jsonl"


def resume_hint(folder: str, step: int) -> str:
    """Say how to go on after an interruption, in the words of the command line."""
    return (
        f"Stopped at step {step}; the checkpoint is kept. To go on, give the same options and\n"
        f"  --output_dir {folder} --resume_from_checkpoint {folder}/checkpoint-{step}\n"
        '(with make: the same between the quotes of make run ARGS="...")'
    )


def write_rows(path: Path, rows: Iterable[dict[str, Any]], mode: str = "a") -> None:
    """Write plain data to a file, one row a line; mode "w" replaces it in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path if mode == "a" else path.with_suffix(".new")
    with target.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    if target != path:
        target.replace(path)


class ProgressBar(ProgressCallback):
    """One line: reward, IoU, answer length, held-out mIoU, time left."""

    shown: ClassVar[dict[str, str]] = {
        "reward": "reward",
        "rewards/temporal_iou_reward/mean": "IoU",
        "completions/mean_length": "length",
        "eval_mIoU": "held-out mIoU",
    }

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the latest figures behind the bar."""
        if self.training_bar is None or not logs:
            return
        self.figures |= {
            label: f"{logs[key]:.3g}" for key, label in self.shown.items() if key in logs
        }
        self.training_bar.set_postfix(self.figures)


class JsonLines(TrainerCallback):
    """Keep ``metrics.jsonl`` in the output folder equal to the log history."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start from the history, so that a resumed run continues its files."""
        self._write(args, state, state.log_history, "w")
        completions = Path(str(args.output_dir)) / COMPLETIONS_FILE
        if state.is_world_process_zero and completions.is_file():
            lines = completions.read_text(encoding="utf-8").split("\n")[:-1]  # whole ones
            rows = [row for row in map(json.loads, lines) if row["step"] < state.global_step]
            write_rows(completions, rows, "w")

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Append the newest row."""
        self._write(args, state, state.log_history[-1:], "a")

    @staticmethod
    def _write(
        args: TrainingArguments, state: TrainerState, rows: list[dict[str, float]], mode: str
    ) -> None:
        if not state.is_world_process_zero:
            return
        write_rows(Path(str(args.output_dir)) / METRICS_FILE, rows, mode)


class LiveCurve(TrainerCallback):
    """Redraw a notebook's reward curve while the model trains."""

    def __init__(self, draw: Callable[[list[dict[str, Any]]], bytes], *, every: int = 5) -> None:
        self.draw, self.every = draw, every
        self.handle: Any = None

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Draw every few steps, always in the same place."""
        from IPython.display import display

        from vcr1_lib.plots import Picture

        if not state.is_world_process_zero or state.global_step % self.every:
            return
        picture = Picture(self.draw(state.log_history), alt="reward curves so far")
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)


class SkippedSteps(TrainerCallback):
    """Count the steps that fp16's scaler leaves out because a gradient overflowed.

    Args:
        watch: Told 1 or 0 after each optimizer step.
    """

    def __init__(self, watch: Callable[[float], None]) -> None:
        self.watch = watch
        self.steps = self.skipped = 0

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Ask accelerate's optimizer whether it stepped."""
        skipped = bool(getattr(optimizer, "step_was_skipped", False))
        self.steps, self.skipped = self.steps + 1, self.skipped + skipped
        self.watch(float(skipped))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say how many of the steps changed nothing."""
        if self.skipped and state.is_world_process_zero:
            log.warning(
                "fp16: %d of %d steps changed nothing because a gradient overflowed; a few at the "
                "start are the scaler finding its scale, more ask for bf16 or dtype float32",
                self.skipped,
                self.steps,
            )


class StopOnInterrupt(TrainerCallback):
    """On Ctrl-C finish the step, save a checkpoint and stop; a second Ctrl-C stops at once.

    SIGTERM does the same, and SIGUSR1, a scheduler's word before its time limit: launchers kill
    what has not ended 30 s after a SIGTERM. They may come twice, so a second one changes nothing.
    All processes stop at the same step.
    """

    def __init__(self) -> None:
        self.asked = self.stopped = False
        self.previous: dict[int, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen for the signals; only the main thread may."""
        self.asked = self.stopped = False
        if threading.current_thread() is threading.main_thread():
            names = ("SIGINT", "SIGTERM", "SIGUSR1")  # Windows lacks the last
            listened = [getattr(signal, name) for name in names if hasattr(signal, name)]
            self.previous = {number: signal.signal(number, self._ask) for number in listened}

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        if number == signal.SIGINT:
            signal.signal(number, self.previous[number])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop if any process was asked."""
        if any_process(self.asked, args.device):
            self.stopped = control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say how to go on, once for all processes, and give the signals back."""
        if self.stopped and state.is_world_process_zero:
            log.warning("%s", resume_hint(str(args.output_dir), state.global_step))
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}
