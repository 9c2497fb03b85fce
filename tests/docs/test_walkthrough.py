"""docs/walkthrough.py runs, and shows the stages in the order of the main path."""

import re

from documents import ROOT, python


def test_walkthrough_shows_every_stage() -> None:
    done = python(ROOT / "docs/walkthrough.py")
    assert done.returncode == 0, done.stderr
    stages = re.findall(r"^=== ([\w ]+)", done.stdout, flags=re.MULTILINE)
    assert stages == [
        *("block", "trace", "guards", "passes", "prologue", "schedule", "source", "program", "call"),
        *("guards at work", "explain"),
    ]
    assert "dense_relu" in done.stdout
    assert "results moved by 1.000" in done.stdout
