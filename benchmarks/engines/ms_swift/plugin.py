"""Our rewards under ms-swift's names for them: ``--external_plugins`` this file.

Every reward of ``vcr1_lib.rewards.PRESETS`` can then be named, such as
``--reward_funcs format_reward temporal_iou_reward``. ms-swift passes the dataset's columns as
keywords, as TRL does, so a reward needs no other form; see ``dataset.py`` for the columns.
"""

from __future__ import annotations

from typing import Any

from swift.rewards import ORM, orms

from vcr1_lib.rewards import PRESETS, preset_rewards
from vcr1_lib.rewards.grading import RewardFunc, Rewards


def as_orm(reward: RewardFunc) -> type[ORM]:
    """Wrap a reward in the class that ms-swift makes an object of and then calls."""

    def call(self: ORM, completions: list[str], **columns: Any) -> Rewards:
        return reward(completions, **columns)

    return type(reward.__name__, (ORM,), {"__call__": call, "__doc__": reward.__doc__})


orms.update({reward.__name__: as_orm(reward) for reward in preset_rewards(PRESETS)})
