"""Call a script's ``main`` in this process, as the command line would."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def script_caller(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str]]:
    """Load a script; return a function of its options that returns its code and what it said."""
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / f"scripts/{name}.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, f"{name}_script", script)
    spec.loader.exec_module(script)
    monkeypatch.chdir(ROOT)

    def call(*options: str, typed: str = "") -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code: Any = 0
        try:
            script.main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, f"{said.out}{said.err}"

    return call
