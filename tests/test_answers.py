# ruff: noqa: ANN001
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcr1_lib import answers
from vcr1_lib.answers import (
    check_format,
    extract_answer,
    parse_events,
    parse_label,
    parse_option,
    parse_span,
    parse_spans,
    parse_track,
)
from vcr1_lib.answers.grammar import Parsed, Reason
from vcr1_lib.prompts import FRAMES, render_boxes, render_span, render_spans

OPTIONS = ["clap proudly", "jump up", "dance", "sit down"]
LABELS = ["low quality", "high quality"]


def framed(answer: str) -> str:
    return f"<think>Seen.</think><answer>{answer}</answer>"


def clued(clue: str) -> str:
    return f"<think>Seen.</think><answer>B</answer><clue>{clue}</clue>"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (framed("4 to 9"), None),
        (f" \n{framed('4 to 9')}\n", None),
        ("<think>Seen.</think>\n<answer>4 to 9</answer>", None),
        ("<think>見た</think><answer>四</answer>", None),
        ("", Reason.MISSING_TAG),
        ("4 to 9", Reason.MISSING_TAG),
        ("<answer>4 to 9</answer>", Reason.MISSING_TAG),
        ("<think>Seen.</think><answer>4 to 9", Reason.MISSING_TAG),
        ("<Think>Seen.</Think><answer>4 to 9</answer>", Reason.MISSING_TAG),
        (framed("4") + "<answer>9</answer>", Reason.DUPLICATE_TAG),
        ("<think>Or <answer>3</answer></think><answer>4</answer>", Reason.DUPLICATE_TAG),
        ("<think><think>Seen.</think></think><answer>4</answer>", Reason.DUPLICATE_TAG),
        ("<think>Or <answer>3</answer></think>", Reason.MISPLACED_TAG),
        ("<answer>4</answer><think>Seen.</think>", Reason.MISPLACED_TAG),
        ("<think>Seen.<answer></think>4</answer>", Reason.MISPLACED_TAG),
        ("</think>Seen.<think><answer>4</answer>", Reason.MISPLACED_TAG),
        ("Well. " + framed("4"), Reason.TEXT_OUTSIDE),
        (framed("4") + "!", Reason.TEXT_OUTSIDE),
        ("<think>Seen.</think>So<answer>4</answer>", Reason.TEXT_OUTSIDE),
        ("<think></think><answer>4</answer>", Reason.EMPTY),
        ("<think>...</think><answer>4</answer>", Reason.EMPTY),
        ("<think>\u200b</think><answer>4</answer>", Reason.EMPTY),
        (framed("  \n"), Reason.EMPTY),
    ],
)
def test_check_format(text, reason):
    assert check_format(text) == reason


def test_tag_names_are_arguments():
    text = "<why>Seen.</why><time>4 to 9</time>"
    frame = ("why", "time")
    assert check_format(text, tags=frame) is None
    assert parse_span(text, tag="time", frame=frame, strict=True).value == (4, 9)
    assert parse_spans("<when>(1, 2)</when>", tag="when").value == [(1, 2)]
    assert check_format(clued("[(1, 2)]"), tags=FRAMES["grounded_qa"]) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<answer> B </answer>", "B"),
        ("Let me see. <answer>B</answer> Done.", "B"),
        ("Seen.</think><answer>B</answer>", "B"),  # the template opened the thought
        ("<answer>**B**</answer>", "B"),
        ("<think>Seen.<answer>B</answer></think>", Reason.MISPLACED_TAG),
        ("<think>Seen. <answer>B</answer>", Reason.MISPLACED_TAG),  # the thought never ends
        ("<answer>B</think></answer>", Reason.MISPLACED_TAG),
        ("</answer>B<answer>", Reason.MISPLACED_TAG),
        ("<answer>A</answer> or <answer>B</answer>", Reason.DUPLICATE_TAG),
        ("<answer>B", Reason.MISSING_TAG),
        ("<answer>?</answer>", Reason.EMPTY),
    ],
)
def test_extract_answer(text, expected):
    parsed = extract_answer(text)
    assert expected in (parsed.value, parsed.reason)
    assert parsed.ok == (parsed.reason is None) == (parsed.value is not None)


SAME_SPAN = [
    "10 to 20", "10.0 to 20.0", "10.0s to 20.0s", "10 s to 20 s.", "10 sec to 20 seconds",
    "10.0 - 20.0", "10-20", "10\u201320", "10 \u2014 20", "10s-20s", "10 ~ 20", "10 until 20",
    "[10.0, 20.0]", "(10,20)", "[[10, 20]]", "10, 20", "[10 to 20]", "00:10 to 00:20",
    "0:10 - 0:20.0", "00:00:10 to 00:00:20", "10\nto\n20", "  10 TO 20  ", "10 to 20.",
    "1e1 to 2e1", "from 10 to 20 seconds", "between 10 and 20", "+10 to 20", "10\u00a0to\u00a020",
    "**10 to 20**",
]  # fmt: skip


