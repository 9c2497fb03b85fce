"""Random graphs whose sizes coincide: all stages give what NumPy gives, and a fault is found and shrunk to a script.

``make fuzz`` runs as many as one likes (``graph_fuzz.py``); here a small share, the same in every run.
"""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from differing import Chaotic, Fault, Unsupported, native, quick
from forms import FORMS
from graph_fuzz import Search
from program_coverage import reachable
from random_graphs import Case, Line, Program, Steering, Type, drafted
from shrinking import shrunk

from blockfuse.codegen import schedule
from blockfuse.codegen.meaning import kernels
from blockfuse.ir.operator import TABLE


def test_random_graphs_mean_the_same_at_every_stage() -> None:
    said: list[str] = []
    search = Search(seed=0, say=said.append, window=0)
    search.run(lambda s: s.programs < 250)
    assert not search.faults, "\n".join(said)
    assert sum(search.left.values()) < 25, search.left  # few stay in Python, or are left to rounding


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_give_natively_what_they_give_plain(seed: int) -> None:
    program, _ = drafted(7000 + seed, Steering())
    try:
        native(program.case)
    except (Chaotic, Unsupported):
        pytest.skip("rounding decides")
    except Fault as fault:
        raise AssertionError(fault.script) from fault


def test_forms_call_every_operator_that_can_be_called() -> None:
    search = Search(seed=0, say=lambda _: None, window=0)
    called: set[str] = set()
    for form in FORMS:
        called |= {n for n in TABLE if n in form.text}
    assert search.programs == 0
    assert len(called) > 60
    assert reachable(TABLE) >= called - {"full", "hoisted", "argument", "parameter", "constant"}
