"""The drawn mask is the mask the model gets."""

from __future__ import annotations

import pytest

from vcr1_lib.plots.mask_view import mask_figure, mask_picture, row_owners, seen_parts


def test_parts_by_hand() -> None:
    # Two prompt tokens, answers of one and two tokens.
    assert seen_parts(2, [1, 2]).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 2, 0, 0],
        [1, 1, 0, 2, 0],
        [1, 1, 0, 2, 2],
    ]


@pytest.mark.parametrize("lengths", [[], [1], [3, 1, 4]])
def test_both_drawings_take_any_group(lengths: list[int]) -> None:
    size = row_owners(3, lengths).shape[1]
    assert mask_figure(3, lengths).data[0].z.shape == (size, size)
    assert mask_picture(3, lengths).startswith(b"\x89PNG")
