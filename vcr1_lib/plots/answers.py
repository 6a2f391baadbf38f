"""What a run said at a step: below the reward's curve for the pointer, and as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

SHOWN_CHARS = 80
COLOUR = "#666666"


def kept_answers(completions: Iterable[Mapping[str, Any]]) -> dict[int, list[str]]:
    """Return the best and the worst paid answer of each step of which answers were kept.

    Args:
        completions: Rows of a run's ``completions.jsonl``.

    Returns:
        Step, counted from 1 as in ``metrics.jsonl`` -> two lines.

    >>> said = [("4 to 9", 0.5), ("4 to 6", 1.0), ("9 to 4", None)]
    >>> rows = [{"step": 0, "completion": c, "rewards": {"iou": r}} for c, r in said]
    >>> kept_answers(rows)
    {1: ['best, paid 1.00: 4 to 6', 'worst, paid 0.00: 9 to 4']}
    """
    steps: dict[int, tuple[tuple[float, str], tuple[float, str]]] = {}
    for row in completions:
        paid = sum(score or 0.0 for score in row["rewards"].values())
        said = paid, " ".join(row["completion"].split())
        best, worst = steps.get(step := int(row["step"]) + 1, (said, said))
        steps[step] = max(best, said), min(worst, said)
    return {step: [_line("best", b), _line("worst", w)] for step, (b, w) in steps.items()}


def _line(name: str, answer: tuple[float, str]) -> str:
    paid, words = answer
    cut = words if len(words) <= SHOWN_CHARS else f"{words[:SHOWN_CHARS]}…"
    return f"{name}, paid {paid:.2f}: {cut}"


def with_answers(figure: go.Figure, answers: Mapping[int, Sequence[str]]) -> go.Figure:
    """Mark the steps whose answers were kept; the pointer shows them beside the step's rewards.

    Args:
        figure: Of :func:`vcr1_lib.plots.run_figure`; marks stand at the foot of its first graph.
        answers: Of :func:`kept_answers`; print some of them too, for readers without a pointer.
    """
    told = ["<br>".join(map(escape, lines)) for lines in answers.values()]
    return figure.add_scatter(
        x=list(answers), y=[0] * len(answers), customdata=told, name="answers kept",
        hovertemplate="%{customdata}<extra></extra>", mode="markers", showlegend=False,
        marker={"color": COLOUR, "symbol": "triangle-up", "size": 6}, cliponaxis=False,
        row=1, col=1,
    )  # fmt: skip
