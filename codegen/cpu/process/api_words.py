"""What native functions of the interpreter's process call and compare with: addresses, in words of their module."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from blockfuse.codegen.cpu.native.engine import Loaded
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.values.emitter import I64, Emitter, Words

_VARIABLE = "words"


@dataclass(frozen=True)
class ApiWords:
    """A word for each function of CPython's C API and for each object, which must be kept by somebody."""

    functions: Mapping[str, str]  # name of the word -> name of the function
    objects: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.functions, *self.objects)

    def declared(self, module: ir.Module) -> ir.GlobalVariable:
        """The words in a module that is being written, empty."""
        words = ir.GlobalVariable(module, ir.ArrayType(I64, len(self.names)), _VARIABLE)
        words.initializer = ir.Constant(words.value_type, None)
        return words

    def of(self, emit: Emitter, declared: ir.GlobalVariable) -> Words:
        """The same by name, for code that is being written."""
        return Words(emit, declared, self.names)

    def fill(self, loaded: Loaded) -> None:
        """Write the addresses of this process."""
        words = (ctypes.c_int64 * len(self.names)).from_address(loaded.address(_VARIABLE))
        words[:] = [*map(cpython.address_of, self.functions.values()), *map(id, self.objects.values())]
