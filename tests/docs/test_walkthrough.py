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
FILE = r"[\w/]+\.py"


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
    """A few lines of text, then files, then something of the net."""
    text, _, shown = chapters()[title].strip().partition("\n\n")
    *why, read = text.partition("\nLater ")[0].split("\n")
    assert 1 <= len(why) <= 5
    assert re.match(r"Read .*\w/\w+\.py", read)
    assert shown


def test_what_is_to_be_read_takes_an_hour() -> None:
    """At a line a second; of files of which only a part is named, none counts."""
    lines = [line for text in chapters().values() for line in text.split("\n") if line.startswith("Read ")]
    whole = {
        file for line in lines if " in " not in line and " of " not in line for file in re.findall(FILE, line)
    }
    assert sum((ROOT / file).read_text(encoding="utf-8").count("\n") for file in whole) < 3600


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