@pytest.mark.parametrize("answer", SAME_SPAN)
def test_a_careful_human_reads_the_same_span(answer):
    assert parse_span(framed(answer)).value == (10, 20)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("-10 to 20", Reason.OUT_OF_RANGE),
        ("10 to -20", Reason.OUT_OF_RANGE),
        ("\u221210 to 20", Reason.OUT_OF_RANGE),
        ("10--20", Reason.OUT_OF_RANGE),
        ("10 -20", Reason.NOT_A_SPAN),  # a sign or a dash?
        ("1,010.0 to 20.0", Reason.AMBIGUOUS),
        ("10 to 1,200", Reason.AMBIGUOUS),
        ("10,5 to 20,5", Reason.AMBIGUOUS),
        ("10,20", Reason.AMBIGUOUS),
        ("[1,010]", Reason.AMBIGUOUS),
        ("0:10 to 20", Reason.AMBIGUOUS),  # 20 seconds or 0:20?
        ("00:75 to 01:20", Reason.OUT_OF_RANGE),
        ("0:75:00 to 1:20:00", Reason.OUT_OF_RANGE),
        ("0 to 5, 5 to 9, 10 to 20", Reason.MANY_SPANS),
        ("10 to 20 30 to 40", Reason.MANY_SPANS),
        ("10 to 20 or 30 to 40", Reason.NOT_A_SPAN),
        ("10 to 15 to 20", Reason.NOT_A_SPAN),
        ("not 10 to 20", Reason.NOT_A_SPAN),
        ("10 and 20", Reason.NOT_A_SPAN),
        ("10 to 20 minutes", Reason.NOT_A_SPAN),
        ("10 to 20 frames", Reason.NOT_A_SPAN),
        ("[10, 20)", Reason.NOT_A_SPAN),
        ("10²to 20", Reason.NOT_A_SPAN),
        ("0x10 to 20", Reason.NOT_A_SPAN),
        ("1_0 to 20", Reason.NOT_A_SPAN),
        ("10", Reason.NOT_A_SPAN),
        ("nan to 20", Reason.NOT_FINITE),
        ("0 to Infinity", Reason.NOT_FINITE),
        ("0 to 1e999", Reason.NOT_FINITE),
        ("0 to " + "9" * 400, Reason.NOT_FINITE),
        ("20 to 10", Reason.REVERSED),
        ("", Reason.EMPTY),
    ],
)
def test_what_is_not_one_span_says_why(answer, reason):
    assert parse_span(framed(answer)) == Parsed(None, reason)


def test_span_values_at_the_edges():
    assert parse_span(framed("5 to 5")).value == (5, 5)
    assert parse_span(framed("1:01:40 to 1:01:41.5")).value == (3700, 3701.5)
    assert parse_span(framed("0 to 31"), duration_seconds=30.96).value == (0, 31)
    too_late = parse_span(framed("0 to 4000"), duration_seconds=40)
    assert too_late.reason == Reason.OUT_OF_RANGE


@pytest.mark.parametrize("answer", SAME_SPAN[2:])
def test_strict_takes_the_asked_wording_only(answer):
    assert parse_span(framed("10 to 20"), strict=True).value == (10, 20)
    assert not parse_span("<answer>10 to 20</answer>", strict=True).ok
    if answer != "1e1 to 2e1":  # a number may be written so
        assert not parse_span(framed(answer), strict=True).ok


@pytest.mark.parametrize(
    ("clue", "expected"),
    [
        ("[(10.0, 20.0), (30.0, 40.0)]", [(10, 20), (30, 40)]),
        ("[[10,20],[30,40]]", [(10, 20), (30, 40)]),
        (" [ (10 , 20) ] ", [(10, 20)]),
        ("[10, 20]", [(10, 20)]),
        ("10 to 20; 30 to 40", [(10, 20), (30, 40)]),
        ("10s - 20s\n00:30 - 00:40", [(10, 20), (30, 40)]),
        ("[(10, 20), (5, 8)]", [(10, 20), (5, 8)]),
        ("[]", Reason.EMPTY),
        ("[10, 20, 30, 40]", Reason.NOT_A_SPAN),
        ("[(10, 20]", Reason.NOT_A_SPAN),
        ("[(10, 20)", Reason.NOT_A_SPAN),
        ("[('10', '20')]", Reason.NOT_A_SPAN),
        ("[(20, 10)]", Reason.REVERSED),
        ("[(1, 2), (nan, 3)]", Reason.NOT_FINITE),
        ("[(-1, 2)]", Reason.OUT_OF_RANGE),
        ("(1, 2) " * 101, Reason.MANY_SPANS),
    ],
)
def test_parse_spans(clue, expected):
    parsed = parse_spans(clued(clue))
    assert expected in (parsed.value, parsed.reason)
    glue = clued(clue).replace("clue>", "glue>")
    assert parse_spans(glue) == parsed
    assert not parse_spans(glue, strict=True).ok


