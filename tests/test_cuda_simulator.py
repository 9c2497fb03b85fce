"""Runs the files in ``tests/simulator/`` in a process of their own: Numba decides at its import whether it simulates."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "simulator"


@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="the simulator is part of numba-cuda: extra cuda"
)
@pytest.mark.parametrize("name", sorted(f.name for f in FOLDER.glob("*.py") if "test_" in f.read_text()))
def test_the_simulated_device_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / name)]
    run = subprocess.run(command, cwd=FOLDER.parent.parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
