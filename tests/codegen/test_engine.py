"""Code in memory: shared by all who hold it, and nobody gets what is about to go."""

from __future__ import annotations

import ctypes
import gc
import platform
import subprocess
import sys
import weakref
from typing import Any

import pytest
from documents import ROOT

from blockfuse.codegen.cpu.native import engine, isa

IR = """
define i64 @seven() {
  ret i64 7
}
"""


class Asking(list[Any]):
    """In the place of the engines that are gone: whoever is told of one asks for the code again."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def append(self, gone: Any) -> None:
        super().append(gone)
        self.found.append([loaded for loaded in engine._loaded.values() if loaded._held.__dict__ == {}])


@pytest.fixture(autouse=True, params=["linked", "LLVM"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "linked" and platform.machine() != "x86_64":
        pytest.skip("our linker knows x86-64")
    monkeypatch.setattr(engine, "_LINKED", request.param == "linked")
    monkeypatch.setattr(engine, "_loaded", weakref.WeakValueDictionary())


def test_nobody_gets_code_that_is_about_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = isa.machine()
    code = engine.object_code(IR, machine)
    first, same = engine.load(code, machine), engine.load(code, machine)
    assert first is same
    assert first.address("seven")
    asking = Asking()
    monkeypatch.setattr(engine, "_gone", asking)
    del first, same
    gc.collect()
    assert asking.found or engine._LINKED
    assert not any(asking.found)
    assert engine.load(code, machine).address("seven")


def test_functions_of_the_c_library_are_called() -> None:
    text = """
    declare double @cosh(double)
    define double @curve(double %x) {
      %y = call double @cosh(double %x)
      ret double %y
    }
    """
    machine = isa.machine()
    loaded = engine.load(engine.object_code(text, machine), machine)
    curve = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(loaded.address("curve"))
    assert curve(1.0) == pytest.approx(1.5430806348152437)


CROWDED = """
import ctypes
from blockfuse.codegen.cpu.native import engine, isa

PAGE, WALL = 4096, 8 << 30
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
reserve = lambda size: libc.mmap(None, size, 0, 0x4022, -1, 0)  # MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE
machine = isa.machine()
code = engine.object_code('''
@table = private unnamed_addr constant [4 x i64] [i64 3, i64 5, i64 7, i64 9]
define i64 @taken(i64 %place) {
  %element = getelementptr [4 x i64], ptr @table, i64 0, i64 %place
  %value = load i64, ptr %element
  ret i64 %value
}
''', machine)
wall = reserve(WALL)
while reserve(PAGE) > wall:
    pass  # every gap above
libc.munmap(wall + WALL - PAGE, PAGE)  # but for one page, where one section has room
taken = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(engine.load(code, machine).address("taken"))
print(*map(taken, range(4)))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="our linker knows x86-64")
def test_code_reaches_its_constants_in_a_crowded_address_space() -> None:
    """Where free pages lie gigabytes apart, as beside TensorFlow and JAX, LLVM's own engine ended the process."""
    run = subprocess.run(
        [sys.executable, "-c", CROWDED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["3", "5", "7", "9"], run.stderr
