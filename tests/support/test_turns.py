"""A test that is marked ``alone`` shares its time with no other test of a run in several processes."""

import os
from itertools import combinations
from pathlib import Path

import pytest
from documents import ROOT, python

SUITE = """\
import time

import pytest


@pytest.fixture(autouse=True)
def noted(request):
    begun = time.monotonic()
    yield
    with open("log", "a") as log:
        log.write(f"{begun} {time.monotonic()} {request.node.originalname}\\n")


@pytest.mark.parametrize("number", range(8))
def test_before(number):
    time.sleep(0.05)


@pytest.mark.alone
@pytest.mark.parametrize("number", range(3))
def test_alone(number):
    time.sleep(0.05)


@pytest.mark.parametrize("number", range(8))
def test_after(number):
    time.sleep(0.05)
"""


@pytest.mark.long
def test_only_a_test_that_is_alone_runs_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("xdist", reason="several processes need pytest-xdist: extra test")
    (tmp_path / "test_suite.py").write_text(SUITE)
    run = python(
        *("-m", "pytest", "-p", "turns", "-n", "2", "--dist", "worksteal", "-c", os.devnull, "test_suite.py"),
        cwd=tmp_path,
        PYTHONPATH=f"{ROOT / 'src'}:{ROOT / 'tests/support'}",
        BLOCKFUSE_CACHE=tmp_path / "cache",
    )
    assert run.returncode == 0, run.stdout + run.stderr
    tests = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert len(tests) == 19
    pairs = combinations(((float(begun), float(end), name) for begun, end, name in tests), 2)
    together = {x[2:] + y[2:] for x, y in pairs if max(x[0], y[0]) < min(x[1], y[1])}
    assert together
    assert not [names for names in together if "test_alone" in names]
