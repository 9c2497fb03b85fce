"""The check for machines with a device: what it makes of times, and a rehearsal of all of it in the simulator."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, python

from benchmarks import gpu_check
from benchmarks.gpu_cases import FAMILIES, LOOPS, MEASURES
from benchmarks.gpu_report import Report, Timed, show
from benchmarks.gpu_timing import Found
from blockfuse.ir.errors import CudaError

SPEEDS = {"within": 3000.0, "to": 50.0, "from": 50.0, "cublas": 50.0}  # an H100's, about


def measure(name: str) -> Any:
    return next(m for m in MEASURES if m.name.startswith(name))


def test_a_bound_is_what_the_device_was_measured_to_do() -> None:
    assert gpu_check._bound(measure("softmax"), SPEEDS) == pytest.approx(44.7, abs=0.1)
    assert gpu_check._bound(measure("gelu"), SPEEDS) == pytest.approx(268, abs=1)
    assert gpu_check._bound(measure("1024"), SPEEDS) == pytest.approx(4123, abs=1)
    assert gpu_check._bound(measure("784"), SPEEDS) is None
    assert gpu_check._bound(measure("1024"), {"within": 3000.0}) is None


@pytest.mark.parametrize(
    ("name", "ours", "eager", "wishes"),
    [
        ("784", 11.0, 40.0, 0),
        ("784", 11.0, 20.0, 1),
        ("784", 13.0, 20.0, 2),
        ("784", 11.0, None, 0),
        ("softmax", 52.0, 50.0, 0),
        ("softmax", 53.0, 50.0, 1),
        ("1024", 5400.0, 4200.0, 0),
        ("1024", 5600.0, 4200.0, 1),
    ],
)
def test_a_wish_that_was_not_met_is_named(name: str, ours: float, eager: float | None, wishes: int) -> None:
    one = measure(name)
    assert len(list(gpu_check._missed(one, ours, eager, gpu_check._bound(one, SPEEDS)))) == wishes


def test_wrong_results_and_faults_of_memory_fail_and_slow_calls_do_not() -> None:
    right, wrong = Found("a", (), 0.0, True, ()), Found("b", (), 1.0, False, ())
    slow = Timed("c", 99.0, None, None, None, ("more than 12 us",))
    clean = {"memcheck": "ERROR SUMMARY: 0 errors", "racecheck": "RACECHECK SUMMARY: 0 hazards displayed"}
    assert Report("d", False, families=[right], sanitizer=clean, measures=[slow]).passed
    assert not Report("d", False, families=[right, wrong]).passed
    assert not Report("d", False, sanitizer={"memcheck": "ERROR SUMMARY: 3 errors"}).passed
    assert not Report("d", False, sanitizer={"memcheck": "ERROR SUMMARY: 10 errors"}).passed


def test_a_part_that_fails_is_reported_and_what_was_found_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, file = Report("d", False), tmp_path / "found.json"

    def fail() -> None:
        raise CudaError("the device is\nout of order")

    report.run("copies", lambda: report.speeds.update(within=1.0), file)
    report.run("a net", fail, file)
    assert json.loads(file.read_text())["speeds"] == {"within": 1.0}
    assert report.failed == {"a net": "CudaError: the device is out of order"}
    assert not report.passed
    show(report)
    assert "FAILED: a net: CudaError: the device is out of order" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="numba-cuda is not installed: pip install 'blockfuse[cuda]'",
)
def test_a_rehearsal_in_the_simulator_goes_all_the_way(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests/support")])
    files = tmp_path / "check.json", tmp_path / "check.svg"
    arguments = ("-m", "benchmarks.gpu_check", "--dry-run", "--json", files[0], "--plot", files[1])
    run = python(*arguments, cwd=tmp_path, NUMBA_ENABLE_CUDASIM=1, PYTHONPATH=paths)
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(files[0].read_text())
    assert [f["family"] for f in report["families"]] == [f.name for f in FAMILIES if not f.large]
    assert all(f["passed"] and not f["hosted"] for f in report["families"])
    assert [m["name"] for m in report["measures"]] == [m.name for m in MEASURES]
    assert list(report["loops"]) == list(LOOPS)[:1]
    assert report["versions"]["numba-cuda"].startswith("0.30")
    assert files[1].read_text().startswith("<?xml")
