"""Ask a video: once, again from closer, in passes, or in a talk.

    python scripts/ask.py VIDEO "QUESTION" [--clues] [--passes N] [--chat]
The embedded model knows coloured shapes only. For your own videos name another:
    python scripts/ask.py my.mp4 "What falls?" --clues --model_name_or_path NAME_OR_FOLDER
"""

import re
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial

import torch
from transformers.utils import logging

from vcr1_lib.inference import Asker, Chat, Find, Sight, ask, ask_iteratively, ask_with_clues
from vcr1_lib.models.loading import ModelOptions, load_model
from vcr1_lib.options import option, options_parser, parse_options

MODEL = "data_samples/many_tasks_model"


@dataclass
class ScriptArguments:
    """How to look; the model's options follow."""

    when: bool = option(False, "the question names an event: ask when it happens")
    clues: bool = option(False, "look again where the first answer points")
    find: str = option("", "with --clues: ask this in the first look and go where it points")
    passes: int = option(1, "look so often, denser where the last answer points")
    chat: bool = option(False, "go on talking, one line of input a turn")
    num_frames: int = option(24, "frames in all looks together")
    max_pixels: int = option(512 * 28 * 28, "pictures with more are shrunk")
    max_completion_length: int = option(256, "longest answer in tokens")


def read_arguments(argv):
    """What to ask about which video, how, of which model."""
    parser = options_parser([ScriptArguments, ModelOptions], description=__doc__)
    parser.add_argument("video", help="a video file or a folder of pictures")
    parser.add_argument("question", nargs="?", default="", help="may be left out with --chat")
    parser.usage = "%(prog)s VIDEO [QUESTION] [--option value ...]   (--help lists all)"
    parser.set_defaults(model_name_or_path=MODEL)
    what, options, given = parse_options(parser, argv)
    if not (given.question or what.chat) or (what.passes > 1 and (what.clues or what.chat)):
        parser.error("say a question or --chat; --passes goes with neither --clues nor --chat")
    return what, options, given


def make_asker(what, options):
    """The model; what it says is shown as it comes where one look answers."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_model(**asdict(options), device=device)
    alone = what.chat or not (what.clues or what.passes > 1)
    stream = partial(print, end="", flush=True) if alone else None
    return Asker(*loaded, what.max_completion_length, stream, time.perf_counter)


def read_spans(text):
    """Every START to END in a text, in seconds."""
    number = r"(\d+(?:\.\d+)?)"
    return [(float(a), float(b)) for a, b in re.findall(f"{number} to {number}", text)]


def answer(asker, what, video, question):
    """Ask in the way that was chosen; all looks together take num_frames."""
    looks = 2 if what.clues else what.passes
    sight = Sight(what.num_frames // max(looks, 1), what.max_pixels)
    if what.when:
        question = {"task": "temporal_grounding", "query": question}
    if what.clues:
        find = Find(what.find, read_spans) if what.find else None
        return ask_with_clues(asker, video, question, first=sight, second=sight, find=find)
    if what.passes == 1:
        return ask(asker, video, question, sight=sight)
    return ask_iteratively(asker, video, question, passes=what.passes, sight=sight)


def describe(look):
    """One line: what a look saw, cost and said."""
    times = look.clip.times_seconds
    where = f"{len(times)} frames from {times[0]:.1f} to {times[-1]:.1f} s"
    cost = f"{look.prompt_tokens} + {look.answer_tokens} tokens, {look.seconds:.2f} s"
    return f"{where}; {cost}; points at {look.spans}; said: {look.text}"


def talk(asker, what, given):
    """Talk about a video, which is encoded once; an empty line ends it."""
    chat = Chat(asker, given.video, Sight(what.num_frames, what.max_pixels))
    question = given.question or sys.stdin.readline().strip()
    while question:
        chat.say(question, clues=what.clues)
        print(flush=True)
        question = sys.stdin.readline().strip()


def run(argv):
    """Ask, and say how the answer came about."""
    what, options, given = read_arguments(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    asker = make_asker(what, options)
    if what.chat:
        return talk(asker, what, given)
    reply = answer(asker, what, given.video, given.question)
    print("\n".join(["", *map(describe, reply.looks)]))
    print(f"{reply.decision}; {reply.tokens} tokens in all\nanswer: {reply.answer}")


def main():
    """Bad input is one sentence, not a traceback."""
    try:
        run(sys.argv[1:])
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
