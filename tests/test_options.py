"""Command lines say what was meant."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vcr1_lib.options import option, options_parser, parse_options


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
    assert "which model (default: tiny)" in parser.format_help()


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
