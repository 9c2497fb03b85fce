"""Runs the files in ``tests/simulator/`` in processes of their own: Numba decides at its import whether it simulates."""

import importlib.util

import pytest
from documents import ROOT, python

FOLDER = ROOT / "tests" / "simulator"
FILES = sorted(f.name for f in FOLDER.glob("*.py") if "test_" in f.read_text())

pytestmark = pytest.mark.long


@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="the simulator is part of numba-cuda: extra cuda"
)
@pytest.mark.parametrize("name", FILES)
def test_the_simulated_device_passes(name: str) -> None:
    options = ["-q", "-p", "no:cacheprovider", FOLDER / name]
    run = python("-m", "pytest", *options, cwd=ROOT, NUMBA_ENABLE_CUDASIM=1)
    assert run.returncode == 0, run.stdout + run.stderr
