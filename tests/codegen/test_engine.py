"""Code in memory: shared by all who hold it, and nobody gets what is about to go."""

from __future__ import annotations

import gc
from typing import Any

import pytest

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
    assert asking.found
    assert not any(asking.found)
    assert engine.load(code, machine).address("seven")
