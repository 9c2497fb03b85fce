"""Runs the files in ``tests/simulator/`` in processes of their own: Numba decides at its import whether it simulates."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "simulator"
FILES = sorted(f.name for f in FOLDER.glob("*.py") if "test_" in f.read_text())


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[subprocess.Popen[bytes], Path]]]:
    """All files at once, as each keeps one core busy: the processes, and where they write."""
    folder, found = tmp_path_factory.mktemp("simulator"), {}
    for name in FILES:
        command = [
            "env",
            "NUMBA_ENABLE_CUDASIM=1",
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(FOLDER / name),
        ]
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=FOLDER.parent.parent, stdout=output, stderr=subprocess.STDOUT
            )
        found[name] = process, log
    yield found
    for process, _ in found.values():
        process.kill()
        process.wait()


@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="the simulator is part of numba-cuda: extra cuda"
)
@pytest.mark.parametrize("name", FILES)
def test_the_simulated_device_passes(
    name: str, runs: dict[str, tuple[subprocess.Popen[bytes], Path]]
) -> None:
    process, log = runs[name]
    assert process.wait() == 0, log.read_text()
