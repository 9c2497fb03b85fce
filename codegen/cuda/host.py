"""Kernels that the device does not have, compiled for the processor: they run on copies of what they touch."""

from __future__ import annotations

import ctypes

import numpy

from blockfuse.codegen.kernel import Kernel
from blockfuse.codegen.steps import Launch
from blockfuse.codegen.store import Store


class HostKernel:
    """A kernel for the processor, which was scheduled for a device."""

    def __init__(self, kernel: Kernel, store: Store) -> None:
        from blockfuse.codegen.cpu import isa, native  # bring llvmlite: most programs have no such kernel
        from blockfuse.codegen.cpu.compiled import kernel_code
        from blockfuse.codegen.cpu.render import render

        machine = isa.machine()
        self._code = native.load(kernel_code(kernel, render(kernel), machine, store), machine)
        self._address = self._code.address("kernel")

    def launch(self, addresses: list[int], rows: int) -> None:
        """Run over memory of the host."""
        unused = ctypes.c_int64()
        words = [ctypes.c_int64] * (4 + len(addresses))
        function = ctypes.CFUNCTYPE(ctypes.c_int32, *words)(self._address)
        place = ctypes.addressof(unused)
        function(place, place, *addresses, 0, rows)

    def run(self, step: Launch, arrays: dict[int, numpy.ndarray], rows: int) -> None:
        """``step`` on arrays of the host."""
        pointers = [(arrays[p.buffer], p.offset) for p in step.pointers]
        self.launch([a.ctypes.data + offset * a.itemsize for a, offset in pointers], rows)
