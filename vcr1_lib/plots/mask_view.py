"""Who sees whom in a packed row of one prompt and its answers, as a figure."""

from __future__ import annotations

import io
from collections.abc import Sequence

import plotly.graph_objects as go
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from vcr1_lib.groups import visible
from vcr1_lib.plots import PALETTE

COLOURS = ["#F2F2F2", PALETTE[0], PALETTE[4]]


def row_owners(prompt_tokens: int, answer_lengths: Sequence[int]) -> Tensor:
    """Return ``(1, L)``: 0 for the prompt's tokens, then 1 to G for the answers'.

    >>> row_owners(2, [1, 2])
    tensor([[0, 0, 1, 2, 2]])
    """
    lengths = torch.tensor([prompt_tokens, *answer_lengths])
    return torch.arange(len(lengths)).repeat_interleave(lengths)[None]


def seen_parts(prompt_tokens: int, answer_lengths: Sequence[int]) -> Tensor:
    """Return ``(L, L)``, row sees column: 0 not at all, 1 as prompt, 2 as own answer."""
    owner = row_owners(prompt_tokens, answer_lengths)
    return visible(owner)[0, 0].long() * (1 + (owner[0] > 0).long())


def mask_figure(prompt_tokens: int, answer_lengths: Sequence[int]) -> go.Figure:
    """Draw the mask to hover over; lengths are in tokens."""
    steps = [(i / 2, colour) for i, colour in enumerate(COLOURS)]
    parts = seen_parts(prompt_tokens, answer_lengths).numpy()
    figure = go.Figure(
        go.Heatmap(z=parts, zmin=0, zmax=2, colorscale=steps, showscale=False, xgap=1, ygap=1)
    )
    figure.update_layout(template="plotly_white", width=460, height=460)
    figure.update_xaxes(title_text="seen token (column)")
    figure.update_yaxes(title_text="seeing token (row)", autorange="reversed")
    return figure


def mask_picture(prompt_tokens: int, answer_lengths: Sequence[int]) -> bytes:
    """Draw the same as a PNG."""
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    parts = seen_parts(prompt_tokens, answer_lengths).numpy()
    axes.imshow(parts, cmap=ListedColormap(COLOURS), vmin=0, vmax=2)
    axes.set(xlabel="seen token (column)", ylabel="seeing token (row)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()
