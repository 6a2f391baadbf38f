"""Exercise checks: try an answer, name the mistake, offer a hint.

One module a notebook holds its exercises.

>>> check("interval_iou", lambda a, b: ...)
Not attempted yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vcr1_lib.checks import (
    first_run,
    grpo,
    many_tasks,
    measure,
    one_gpu,
    reward_design,
    second_look,
    video_tokens,
)
from vcr1_lib.checks.exercise import NOT_ATTEMPTED, Exercise

EXERCISES: dict[str, Exercise] = {
    **video_tokens.EXERCISES,
    **reward_design.EXERCISES,
    **grpo.EXERCISES,
    **first_run.EXERCISES,
    **measure.EXERCISES,
    **one_gpu.EXERCISES,
    **many_tasks.EXERCISES,
    **second_look.EXERCISES,
}


class Outcome(NamedTuple):
    """What a check found; shown as its message.

    Attributes:
        passed: ``None`` where nothing was attempted.
        message: One sentence.
    """

    passed: bool | None
    message: str

    def __repr__(self) -> str:
        return self.message


def check(name: str, attempt: Any) -> Outcome:
    """Try a reader's answer to an exercise. It never raises, whatever the answer does.

    Args:
        name: A key of ``EXERCISES``.
        attempt: The reader's function or value; ``...`` and an empty function count as not
            attempted.
    """
    if name not in EXERCISES:
        return Outcome(None, f"There is no exercise {name!r}; there are {sorted(EXERCISES)}.")
    if attempt is ... or attempt is None:
        return Outcome(None, NOT_ATTEMPTED)
    try:
        mistake = EXERCISES[name].probe(attempt)
    except NotImplementedError:
        return Outcome(None, NOT_ATTEMPTED)
    except Exception as error:  # noqa: BLE001 (a reader's code may raise anything)
        told = [f"It raised {type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
        return Outcome(False, " ".join(told))
    if mistake == NOT_ATTEMPTED:
        return Outcome(None, mistake)
    return Outcome(mistake is None, "Right." if mistake is None else f"Not yet: {mistake}")


def hint(name: str, number: int = 1) -> str:
    """Return a hint; a higher number says more."""
    hints = EXERCISES[name].hints if name in EXERCISES else ()
    if not 1 <= number <= len(hints):
        return f"{name!r} has {len(hints)} hints."
    return hints[number - 1]
