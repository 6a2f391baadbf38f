"""Checkpoints that survive a crash: which one is whole, and how many processes wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from safetensors import SafetensorError, safe_open
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

SAVED_BY_TORCH = (".pt", ".pth", ".bin")


class CheckpointError(OSError):
    """A checkpoint cannot be written, or a run cannot go on from it."""


def is_whole(folder: Path) -> bool:
    """Tell whether a checkpoint was written to its end.

    Transformers writes ``trainer_state.json`` last. The other files' ends are looked at too,
    without loading them: a full disk or a lost machine can cut any of them.
    """
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        for weights in folder.rglob("*.safetensors"):
            with safe_open(weights, framework="pt"):
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all(is_zipfile(path) for path in folder.rglob("*") if path.suffix in SAVED_BY_TORCH)


def last_checkpoint(folder: Path) -> Path | None:
    """Return an output folder's newest whole checkpoint; a run killed while saving left others."""
    found = map(Path, sort_checkpoints(str(folder)))
    return next((path for path in reversed(list(found)) if is_whole(path)), None)


def find_checkpoint(asked: str | None, output_dir: str, *, world_size: int) -> str | None:
    """Return the checkpoint to go on from.

    Args:
        asked: A checkpoint's folder, ``"last"`` for the newest whole one in ``output_dir``, if
            there is one, or ``None``.
        output_dir: The run's folder.
        world_size: Processes of this run.

    Raises:
        CheckpointError: If the folder is not a whole checkpoint, or not of as many processes:
            each of them has a random state of its own, and its share of the questions.
    """
    if not asked:
        return None
    path = last_checkpoint(Path(output_dir)) if asked == "last" else Path(asked)
    if path is None:
        return None
    if not is_whole(path):
        raise CheckpointError(
            f"expected a whole checkpoint at {path}, found none or one cut short while it was "
            "saved: --resume_from_checkpoint last takes the newest whole one"
        )
    wrote = len(list(path.glob("rng_state*.pth")))
    if wrote != world_size:
        raise CheckpointError(
            f"{path} was written by {wrote} process(es) and this run has {world_size}: launch as "
            "many, or start a run of its own with --model_name_or_path at that checkpoint"
        )
    return str(path)


class ResumableTrainer(Trainer):
    """A ``Trainer`` that a killed run can go on from, to the same weights and figures."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save; a checkpoint has its ``trainer_state.json`` only while it is whole."""
        step = self.state.global_step
        folder = Path(self._get_output_dir(trial=trial))
        if self.args.should_save:
            state = folder / f"{PREFIX_CHECKPOINT_DIR}-{step}" / TRAINER_STATE_NAME
            state.unlink(missing_ok=True)
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {folder} ({error}); the "
                f"last whole one is {last_checkpoint(folder)}: make room, then go on with "
                "--resume_from_checkpoint last"
            ) from error

    def _save_rng_state(self, output_dir: str) -> None:
        """Let every process write its state before the first calls the checkpoint whole."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Leave out ``train_loss``: it forgets the steps before a restart."""
        super().log({k: v for k, v in logs.items() if k != "train_loss"}, start_time)
