"""Command lines of scripts: dataclasses as options, with help and a guess at what was meant."""

from __future__ import annotations

import json
import re
from argparse import (
    SUPPRESS,
    ArgumentDefaultsHelpFormatter,
    ArgumentParser,
    RawDescriptionHelpFormatter,
)
from collections.abc import Container, Mapping, Sequence
from dataclasses import field
from difflib import get_close_matches
from inspect import cleandoc
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

HELP_ALL = "--help_all"


class _Help(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Defaults beside the options, and the description as it was written."""


def option(default: Any, help: str) -> Any:
    """Return a dataclass field with a line for ``--help``."""
    return field(default=default, metadata={"help": help})


def options_parser(kinds: Sequence[type[Any]], *, description: str | None) -> HfArgumentParser:
    """Return a parser of one dataclass or several, with help from their docstrings."""
    classes: Any = list(kinds)
    parser = HfArgumentParser(
        classes,
        allow_abbrev=False,
        description=description,
        formatter_class=_Help,
        usage="%(prog)s [--config FILE] [--option value ...]   (--help lists them)",
    )
    told = {name: words for kind in kinds for name, words in explained(kind).items()}
    for action in parser._actions:
        if action.option_strings[0].startswith("--no_"):
            action.help = f"the opposite of --{action.dest}"
        # The other spelling, --with-dashes, is read and not listed.
        action.option_strings = action.option_strings[:1] if action.dest != "help" else ["--help"]
        action.help = action.help or told.get(action.dest, "").replace("%", "%%")
    return parser


def explained(kind: type[Any]) -> dict[str, str]:
    """Read what a class says about its fields: in its docstring, or in a field's ``help``.

    Args:
        kind: A dataclass or a named tuple.

    Returns:
        Name -> words, on one line and without markup.
    """
    told: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        fields = vars(base).get("__dataclass_fields__", {})
        told |= {f.name: f.metadata["help"] for f in fields.values() if f.metadata.get("help")}
        _, _, text = re.sub(
            r"\n(Args|Attributes):\n", "\0", cleandoc(base.__doc__ or "")
        ).partition("\0")
        for name, words in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE):
            told[name] = re.sub(r":\w+:`~?([^`]*)`|`", r"\1", " ".join(words.split()))
    return told


def shorten_help(parser: ArgumentParser, argv: Sequence[str], rare: Container[str]) -> list[str]:
    """Leave rare options out of ``--help``; ``--help_all`` lists them too.

    Args:
        parser: Whose help is shortened.
        argv: The command line, without the program.
        rare: Names of options.

    Returns:
        The command line for the parser.
    """
    if HELP_ALL in argv:
        return ["--help"]
    for action in parser._actions:
        if action.dest in rare:
            action.help = SUPPRESS
    parser.epilog = f"{HELP_ALL} lists the options of transformers.TrainingArguments too."
    return list(argv)


def with_config(parser: ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Put the options of a file named by ``--config`` before those of the command line, which win.

    Args:
        parser: That says what is wrong with the file.
        argv: The command line, without the program.

    Returns:
        The command line without ``--config``.
    """
    options, rest = read_config(parser, argv)
    return [*as_words(options), *rest]


def read_config(parser: ArgumentParser, argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Read the file named by ``--config``, if any.

    The file is YAML or JSON, one mapping of option names to values. A file that is not there or
    holds something else ends the program with one sentence.

    Args:
        parser: That says so.
        argv: The command line, without the program.

    Returns:
        The file's options, and the command line without ``--config``.
    """
    reader = ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--config")
    given, rest = reader.parse_known_args(argv)
    if given.config is None:
        return {}, rest
    try:
        content = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f"--config: expected a file of YAML or JSON: {error}")
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        parser.error(f"--config: expected options and their values in {given.config}")
    return content, rest


def as_words(options: Mapping[str, Any]) -> list[str]:
    """Write options as on a command line; one without a value is left out.

    >>> as_words({"beta": 0.04, "use_peft": True, "scan": None})
    ['--beta', '0.04', '--use_peft', 'true']
    """
    words = []
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            plain = (str(v) if isinstance(v, str | float) else json.dumps(v) for v in values)
            words += [f"--{name}", *plain]
    return words


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


def refuse_unknown(parser: ArgumentParser, unknown: Sequence[str]) -> None:
    """End the program if options are left over, with a guess at what was meant."""
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        near = get_close_matches(unknown[0], known, 1)
        meant = f"did you mean {near[0]}?" if near else "--help lists them all"
        if unknown[0] == "--compute_environment":
            meant = "this looks like a file for accelerate launch --config_file"
        parser.error(f"unknown option {unknown[0]}; {meant}")
