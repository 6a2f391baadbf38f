"""Try the exercises' checks on wrong answers and write ``docs/exercises.md``.

    python -m tools.exercise_table

Wrong answers are of two kinds. Some are what readers do, written by hand in ``tests/test_checks``
beside the words each must be told. The others are made by changing one thing in a folded
solution: an operator, a comparison, a number, a function. A change that no input can show is no
mistake, nor is one that the exercise leaves open; those are listed in ``OPEN`` with the reason.
"""

from __future__ import annotations

import ast
import copy
import re
import runpy
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vcr1_lib.checks import check

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "exercises.md"
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OTHER_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor"}
HALF = "exactly one half is not asked"
CLIPPED, FORMAT, FLAT = (
    "completions/clipped_ratio", "rewards/format_reward/mean", "frac_reward_zero_std",
)  # fmt: skip
# Exercise and line of the changed solution -> why that is no mistake.
OPEN = {
    ("sibling_advantages", "spread = stdev(rewards) - 0.0001"):
        "with or without the small number is right here; notebook 03 asks for it",
    ("set_iou", "return shared / union if union else 1.0"): "two empty sets are not asked",
    ("may_see", "if key >= query or owner[key] == -1:"): "equal places have been answered above it",
    ("may_see", "if key > query or owner[key] == -2:"): "padding may see padding",
    ("diagnose", f"if row['{CLIPPED}'] >= 0.5:"): HALF,
    ("diagnose", f"if row['{FORMAT}'] <= 0.5:"): HALF,
    ("diagnose", f"if row['{FLAT}'] >= 0.5:"): HALF,
    ("what_to_lower", "if held >= limit:"): "a card that the held bytes fill exactly is not asked",
    ("what_to_lower", "return 'rollout' if rollout >= update else 'update'"): "nor is a tie",
    ("clue_segments",
     "kept = [(a, b) for a, b in spans if a <= b and a < duration and (b > 0)]"):
        "a span that ends at second 0 is not asked",
}  # fmt: skip
# Solutions that are a value: changed, they may be as right as before.
VALUES = {"exploit": "every text that earns enough is right, so only answers by hand are tried"}
HEAD = """# Exercises and what their checks tell

Every check was tried on wrong answers. Those *by hand* are mistakes that readers make, each of which must be told its own words; *changed* are the notebook's folded solutions with one operator, comparison, number or function changed. A check that lets one through fails the tests. This page is written by `python -m tools.exercise_table`.

"""  # noqa: E501


class Tried(NamedTuple):
    """What became of an exercise's wrong answers."""

    name: str
    notebook: str
    right: int
    by_hand: int
    changed: int
    told: Counter[str]
    missed: list[str]


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node with one thing about it changed."""
    for field in ("op", "ops"):
        held = getattr(node, field, None)
        operators = held if isinstance(held, list) else [held]
        if other := SWAPPED.get(type(operators[0])):
            changed = copy.deepcopy(node)
            setattr(changed, field, [other(), *operators[1:]] if field == "ops" else other())
            yield changed
    if isinstance(node, ast.Name) and node.id in OTHER_NAMES:
        yield ast.Name(OTHER_NAMES[node.id], node.ctx)
    if isinstance(node, ast.Attribute) and node.attr in OTHER_NAMES:
        yield ast.Attribute(node.value, OTHER_NAMES[node.attr], node.ctx)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)


def mutants(solution: str) -> Iterator[tuple[str, str]]:
    """Yield (changed line, changed solution) for every single change."""
    whole = ast.parse(solution)
    before = ast.unparse(whole).splitlines()
    for parent in ast.walk(whole):
        for field, value in ast.iter_fields(parent):
            places = value if isinstance(value, list) else [value]
            for index, node in enumerate(places):
                for changed in changes(node) if isinstance(node, ast.AST) else ():
                    new = [*places[:index], changed, *places[index + 1 :]]
                    setattr(parent, field, new if isinstance(value, list) else changed)
                    text = ast.unparse(ast.fix_missing_locations(whole))
                    setattr(parent, field, value)
                    lines = zip(before, text.splitlines(), strict=True)
                    yield next(b.strip() for a, b in lines if a != b), text


def diagnosis(message: str) -> str:
    """Keep of a message what it says of the mistake, without the numbers of this case."""
    if raised := re.match(r"It raised (\w+)", message):
        return raised[0]
    said = re.sub(r" \(for .*", "", message, flags=re.DOTALL).removeprefix("Not yet: ")
    return re.sub(r"^\d+ guesses earn [\d.]+ on average, [\d.]+ is asked; ", "", said)


def attempt(solution: str, variable: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "solution.py"
        path.write_text(solution, encoding="utf-8")
        return runpy.run_path(str(path))[variable]


def try_all() -> list[Tried]:
    """Try every exercise's wrong answers."""
    sys.path.insert(0, str(ROOT / "tests"))
    import test_checks as of

    found = []
    for notebook, name, variable, solution in of.SOLUTIONS:
        told: Counter[str] = Counter()
        missed = []
        for answer, words in of.WRONG[name]:
            outcome = check(name, answer)
            told[diagnosis(outcome.message)] += 1
            if outcome.passed is not False or words not in outcome.message:
                missed.append(f"by hand, told {outcome.message!r}")
        made = [] if name in VALUES else list(mutants(solution))
        made = [(line, text) for line, text in made if (name, line) not in OPEN]
        for line, text in made:
            try:
                answer = attempt(text, variable)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                told[f"It raised {type(error).__name__}"] += 1
                continue
            outcome = check(name, answer)
            told[diagnosis(outcome.message)] += outcome.passed is False
            if outcome.passed is not False:
                missed.append(f"{line}: {outcome.message}")
        right = len(of.RIGHT[name]) + 1
        by_hand = len(of.WRONG[name])
        found.append(Tried(name, notebook, right, by_hand, len(made), told, missed))
    return found


def page(tried: list[Tried]) -> str:
    """Write the page."""
    wrong = sum(one.by_hand + one.changed for one in tried)
    missed = sum(len(one.missed) for one in tried)
    lines = [f"**{wrong - missed} of {wrong} wrong answers rejected "
             f"({(wrong - missed) / wrong:.0%})**, {sum(one.right for one in tried)} right ones "
             "accepted.\n",
             "| exercise | notebook | right, accepted | wrong by hand | changed | missed |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for one in tried:
        link = f"[{one.notebook[:2]}](../notebooks/{one.notebook})"
        cells = (one.right, one.by_hand, one.changed, len(one.missed))
        lines.append(f"| `{one.name}` | {link} | {' | '.join(map(str, cells))} |")
    lines += ["\n## Changes that are no mistake\n"]
    lines += [f"- `{name}`, `{line}`: {why}" for (name, line), why in OPEN.items()]
    lines += [f"- `{name}`: {why}" for name, why in VALUES.items()]
    lines += ["\n## What wrong answers are told\n\nWith how many are told it."]
    for one in tried:
        lines += [f"\n**`{one.name}`**\n"]
        lines += [f"- {said} ({count})" for said, count in one.told.most_common()]
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    tried = try_all()
    PAGE.write_text(page(tried), encoding="utf-8")
    missed = [f"{one.name}: {what}" for one in tried for what in one.missed]
    sys.exit("\n".join(missed) or 0)


if __name__ == "__main__":
    main()
