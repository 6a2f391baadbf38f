"""Run any reward against the answers that public rewards pay wrongly.

``python -m vcr1_lib.rewards.bench package.module:function`` prints a report card that ends with
the best score a policy gets that never looks at the video. The function has TRL's signature.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from math import isfinite
from numbers import Real
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vcr1_lib.prompts import render_gold
from vcr1_lib.rewards.cases import GOLD, Case, Kind, blind_answers, cases, draw_truths


class Verdict(NamedTuple):
    """What a reward paid for a case, a number or what went wrong, and what it should have."""

    case: Case
    paid: float | str
    ok: bool
    expected: str


class Blind(NamedTuple):
    """The best constant answer and its mean reward over truths it does not see."""

    answer: str
    mean_reward: float


# What a reward may raise on text it did not expect; listed, so that a typo here is no verdict.
FAULTS: Final = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NameError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError,
)  # fmt: skip
SHOWN_CHARS: Final = 90
TOLERANCE: Final = 1e-9
FULL_SUM: Final = 2  # format and accuracy
NUM_TRUTHS: Final = 50


def pay(reward: Callable[..., Any], pairs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
    """Call a reward on completions and their rows, with the columns it can take.

    A rendered truth goes along as ``solution``, the name many public rewards use.

    >>> from vcr1_lib.rewards import label_reward
    >>> pay(label_reward, [("<answer>low quality</answer>", cases("quality")[0].row)])
    [0.0]
    """
    rows = [{**row, "solution": render_gold(row["task"], row, thought="-")} for _, row in pairs]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    known = inspect.signature(reward).parameters.values()
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known):
        columns = {p.name: columns[p.name] for p in known if p.name in columns}
    return list(reward(completions=[completion for completion, _ in pairs], **columns))


def kind_of(reward: Callable[..., Any], task: str) -> Kind | None:
    """Tell what a reward pays for from a right and a wrong answer; ``None``: not this task.

    >>> from vcr1_lib.rewards import format_reward
    >>> kind_of(format_reward, "quality")
    'format'
    """
    gold, wrong = cases(task)[:2]
    try:
        paid = pay(reward, [(gold.completion, gold.row), (wrong.completion, wrong.row)])
    except FAULTS:
        return None
    if paid[0] == 1:
        return "format" if paid[1] == 1 else "accuracy"
    return "total" if paid[0] == FULL_SUM else None


def _first_pay(reward: Callable[..., Any], task: str) -> str:
    """Say what a reward makes of a task's truth."""
    gold = cases(task)[0]
    try:
        (paid,) = pay(reward, [(gold.completion, gold.row)])
    except FAULTS as error:
        return f"it raised {type(error).__name__}: {error}"
    return f"it paid {paid} for the truth"


def run_case(reward: Callable[..., Any], case: Case, kind: Kind) -> Verdict:
    """Score a case alone, then between two right answers: neither may change the other."""
    gold = cases(case.task)[0]
    one, right = (case.completion, case.row), (gold.completion, gold.row)
    ranges = [outcome.range_of(kind) for outcome in case.allowed]
    due = " or ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in ranges)
    try:
        alone, (before, paid, after) = pay(reward, [one]), pay(reward, [right, one, right])
    except FAULTS as error:
        allowed = case.may_raise and isinstance(error, ValueError)
        return Verdict(case, f"raised {type(error).__name__}", allowed, due)
    best = gold.allowed[0].range_of(kind)[1]
    if [before, after] != [best, best] or alone != [paid]:
        return Verdict(case, f"{alone[0]} alone, {paid} among others", False, due)
    if not _is_number(paid):
        return Verdict(case, str(paid), False, due)
    ok = any(low - TOLERANCE <= paid <= high + TOLERANCE for low, high in ranges)
    return Verdict(case, float(paid), ok, due)


def _is_number(paid: Any) -> bool:
    return isinstance(paid, Real) and isfinite(paid)


