"""Annotation files, one format a module, read into one kind of record.

A record is a plain dict, so a list of them is a dataset for TRL, for our trainer and, by
:func:`as_dataset`, for Hugging Face's ``Dataset``:

``id``        unique, such as ``"charades_sta:3MSZA:0"``; dropping a bad row renames no other
``task``      which prompt and which rewards apply
``video``     path of the clip, or of a folder of pictures
``source``    file and line (of JSON: entry) it was read from
``duration``  of the clip in seconds, where the file tells

and, by task, what its prompt asks and its truth: ``query``, ``span``; ``question``,
``options``, ``answer``, ``spans``; ``object``, ``boxes`` and, where known, their ``times``;
``events``; ``labels``, ``answer``. Truth is checked on reading. A record with a ``prompt`` is
asked in those words in place of its task's template; a list of strings is a dialogue, question
and answer by turns.
"""

from vcr1_lib.datasets.by_name import FORMATS, read_records, split_by_video
from vcr1_lib.datasets.captions import read_captions
from vcr1_lib.datasets.charades_sta import read_charades_sta
from vcr1_lib.datasets.got10k import read_got10k
from vcr1_lib.datasets.mixture import (
    Paths18k,
    Suspect,
    as_dataset,
    find_suspects,
    take,
    videochat_r1_18k,
    without,
)
from vcr1_lib.datasets.moments import read_moments
from vcr1_lib.datasets.next_gqa import read_next_gqa
from vcr1_lib.datasets.one_file import (
    read_and_split,
    read_moments_and_split,
    read_usable,
    with_durations,
)
from vcr1_lib.datasets.own_jsonl import read_jsonl
from vcr1_lib.datasets.perception_test import read_perception_test
from vcr1_lib.datasets.records import AnnotationError, BadRow
from vcr1_lib.datasets.videochat_r1 import read_got_boxes, read_gqa_list, read_quality

__all__ = [
    "FORMATS", "AnnotationError", "BadRow", "Paths18k", "Suspect", "as_dataset", "find_suspects",
    "read_and_split", "read_captions", "read_charades_sta", "read_got10k", "read_got_boxes",
    "read_gqa_list", "read_jsonl", "read_moments", "read_moments_and_split",
    "read_next_gqa", "read_perception_test", "read_quality", "read_records", "read_usable",
    "split_by_video", "take", "videochat_r1_18k", "with_durations", "without",
]  # fmt: skip
