"""Whole programs in Numba's simulator, in a process of its own: rendered kernels, the runtime around them, both ways in."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'blockfuse[cuda]'", allow_module_level=True)

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def found() -> Any:
    """What each case found."""
    environment = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE)]),
    }
    command = [sys.executable, "-P", str(HERE / "simulated_programs.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
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
