"""Command lines of scripts: dataclasses as options, with help and a guess at what was meant."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser


def option(default: Any, help: str) -> Any:
    """Return a dataclass field with a line for ``--help``."""
    return field(default=default, metadata={"help": f"{help} (default: {default})"})


def options_parser(kinds: Sequence[type[Any]], *, description: str | None) -> HfArgumentParser:
    """Return a parser of one dataclass or several."""
    classes: Any = list(kinds)
    return HfArgumentParser(
        classes,
        allow_abbrev=False,
        description=description,
        usage="%(prog)s [--config FILE] [--option value ...]   (--help lists all)",
    )


def with_config(parser: ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Put the options of a file named by ``--config`` before those of the command line, which win.

    The file is YAML or JSON, one mapping of option names to values. A file that is not there or
    holds something else ends the program with one sentence.

    Args:
        parser: That says so.
        argv: The command line, without the program.

    Returns:
        The command line without ``--config``.
    """
    reader = ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--config")
    given, rest = reader.parse_known_args(argv)
    if given.config is None:
        return rest
    try:
        content = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f"--config: expected a file of YAML or JSON: {error}")
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        parser.error(f"--config: expected options and their values in {given.config}")
    return [*(word for option in content.items() for word in _as_words(*option)), *rest]


def _as_words(name: str, value: Any) -> list[str]:
    """Write one option of a file as on a command line; one without a value is left out."""
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    plain = (str(item) if isinstance(item, str | float) else json.dumps(item) for item in values)
    return [f"--{name}", *plain]


def parse_options(parser: HfArgumentParser, argv: Sequence[str]) -> tuple[Any, ...]:
    """Fill the parser's dataclasses; an unknown option ends the program with one sentence.

    Args:
        parser: From :func:`options_parser`.
        argv: The command line, without the program.
    """
    *filled, unknown = parser.parse_args_into_dataclasses(
        with_config(parser, argv), return_remaining_strings=True, look_for_args_file=False
    )
    refuse_unknown(parser, unknown)
    return tuple(filled)


def refuse_unknown(parser: HfArgumentParser, unknown: Sequence[str]) -> None:
    """End the program if options are left over, with a guess at what was meant."""
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        near = get_close_matches(unknown[0], known, 1)
        meant = f"did you mean {near[0]}?" if near else "--help lists them all"
        parser.error(f"unknown option {unknown[0]}; {meant}")
