"""docs/contract.md says how constructs run: its table is what a run of docs/constructs.py gives."""

import runpy

import pytest
from documents import ROOT

CONSTRUCTS = runpy.run_path(str(ROOT / "docs" / "constructs.py"))


@pytest.mark.spread(11)
@pytest.mark.parametrize("number", range(len(CONSTRUCTS["CONSTRUCTS"])))
def test_each_construct_runs_as_the_contract_says(number: int) -> None:
    construct = CONSTRUCTS["CONSTRUCTS"][number]
    shown = CONSTRUCTS["shown"]().splitlines()[2 + number]
    assert CONSTRUCTS["line"](construct) == shown


def test_the_contract_shows_every_construct_once() -> None:
    assert len(CONSTRUCTS["shown"]().splitlines()) == 2 + len(CONSTRUCTS["CONSTRUCTS"])