def test_a_clue_is_given_once():
    both = clued("[(1, 2)]") + "<glue>[(3, 4)]</glue>"
    assert parse_spans(both).value == [(1, 2)]
    assert check_format(both, tags=FRAMES["grounded_qa"]) == Reason.TEXT_OUTSIDE
    twice = clued("[(1, 2)]") + "<clue>[(3, 4)]</clue>"
    assert parse_spans(twice).reason == Reason.DUPLICATE_TAG


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[[0.0, 0.0, 0.5, 1.0]]", [(0, 0, 0.5, 1)]),
        ("[0, 0, .5, 1.]", [(0, 0, 0.5, 1)]),
        ("((0,0,0.5,1))", [(0, 0, 0.5, 1)]),
        ("[[0, 0, 0, 0]]", [(0, 0, 0, 0)]),  # no area is a value
        ("[0, 0, 1e999, 0]", Reason.NOT_FINITE),
        ("[0, 0, nan, 0]", Reason.NOT_FINITE),
        ("[0, 0, 1.5, 1]", Reason.OUT_OF_RANGE),
        ("[-0.1, 0, 1, 1]", Reason.OUT_OF_RANGE),
        ("[0.5, 0, 0.1, 1]", Reason.REVERSED),
        ("[[0, 0, 1, 1], [0, 0, 1, 1]]", Reason.WRONG_COUNT),
        ("['a', 'b', 'c', 'd']", Reason.NOT_A_TRACK),
        ("[0, 0, 1]", Reason.NOT_A_TRACK),
        ("[[0, 0, 1, 1]", Reason.NOT_A_TRACK),
        ("[[0, 0, 1, 1] for _ in range(1)]", Reason.NOT_A_TRACK),
    ],
)
def test_parse_track(answer, expected):
    parsed = parse_track(framed(answer), num_boxes=1)
    assert expected in (parsed.value, parsed.reason)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *((text, "B") for text in (
            "B", "b", "(B)", "[B]", "B.", "B)", "B:", "Answer: B", "The answer is B.", "option b",
            "The correct option is (B)", "Final answer: B", "B. jump up", "(b) Jump up.",
            "jump up", "Jump  up", "'jump up'", "**B**")),
        ("Dance", "C"),
        *((text, None) for text in (
            "Because it is D", "A or B", "B, C", "B. dance", "E", "(B", "B]", "Bad", "a man",
            "jump", "not B", "AB", "B B", "answer", "1", "nan")),
    ],
)  # fmt: skip
def test_parse_option(answer, letter):
    for options in (OPTIONS, [f"({x}) {text}" for x, text in zip("ABCD", OPTIONS, strict=True)]):
        assert parse_option(framed(answer), options=options).value == letter
    strict = parse_option(framed(answer), options=OPTIONS, strict=True)
    assert strict.value == (answer if answer == "B" else None)


def test_options_by_letter_alone_and_doubled_texts():
    assert parse_option(framed("(c)"), options=list("ABC")).value == "C"
    assert parse_option(framed("D"), options=list("ABC")).reason == Reason.NOT_AN_OPTION
    assert parse_option(framed("B. jump"), options=list("ABC")).reason == Reason.AMBIGUOUS
    assert (
        parse_option(framed("happy"), options=["happy", "sad", "happy"]).reason == Reason.AMBIGUOUS
    )
    assert parse_option(framed("A or B"), options=OPTIONS).reason == Reason.AMBIGUOUS
    for options in ([], ["x y"] * 27):
        with pytest.raises(ValueError, match="1 to 26 options"):
            parse_option(framed("A"), options=options)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("high quality", "high quality"),
        ("High  Quality.", "high quality"),
        ("not high quality", None),
        ("high quality or low quality", None),
        ("high", None),
        ("nan", None),
    ],
)
def test_parse_label(answer, label):
    assert parse_label(framed(answer), labels=LABELS).value == label
    assert parse_label(framed(answer), labels=LABELS, strict=True).ok == (answer == label)


def test_parse_events():
    assert parse_events(framed("A man sits. He rises 1.5 m! Why?")).value == [
        "A man sits", "He rises 1.5 m", "Why",
    ]  # fmt: skip
    assert parse_events(framed("- one\n* two\n3. three; four\n...")).value == [
        "one", "two", "three", "four",
    ]  # fmt: skip
    assert parse_events(framed("A man sits."), max_chars=5).reason == Reason.TOO_LONG
    assert parse_events(framed("...")).reason == Reason.EMPTY


