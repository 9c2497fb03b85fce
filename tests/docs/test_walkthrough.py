"""docs/walkthrough.py runs, and tells of the ideas in the order in which they are needed."""

import re
from functools import cache

import pytest
from documents import ROOT, python

CHAPTERS = [
    *("block", "operator", "interpreter", "recording", "facts", "path", "flow"),
    *("passes", "prologue", "kernel", "schedule", "source", "native", "entry"),
    *("call", "guard", "self-check", "another way", "Python", "explain"),
]


@cache
def chapters() -> dict[str, str]:
    """Title -> what stands below it."""
    done = python(ROOT / "docs/walkthrough.py")
    assert done.returncode == 0, done.stderr
    _, *parts = re.split(r"^=== (.+?) =+$", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_walkthrough_goes_through_every_idea() -> None:
    assert list(chapters()) == CHAPTERS


@pytest.mark.parametrize("title", CHAPTERS)
def test_chapter_says_why_and_names_what_to_read(title: str) -> None:
    """Two to four lines of text, then files, then something of the net."""
    text, _, shown = chapters()[title].strip().partition("\n\n")
    *why, read = text.split("\n")
    assert 1 <= len(why) <= 5
    assert read.startswith("Read ")
    assert re.search(r"\w/\w+\.py", read)
    assert shown


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("operator", "<operator relu>: meaning [-1.0, 2.0] -> [0.0, 2.0]"),
        ("interpreter", "max        -> float32[]"),
        ("path", "Decision after 6 nodes"),
        ("flow", "if %5: python, else: block 1"),
        ("passes", "name='dense_relu'"),
        ("kernel", "0.0, 0.0]: True"),
        ("entry", "another shape: NotImplemented"),
        ("call", "calls that the entry took: 1"),
        ("guard", "results moved by 0.250"),
        ("self-check", "nobody has proven: 0"),
        ("another way", "if %5: block 1, else: block 2"),
        ("Python", "because forward uses values in Python (float())"),
        ("explain", "2 recordings"),
    ],
)
def test_chapter_shows_what_its_text_says(title: str, shown: str) -> None:
    assert shown in chapters()[title]


def test_nothing_but_a_time_depends_on_the_run() -> None:
    assert not [title for title, text in chapters().items() if re.search(r" at 0x|id=\d|/tmp|\.cache", text)]
    assert [t for t, text in chapters().items() if re.search(r"\d ms\b", text)] == ["Python", "explain"]
