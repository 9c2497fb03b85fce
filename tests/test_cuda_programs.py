"""Whole programs in Numba's simulator, in a process of its own: rendered kernels, the runtime around them, both ways in."""

import importlib.util
import json
import os
from typing import Any

import pytest
from documents import ROOT, python

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'blockfuse[cuda]'", allow_module_level=True)


@pytest.fixture(scope="module")
def found() -> Any:
    """What each case found."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    run = python(ROOT / "tests/simulated_programs.py", NUMBA_ENABLE_CUDASIM=1, PYTHONPATH=paths)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


CASES = ("a net", "a chain", "softmax", "a view", "a loop", "draws", "writes", "sorted between kernels")


@pytest.mark.parametrize("name", CASES)
def test_a_program_gives_the_same_in_the_simulator(found: Any, name: str) -> None:
    assert found[name]["difference"] < 1e-6
    assert "compiled" in found[name]["explain"]
    assert "on the processor: kernel" not in found[name]["explain"]


def test_every_case_is_a_test(found: Any) -> None:
    assert set(found) == set(CASES)
