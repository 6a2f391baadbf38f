"""A model's folder: is it one, is it whole, and which one was meant by a misspelt name?"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Final

WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json")


class ModelError(ValueError):
    """A model cannot be loaded as asked; the message says what to do."""


def check_folder(name: str) -> None:
    """Make sure that a model's folder holds a configuration and safetensors.

    A name of the form ``owner/name`` that is no folder here is left to the hub.

    Raises:
        ModelError: If it does not, or if a name that cannot be the hub's is no folder.
    """
    folder = Path(name)
    if not folder.exists() and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"expected a model folder with config.json, or a name such as "
            f"Qwen/Qwen2.5-VL-3B-Instruct, found none in {folder}"
            + (f"; {meant}" if (meant := _meant(folder)) else "")
        )
    if not any((folder / file).is_file() for file in WEIGHTS):
        pickles = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        raise ModelError(
            f"expected a model folder with {' or '.join(WEIGHTS)}, found none in {folder}"
            + (": pickles are not read, save them as safetensors first" if pickles else "")
        )


def not_found(name: str, error: OSError) -> str:
    """Say what to do about a model that neither a folder nor the hub gives."""
    folder = Path(name)
    if folder.is_dir():
        return f"{name} cannot be loaded: {error}"
    if meant := _meant(folder):
        return f"there is no folder {name}, and the hub gave no such model; {meant}"
    return (
        f"{name} is not in this machine's cache and could not be downloaded: run "
        f"'hf download {name}' where there is a network, or give the folder of a copy "
        f"({str(error).strip().splitlines()[0]})"
    )


def _meant(folder: Path) -> str:
    """Name the folders that are called nearly so, where a part of a path is not there."""
    if folder.exists():
        return ""
    part = folder
    while not part.parent.exists():
        part = part.parent
    there = [path.name for path in sorted(part.parent.iterdir()) if path.is_dir()]
    near = [str(part.parent / name) for name in get_close_matches(part.name, there, 3)]
    return f"did you mean {' or '.join(near)}?" if near else ""