READERS = {
    "format": lambda text: Parsed(text, check_format(text)),
    "span": lambda text: parse_span(text, duration_seconds=40.0),
    "strict span": lambda text: parse_span(text, strict=True),
    "spans": parse_spans,
    "strict spans": lambda text: parse_spans(text, strict=True),
    "track": lambda text: parse_track(text, num_boxes=2),
    "strict track": lambda text: parse_track(text, num_boxes=2, strict=True),
    "option": lambda text: parse_option(text, options=OPTIONS),
    "label": lambda text: parse_label(text, labels=LABELS),
    "events": parse_events,
}
pieces = st.sampled_from([
    "<think>", "</think>", "<answer>", "</answer>", "<clue>", "</clue>", "<glue>", "</glue>",
    "[", "]", "(", ")", ",", " to ", "-", "\u2212", ".", ":", "10", "20.5", "1e999", "nan", "inf",
    "s", " seconds", "B", "(C)", "high quality", "\n", " ", "from ", "between ", " and ", "0",
])  # fmt: skip
texts = st.one_of(st.text(), st.lists(pieces, max_size=30).map("".join)).flatmap(
    lambda text: st.sampled_from([text, framed(text), clued(text)])
)


@given(texts)
def test_any_text_gives_a_value_in_range_or_a_reason(text):
    for read in READERS.values():
        parsed = read(text)
        assert (parsed.value is None) == (parsed.reason is not None) or read is READERS["format"]
    span = parse_span(text).value
    assert span is None or 0 <= span[0] <= span[1] < float("inf")
    assert all(0 <= s <= e < float("inf") for s, e in parse_spans(text).value or [])
    assert all(0 <= x <= 1 for box in parse_track(text, num_boxes=2).value or [] for x in box)


@given(texts)
def test_what_strict_reads_lenient_reads_alike(text):
    for name in ("span", "spans", "track"):
        strict = READERS[f"strict {name}"](text)
        if strict.ok:
            lenient = {"span": parse_span, "spans": parse_spans}.get(name, READERS["track"])(text)
            assert strict == lenient
    if parse_span(text, strict=True).ok:
        assert check_format(text) is None


seconds = st.floats(0, 9999).map(lambda x: round(x, 2))


@given(st.tuples(seconds, seconds).map(sorted), st.text(alphabet="ab c", max_size=9))
def test_rendered_spans_are_read_back_strictly(span, thought):
    text = render_span(*span, thought=f"x{thought}")
    assert parse_span(text, strict=True).value == pytest.approx(tuple(span), rel=1e-5)
    assert parse_spans(clued(render_spans([span])), strict=True).value == [tuple(span)]


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=8))
def test_rendered_tracks_are_read_back_strictly(numbers):
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in numbers]
    text = framed(render_boxes(boxes))
    assert parse_track(text, num_boxes=len(boxes), strict=True).value == boxes


UNITS = [
    "1", "1.", "1.1 ", " ", "\n", "<think>", "<answer>", "</answer>", "1 to 2, ", "(1, 2), ", "[",
    "[ ", "[0,0,1,1] ", " to ", "A. ", "A ", "!", "!. ", "- ", "1:", "e", "1e", "the answer is ",
    "the ", "1,", "\u2028", "\U0001f600", "\ud800", '"', "from ", "s ", "1s ", "*",
]  # fmt: skip
SMALL, FACTOR = 30_000, 16
# Quadratic work would take 256 times as long.
MOST = 4 * FACTOR


@pytest.mark.parametrize("name", READERS)
def test_time_grows_linearly(name):
    read = READERS[name]
    for unit in UNITS:
        for wrap in (str, framed, clued):
            small, large = (wrap(unit * (n // len(unit))) for n in (SMALL, FACTOR * SMALL))
            cheapest = min(_seconds(read, small) for _ in range(3))
            if cheapest * MOST > _seconds(read, large):
                continue
            again = min(_seconds(read, large) for _ in range(3))
            floor = 1e-4  # below it a clock measures the call, not the reading
            assert again < MOST * max(cheapest, floor), (unit, again / cheapest)


def _seconds(read, text) -> float:
    start = time.process_time()
    read(text)
    return time.process_time() - start


def test_a_megabyte_is_read_to_the_end():
    text = framed("10 to 20") + " " * 1_000_000
    assert parse_span(text, strict=True).value == (10, 20)
    assert parse_span(f"<think>{'a <b> ' * 170_000}</think><answer>10 to 20</answer>").ok
    assert answers.split_events("A. " * 300_000)[-1] == "A"
