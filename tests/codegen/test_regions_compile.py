"""Regions compiled for devices that need not be there: one launch, in registers, that sees what it has written."""

import re
from pathlib import Path

import pytest
from cubins import entries
from region_programs import plan_of

from blockfuse.codegen.cuda.native.isa import machine

for package in ("numba_cuda", "cuda.core", "nvidia.cu13"):
    pytest.importorskip(package, reason=f"compiling for devices needs {package}: extra cuda-test")

from blockfuse.codegen.cuda.native import frontend  # noqa: E402

pytestmark = pytest.mark.long


def source_of(name: str) -> frontend.DeviceSource:
    (region,) = plan_of(name).regions
    return region.source


@pytest.mark.parametrize("name", ["FixedHiddenMLP", "a counter", "views", "columns", "products"])
def test_a_region_is_one_function_without_float64_that_loads_what_it_has_written(name: str) -> None:
    (text,) = frontend.ptx(source_of(name), machine((9, 0)))
    assert ".f64" not in text
    assert ".nc" not in text  # a load past the coherent caches
    assert "call" not in text
    assert len(re.findall(r"^\.visible \.entry", text, flags=re.MULTILINE)) == 1


@pytest.mark.parametrize("cc", [(8, 0), (9, 0), (10, 0)])
def test_exchanged_pointers_and_what_a_thread_holds_are_in_registers(
    cc: tuple[int, int], tmp_path: Path
) -> None:
    entry = entries(frontend.linked(source_of("FixedHiddenMLP"), machine(cc)), tmp_path)["kernel_region"]
    assert (entry.stack, entry.local) == (0, 0)
    assert entry.instructions["LDG.E.128"]
    assert not [
        i for i in entry.instructions if i.startswith("LD.")
    ]  # the compiler knows where pointers point


def test_a_kernel_that_is_called_twice_is_there_once_in_shared_memory() -> None:
    (text,) = frontend.ptx(source_of("columns"), machine((9, 0)))
    declared = source_of("columns").text.count("cuda.shared.array")
    assert 0 < len(re.findall(r"\.shared \.align", text)) <= declared
