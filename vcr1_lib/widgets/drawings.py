"""Drawings as SVG and pictures as HTML, light enough to be drawn anew at every move of a slider."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from vcr1_lib.answers import extract_answer
from vcr1_lib.plots import PALETTE
from vcr1_lib.rewards.blind_policy import BlindGame, BlindRun

BLUE, ORANGE, GREEN = PALETTE[:3]
GREY: Final = "#888888"
SPAN_LENGTH: Final = 2
SHOWN_CHARS: Final = 60


def shorten(completion: str) -> str:
    """Return what a completion says after its thought, cut short, in characters that can be shown.

    >>> shorten("<think>Seen.</think><answer>4 to 9</answer>")
    '4 to 9'
    """
    text = completion.rpartition("</think>")[2] or completion
    only = extract_answer(text).value
    text = only if only and text == f"<answer>{only}</answer>" else text
    words = " ".join(text[:SHOWN_CHARS].split())
    shown = "".join(c if c.isprintable() else "\ufffd" for c in words)
    return shown if len(text) <= SHOWN_CHARS else shown + " ..."


def group_drawing(
    answers: Sequence[Sequence[float]],
    truth: Sequence[float],
    advantages: Sequence[float],
    *,
    extent: float = 1.0,
    strip: bytes = b"",
) -> str:
    """Draw answers against the truth as SVG: bars under a strip of frames, or boxes.

    Args:
        answers: ``G`` spans or boxes.
        truth: One of the same kind.
        advantages: ``G``; blue is pushed up, orange down, grey not at all.
        extent: Length of the clip in seconds; 1 for boxes.
        strip: PNG of the clip's frames side by side.
    """
    labels = [f"{i + 1}: {a:+.2f}" for i, a in enumerate(advantages)]
    colours = [BLUE if a > 0 else ORANGE if a < 0 else GREY for a in advantages]
    items = list(zip([truth, *answers], [GREEN, *colours], ["truth", *labels], strict=True))
    if len(truth) != SPAN_LENGTH:
        body = "".join(
            _rect(
                300 * x0,
                300 * y0,
                300 * (x1 - x0),
                300 * (y1 - y0),
                f'none" stroke-width="2" stroke="{colour}',
            )
            + _text(300 * x0 + 4, 300 * y0 + 14, label)
            for (x0, y0, x1, y1), colour, label in items
        )
        return _svg(300, 300, body, "boxes of the answers and the truth")
    top, per_second = (64 if strip else 4), 600 / extent
    body = "".join(
        _rect(start * per_second, top + 24 * row, (end - start) * per_second, 18, colour)
        + _text(608, top + 24 * row + 14, label)
        for row, ((start, end), colour, label) in enumerate(items)
    )
    if strip:
        data = f"data:image/png;base64,{b64encode(strip).decode()}"
        body += f'<image href="{data}" width="600" height="60" preserveAspectRatio="none"/>'
    bottom = top + 24 * len(items)
    ticks = np.linspace(0, extent, 7)
    body += "".join(_text(t * per_second, bottom + 12, f"{t:.0f} s") for t in ticks)
    return _svg(700, bottom + 18, body, "spans of the answers and the truth over time")


def blind_sentence(game: BlindGame, run: BlindRun, step: int) -> str:
    """Say where a blind run stands after ``step`` updates."""
    top = int(run.mass[step].argmax())
    return (
        f"Step {step}: reward {run.reward[step]:.2f} (the best blind answer earns "
        f"{run.best_reward:.2f}), true mIoU {run.quality[step]:.2f}; "
        f"{run.mass[step, top]:.0%} of the mass on {shorten(game.answers[top])!r}"
    )


def blind_drawing(game: BlindGame, run: BlindRun, step: int) -> str:
    """Draw a blind run as SVG: a bar for every candidate, and the curves up to ``step``.

    Candidates stand in order of what they are truly worth: mass that flows left flows to
    answers that only the reward likes. The tallest bar sets the scale, and says it.
    """
    mass, width, most = run.mass[step], 360 / len(game.answers), run.mass[step].max()
    bars = "".join(
        _rect(width * i, 200 - h, max(width, 3.0), h + 1, BLUE, shorten(answer))
        for i, (h, answer) in enumerate(zip(190 * mass / most, game.answers, strict=True))
    )
    highest, last = max(1.0, run.best_reward), len(run.reward) - 1
    curves = ""
    # One label above its line and one below: where all is honest, the lines are the same.
    lines = ("reward", run.reward, ORANGE, -4), ("true mIoU", run.quality, GREEN, 12)
    for name, values, colour, below in lines:
        heights = 200 - 190 * values / highest
        points = " ".join(f"{390 + 230 * t / last:.1f},{heights[t]:.1f}" for t in range(step + 1))
        curves += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        curves += _text(396 + 230 * step / last, float(heights[step]) + below, name)
    limit = f"{200 - 190 * run.best_reward / highest:.1f}"
    curves += f'<path d="M390 {limit}H620" stroke="{GREY}" stroke-dasharray="4"/>'
    frame = '<path d="M0 201H360M390 10V201H620" fill="none" stroke="black"/>'
    words = _text(0, 218, "candidates, worthless to best") + _text(390, 218, f"steps, 0 to {last}")
    words += _text(4, 8, f"probability {most:.2f}") + _text(394, 8, f"{highest:.2f}")
    words += _text(396, 196 - 190 * run.best_reward / highest, "best blind")
    return _svg(690, 222, bars + curves + frame + words, blind_sentence(game, run, step)[:40])


def picture(frame: NDArray[np.uint8], caption: str) -> str:
    """Write a frame ``(H, W, 3)`` as an HTML figure, its caption its spoken text too."""
    buffer = io.BytesIO()
    imsave(buffer, frame, format="jpg")
    data, words = b64encode(buffer.getvalue()).decode(), escape(caption)
    return (
        '<figure style="display:inline-block;margin:2px">'
        f'<img src="data:image/jpeg;base64,{data}" alt="{words}" style="height:160px">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _svg(width: float, height: float, body: str, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {width + 8} {height + 8}" '
        f'role="img" aria-label="{label}" style="background:white;width:100%;max-width:{width}px" '
        f'font-family="sans-serif" font-size="12">{body}</svg>'
    )


def _rect(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> str:
    inside = f"<title>{escape(title)}</title>" if title else ""
    size = f'width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{fill}">{inside}</rect>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="black">{escape(text)}</text>'
