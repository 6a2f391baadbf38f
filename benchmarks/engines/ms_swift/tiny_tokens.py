"""Tell ms-swift's Qwen2.5-VL template the ids of the tests' small vocabulary.

It knows those of the published tokenizer by number. For a published model leave this out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from swift.template.templates.qwen import Qwen2_5VLTemplate

sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))
from tiny import qwen_tokenizer

_, ids = qwen_tokenizer()
Qwen2_5VLTemplate.image_token_id = ids["image_token_id"]
Qwen2_5VLTemplate.video_token_id = ids["video_token_id"]