def run_bench(reward: Callable[..., Any], tasks: Iterable[str] = tuple(GOLD)) -> list[Verdict]:
    """Run every case of every task that a reward pays for.

    Raises:
        ValueError: If there is no task whose truth earns 1, or 2 with the format included.

    >>> from vcr1_lib.rewards import temporal_iou_reward
    >>> all(verdict.ok for verdict in run_bench(temporal_iou_reward))
    True
    """
    kinds = {task: kind_of(reward, task) for task in tasks}
    verdicts = [run_case(reward, c, kind) for t, kind in kinds.items() if kind for c in cases(t)]
    if not verdicts:
        whys = "; ".join(f"{task}: {_first_pay(reward, task)}" for task in sorted(kinds))
        raise ValueError(
            f"expected a reward that pays 1 (2 with the format) for the truth of one of "
            f"{sorted(kinds)}, got {whys}; a reward that takes message lists needs --chat"
        )
    return verdicts


def blind_payoffs(reward: Callable[..., Any], task: str) -> NDArray[np.float64]:
    """Return what every blind answer of a task earns on 50 drawn truths.

    Returns:
        ``(C, T)``: a row for each of :func:`vcr1_lib.rewards.cases.blind_answers`, 0 where the
        reward raises or does not pay a number.
    """
    rows = draw_truths(task, NUM_TRUTHS, seed=0)
    payoffs = np.zeros((len(blind_answers(task)), len(rows)))
    for i, answer in enumerate(blind_answers(task)):
        try:
            paid = pay(reward, [(answer, row) for row in rows])
        except FAULTS:
            continue
        payoffs[i] = [p if _is_number(p) else 0.0 for p in paid]
    return payoffs


def blind_score(reward: Callable[..., Any], task: str) -> Blind:
    """Find the best answer that never looks; mixing several answers cannot beat it.

    The candidates are constant answers of the task and every answer of its table.
    """
    means = blind_payoffs(reward, task).mean(1)
    best = int(means.argmax())
    return Blind(blind_answers(task)[best], float(means[best]))


def report_card(reward: Callable[..., Any]) -> str:
    """Return the bench's findings as text: every wrong row, the tally, the blind scores."""
    verdicts = run_bench(reward)
    lines = [
        f"WRONG  {v.case.task}: {v.case.answer[:SHOWN_CHARS]!r} "
        f"paid {v.paid if isinstance(v.paid, str) else round(v.paid, 3)}, "
        f"expected {v.expected} ({v.case.why})"
        for v in verdicts
        if not v.ok
    ]
    lines.append(f"{sum(v.ok for v in verdicts)} of {len(verdicts)} rows right")
    for task in dict.fromkeys(v.case.task for v in verdicts):
        answer, mean = blind_score(reward, task)
        lines.append(f"best blind {task}: {mean:.3f} for {answer[:SHOWN_CHARS]!r} every time")
    return "\n".join(lines)


def as_chat(reward: Callable[..., Any]) -> Callable[..., Any]:
    """Hand completions over as message lists, for rewards that take nothing else."""

    @wraps(reward)
    def chat(completions: Sequence[str], **columns: Any) -> Any:
        messages = [[{"role": "assistant", "content": text}] for text in completions]
        return reward(completions=messages, **columns)

    return chat


def load_rewards(names: Sequence[str]) -> Callable[..., Any]:
    """Import ``package.module:function``; the sum of several is judged as a whole.

    >>> load_rewards(["vcr1_lib.rewards:label_reward"]).__name__
    'label_reward'
    """
    split = [name.partition(":") for name in names]
    rewards = [getattr(importlib.import_module(module), name) for module, _, name in split]

    def total(completions: Sequence[str], **columns: Any) -> list[Any]:
        paid = zip(*(reward(completions=completions, **columns) for reward in rewards), strict=True)
        return [None if None in scores else sum(scores) for scores in paid]

    return rewards[0] if len(rewards) == 1 else total


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report card of the named rewards; 0 if every row is right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rewards", nargs="+", help="package.module:function; several are summed")
    parser.add_argument("--chat", action="store_true", help="pass completions as message lists")
    options = parser.parse_args(arguments)
    sys.path.insert(0, "")
    try:
        reward = load_rewards(options.rewards)
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(f"{error}; expected package.module:function")
    try:
        card = report_card(as_chat(reward) if options.chat else reward)
    except ValueError as error:
        parser.error(str(error))
    print(card)  # noqa: T201
    return int("WRONG" in card)


if __name__ == "__main__":
    sys.exit(main())
