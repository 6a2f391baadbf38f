"""Command lines of scripts: dataclasses as options, with help and a guess at what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from difflib import get_close_matches
from typing import Any

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
        usage="%(prog)s [--option value ...]   (--help lists all)",
    )


def parse_options(parser: HfArgumentParser, argv: Sequence[str]) -> tuple[Any, ...]:
    """Fill the parser's dataclasses; an unknown option ends the program with one sentence.

    Args:
        parser: From :func:`options_parser`.
        argv: The command line, without the program.
    """
    *filled, unknown = parser.parse_args_into_dataclasses(
        argv, return_remaining_strings=True, look_for_args_file=False
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
