"""Whole programs: in Numba's simulator, in a process of its own, and compiled for devices that are not here."""

import importlib.util
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from documents import ROOT, python
from graphs import Memory

import blockfuse
from blockfuse import np, npx
from blockfuse.codegen.cuda.native import isa
from blockfuse.codegen.cuda.native.cubin import cubin
from blockfuse.runtime.inspection import settled
from blockfuse.runtime.programs.backend import ShownBackend
from blockfuse.runtime.programs.program import Program

if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'blockfuse[cuda]'", allow_module_level=True)


@pytest.fixture(scope="module")
def found() -> Any:
    """What each case found."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests/support")])
    run = python(ROOT / "tests/support/simulated_programs.py", NUMBA_ENABLE_CUDASIM=1, PYTHONPATH=paths)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


CASES = (
    *("a net", "a chain", "softmax", "a view", "a loop", "draws", "writes", "an embedding"),
    "sorted between kernels",
)


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_program_gives_the_same_in_the_simulator(found: Any, name: str) -> None:
    assert found[name]["difference"] < 1e-6
    assert "compiled" in found[name]["explain"]
    assert "on the processor: kernel" not in found[name]["explain"]


@pytest.mark.long
def test_every_case_is_a_test(found: Any) -> None:
    assert set(found) == set(CASES)


# -- compiled for devices that are not here ----------------------------------------------------------------------

NETS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "a chain": (lambda x: np.tanh(x * 2 + 1) - x, (1000, 1024)),
    "softmax": (lambda x: npx.softmax(x), (1000, 1024)),
    "picked rows": (lambda x: np.take(x, npx.relu(x[0]).astype("int32"), axis=0) * 2, (40, 50)),
    "a product and what follows": (lambda x: npx.relu(np.dot(x, x.T)).sum(axis=0), (300, 256)),
}


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("cc", [(8, 0), (10, 0)], ids=["sm_80", "sm_100"])
def test_programs_compile_without_a_device(name: str, cc: tuple[int, int]) -> None:
    pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'blockfuse[cuda]'")
    function, shape = NETS[name]
    compiled = blockfuse.hybridize(function, backend="cpu")
    outcome = settled(compiled, [np.zeros(shape)])
    shown = Program(list(outcome.recordings), ShownBackend(isa.machine(cc)))
    plan: Any = shown.executable.plan
    assert plan.rendered
    assert not plan.reasons
    for _, source in plan.rendered.values():
        code = cubin(source, isa.machine(cc), Memory())
        assert all(stage.entry.encode() in code for stage in source.stages)
