"""Command lines say what was meant."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vcr1_lib.options import explained, option, options_parser, parse_options, shorten_help


@dataclass
class Wanted:
    """Two options."""

    model: str = option("tiny", "which model")
    fps: float = option(1.0, "frames a second")


@dataclass
class More:
    """One more."""

    seed: int = option(0, "of the draws")


def test_dataclasses_are_filled_in_order() -> None:
    parser = options_parser([Wanted, More], description="Try.")
    wanted, more = parse_options(parser, ["--seed", "3", "--fps", "2"])
    assert wanted == Wanted(fps=2.0)
    assert more == More(3)
    assert "which model (default: tiny)\n" in parser.format_help()


@dataclass
class Documented(Wanted):
    """Options whose docstring is their help.

    Args:
        top_k: Of sampling, ``0`` for all, or see
            :func:`vcr1_lib.grpo.grpo_loss`: 50 % more.
        fresh: Start anew.
    """

    top_k: int = 0
    fresh: bool = True


def test_help_comes_from_docstrings_and_fields() -> None:
    assert explained(Documented) == {
        "model": "which model",
        "fps": "frames a second",
        "top_k": "Of sampling, 0 for all, or see vcr1_lib.grpo.grpo_loss: 50 % more.",
        "fresh": "Start anew.",
    }
    parser = options_parser([Documented], description="Two\nlines.")
    told = " ".join(parser.format_help().split())
    assert "--top_k TOP_K Of sampling" in told
    assert "50 % more. (default: 0)" in told
    assert "--no_fresh the opposite of --fresh" in told
    assert parse_options(parser, ["--top-k", "4"])[0].top_k == 4


def test_rare_options_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, listed in ((["--help"], False), (["--help_all", "--fps", "2"], True)):
        parser = options_parser([Wanted, More], description=None)
        rest = shorten_help(parser, argv, rare={"seed"})
        with pytest.raises(SystemExit):
            parse_options(parser, rest)
        assert ("--seed" in capsys.readouterr().out) == listed
    assert parse_options(parser, ["--seed", "3"])[1] == More(3)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--modle", "x"], "unknown option --modle; did you mean --model?"),
        (["--zzz"], "unknown option --zzz; --help lists them all"),
        (["--fps", "two"], "invalid float value: 'two'"),
        (["stray"], "unknown option stray"),
    ],
)
def test_bad_options_end_with_a_sentence(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_options(options_parser([Wanted], description=None), argv)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
