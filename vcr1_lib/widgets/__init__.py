"""What a reader drags: the reward microscope, a policy that never looks, labels for own clips.

A widget is a few controls around pure functions of this module: what they return is what is
shown, as a drawing and as a table that a keyboard, a screen reader and a test can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

import ipywidgets
import torch

from vcr1_lib.grpo import group_advantages
from vcr1_lib.overlap import box_iou, interval_iou
from vcr1_lib.prompts import render_boxes, render_gold
from vcr1_lib.rewards import format_reward, temporal_iou_reward, track_iou_reward
from vcr1_lib.rewards.blind_policy import BlindGame, train_blind_policy
from vcr1_lib.rewards.grading import RewardFunc
from vcr1_lib.rewards.shaping import boundary_iou_reward, giou_reward, threshold_iou_reward
from vcr1_lib.widgets.drawings import (
    SPAN_LENGTH,
    blind_drawing,
    blind_sentence,
    group_drawing,
    shorten,
)
from vcr1_lib.widgets.labelling import SpanLabeller

SPAN_REWARDS: Final[dict[str, RewardFunc]] = {
    "IoU": temporal_iou_reward,
    "three thresholds": threshold_iou_reward,
    "IoU and ends": boundary_iou_reward,
    "scaled gIoU": giou_reward,
}
BOX_REWARDS: Final[dict[str, RewardFunc]] = {"IoU": track_iou_reward}
STYLE: Final = {"description_width": "110px"}


class Group(NamedTuple):
    """A group of ``G`` answers to one question, scored."""

    completions: list[str]
    ious: list[float]
    rewards: list[float]
    advantages: list[float]


def score_group(
    answers: Sequence[Sequence[float]],
    truth: Sequence[float],
    *,
    reward: str = "IoU",
    threshold: float = 0.0,
    scaled: bool = True,
) -> Group:
    """Write answers as completions, score them by the library's rewards, compare the siblings.

    Args:
        answers: ``G`` spans ``(start, end)`` in seconds, or boxes in shares of the picture.
        truth: One of the same kind.
        reward: A key of ``SPAN_REWARDS`` or ``BOX_REWARDS``.
        threshold: The accuracy reward pays nothing where the IoU is below this.
        scaled: Divide advantages by the group's standard deviation.

    Returns:
        Rewards are format plus accuracy, in [0, 2].

    >>> score_group([(0, 4), (4, 0)], (0, 8)).rewards
    [1.5, 0.0]
    """
    is_span = len(truth) == SPAN_LENGTH
    column, overlap = ("span", interval_iou) if is_span else ("boxes", box_iou)
    texts = [_completion(answer) for answer in answers]
    gold: dict[str, Any] = {column: [truth if is_span else [truth]] * len(answers)}
    accuracy = (SPAN_REWARDS if is_span else BOX_REWARDS)[reward](texts, **gold)
    ious = [overlap(answer, truth) for answer in answers]
    rewards = [
        (form or 0.0) + (paid or 0.0) * (iou >= threshold)
        for form, paid, iou in zip(format_reward(texts, **gold), accuracy, ious, strict=True)
    ]
    advantages = group_advantages(
        torch.tensor([rewards], dtype=torch.float64), scale_rewards="group" if scaled else "none"
    )
    return Group(texts, ious, rewards, advantages[0].tolist())


def _completion(answer: Sequence[float]) -> str:
    if len(answer) == SPAN_LENGTH:
        return render_gold("temporal_grounding", {"span": answer}, thought="Seen.")
    return f"<think>Seen.</think><answer>{render_boxes([answer])}</answer>"


def group_table(group: Group, *, dragged: int) -> str:
    """Write a group as an HTML table under a sentence of its numbers.

    >>> "nothing is pushed" in group_table(score_group([(0, 4)] * 2, (0, 8)), dragged=0)
    True
    """
    sentence = (
        f"Answer {dragged + 1}: IoU {group.ious[dragged]:.3f}, reward {group.rewards[dragged]:.3f},"
        f" advantage {group.advantages[dragged]:+.3f}. "
        + ("" if any(group.advantages) else "All rewards are equal: nothing is pushed.")
    )
    bold = " style='font-weight:bold'"
    columns = zip(group.completions, group.ious, group.rewards, group.advantages, strict=True)
    rows = "".join(
        f"<tr{bold * (i == dragged)}><td>{i + 1}</td>"
        f"<td style='text-align:left'>{escape(shorten(text))}</td>"
        f"<td>{iou:.3f}</td><td>{paid:.3f}</td><td>{advantage:+.3f}</td></tr>"
        for i, (text, iou, paid, advantage) in enumerate(columns)
    )
    return (
        f'<p role="status" aria-live="polite">{sentence}</p><table class="group" border="1" '
        "cellpadding='4' style='border-collapse:collapse;text-align:right'><tr><th>answer</th>"
        f"<th>says</th><th>IoU</th><th>reward</th><th>advantage</th></tr>{rows}</table>"
    )


class Microscope(ipywidgets.VBox):
    """Drag one answer of a group against the truth; IoU, rewards and advantages follow.

    Args:
        answers: ``G`` spans in seconds or boxes in shares of the picture.
        truth: One of the same kind.
        extent: Length of the clip in seconds; 1 for boxes.
        strip: PNG of the clip's frames side by side.
    """

    def __init__(
        self,
        answers: Sequence[Sequence[float]],
        truth: Sequence[float],
        *,
        extent: float = 1.0,
        strip: bytes = b"",
    ) -> None:
        is_span = len(truth) == SPAN_LENGTH
        self.answers, self._truth = [tuple(answer) for answer in answers], truth
        self._draw = partial(group_drawing, truth=truth, extent=extent, strip=strip)
        names = ("start (s)", "end (s)") if is_span else ("left", "top", "right", "bottom")
        step = 0.1 if is_span else 0.01
        self.answer = _dropdown("answer", [(str(i + 1), i) for i in range(len(answers))])
        self.sliders = [_slider(name, extent, step) for name in names]
        self.reward = _dropdown("reward", list(SPAN_REWARDS if is_span else BOX_REWARDS))
        self.threshold = _slider("pay from IoU", 1.0, 0.05)
        self.scaled = ipywidgets.Checkbox(value=True, description="divide by the spread")
        self.equalise = ipywidgets.Button(description="all answers alike")
        self.table, self.drawing = ipywidgets.HTML(), ipywidgets.HTML()
        settings = [self.reward, self.threshold, self.scaled, self.equalise]
        places = [ipywidgets.VBox([self.answer, *self.sliders]), ipywidgets.VBox(settings)]
        super().__init__([ipywidgets.HBox(places), self.drawing, self.table])
        self._pick()
        self.answer.observe(self._pick, "value")
        self.equalise.on_click(self._equalise)
        for control in (*self.sliders, *settings[:-1]):
            control.observe(self._drag, "value")

    def _pick(self, _: Any = None) -> None:
        self._moving = True
        for slider, value in zip(self.sliders, self.answers[self.answer.value], strict=True):
            slider.value = value
        self._moving = False
        self._drag()

    def _equalise(self, _: Any) -> None:
        self.answers = [self.answers[self.answer.value]] * len(self.answers)
        self._drag()

    def _drag(self, _: Any = None) -> None:
        if self._moving:
            return
        self.answers[self.answer.value] = tuple(round(slider.value, 6) for slider in self.sliders)
        self.group = score_group(
            self.answers,
            self._truth,
            reward=self.reward.value,
            threshold=self.threshold.value,
            scaled=self.scaled.value,
        )
        self.table.value = group_table(self.group, dragged=self.answer.value)
        self.drawing.value = self._draw(self.answers, advantages=self.group.advantages)


def _slider(name: str, most: float, step: float) -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(
        min=0.0,
        max=most,
        step=step,
        description=name,
        readout_format=".2f",
        style=STYLE,
        layout={"width": "400px"},
    )


def _dropdown(name: str, options: Sequence[Any]) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=options, description=name, style=STYLE)


class BlindPlayer(ipywidgets.VBox):
    """Train a blind policy on a chosen reward, and play how its mass flows.

    Args:
        games: Name of a reward -> its game; see :func:`vcr1_lib.rewards.blind_policy.blind_game`.
    """

    def __init__(self, games: Mapping[str, BlindGame]) -> None:
        self._games = games
        self.reward = _dropdown("reward", list(games))
        self.weight = ipywidgets.FloatSlider(
            value=0.0,
            min=0.0,
            max=2.0,
            step=0.25,
            description="format weight",
            style=STYLE,
            layout={"width": "400px"},
        )
        self.play = ipywidgets.Play(min=0, max=200, step=2, interval=100)
        self.step = ipywidgets.IntSlider(min=0, max=200, description="step", style=STYLE)
        self._link = ipywidgets.jslink((self.play, "value"), (self.step, "value"))
        self.drawing, self.sentence = ipywidgets.HTML(), ipywidgets.HTML()
        controls = [self.reward, self.weight, ipywidgets.HBox([self.play, self.step])]
        super().__init__([*controls, self.drawing, self.sentence])
        self.reward.observe(self._train, "value")
        self.weight.observe(self._train, "value")
        self.step.observe(self._show, "value")
        self._train()

    def _train(self, _: Any = None) -> None:
        self.game = self._games[self.reward.value]
        payoffs = self.game.payoffs + self.weight.value * self.game.form
        self.run = train_blind_policy(payoffs, self.game.quality)
        self._show()

    def _show(self, _: Any = None) -> None:
        self.drawing.value = blind_drawing(self.game, self.run, self.step.value)
        said = escape(blind_sentence(self.game, self.run, self.step.value))
        self.sentence.value = f'<p role="status" aria-live="polite">{said}</p>'


def label_spans(folder: str | Path, path: str | Path, **options: Any) -> SpanLabeller:
    """Play the clips below a folder, and save when things happen as JSON lines.

    Args:
        folder: The clips.
        path: The file, such as ``"labels.jsonl"``; work goes on where it stopped.
        **options: See :class:`vcr1_lib.widgets.labelling.SpanLabeller`.
    """
    return SpanLabeller(folder, path, **options)
