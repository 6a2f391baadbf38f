"""Annotation files, one format a module, read into one kind of record.

A record is a plain dict, so a list of them is a dataset for TRL, for
``datasets.Dataset.from_list`` and for our trainer alike:

``id``        unique, such as ``"charades_sta:3MSZA:0"``
``task``      which prompt and which rewards apply
``video``     path of the clip
``query``     the sentence to ground
``span``      ``[start, end]`` in seconds, the truth
``duration``  of the clip in seconds
"""

from vcr1_lib.datasets.charades_sta import AnnotationError, BadRow, read_charades_sta

__all__ = ["AnnotationError", "BadRow", "read_charades_sta"]
