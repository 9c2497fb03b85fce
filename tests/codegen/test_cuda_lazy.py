"""Runs ``tests/driver/`` in a process of its own, which loads a driver that is not the machine's."""

import importlib.util
import shutil

import pytest
from documents import ROOT, python

FILES = ROOT / "tests"

pytestmark = pytest.mark.long


@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None or shutil.which("g++") is None,
    reason="the driver is compiled by g++ with CUDA's headers: extra cuda",
)
def test_programs_are_right_however_late_a_device_works() -> None:
    options = ["-q", "-p", "no:cacheprovider", FILES / "driver" / "calls.py"]
    run = python(
        "-m",
        "pytest",
        *options,
        cwd=ROOT,
        PYTHONPATH=f"{ROOT / 'src'}:{FILES / 'support'}:{FILES / 'driver'}",
    )
    assert run.returncode == 0, run.stdout + run.stderr
