"""Graphs on a device that the simulator plays, for the tests in this folder."""

from __future__ import annotations

import numpy

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cuda.device.kernel_simulator import Pointer, run
from blockfuse.codegen.cuda.native.isa import machine
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.ir.graph import Graph, argument
from blockfuse.ir.verify import verify

MACHINE = machine((9, 0))


class Simulated:
    """The kernels of a graph without parameters and products; called with arrays it gives the list of results.

    fault: whether the last call met an index beyond its axis.
    """

    def __init__(self, recorded: Graph, threads: int = 32, wide: bool = True) -> None:
        self.graph = recorded
        self.compiled = compile_flow(recorded, MACHINE, check=verify)
        self.schedule = self.compiled.schedule
        self.launches = [s for s in self.schedule.steps if isinstance(s, Launch)]
        assert len(self.launches) == len(self.schedule.steps), self.schedule
        self.sources = [
            render(s.kernel, threads, wide and not any(p.offset % 4 for p in s.pointers))
            for s in self.launches
        ]

    @property
    def _fault_word(self) -> Buffer | None:
        fault = self.schedule.fault
        return None if fault is None else self.schedule.buffers[fault]

    def __call__(self, *values: numpy.ndarray) -> list[numpy.ndarray]:
        memory = [_poisoned(b.type.size, b.type.dtype) for b in self.schedule.buffers]
        known = dict(zip((i.attrs["name"] for i in self.graph.inputs), values, strict=True))
        parameters = self.compiled.parameters(known)
        names = [i.attrs["name"] for i in self.graph.inputs if i.operator is argument]
        results: dict[int, numpy.ndarray] = {}
        for buffer, array in zip(self.schedule.buffers, memory, strict=True):
            if buffer.kind is BufferKind.ARGUMENT:
                array[:] = known[names[buffer.number]].ravel()
            elif buffer.kind is BufferKind.PARAMETER:
                array[:] = parameters[buffer.number].ravel()
            elif buffer is self._fault_word:
                array[:] = 0
            elif buffer.kind is BufferKind.RESULT:
                results[buffer.number] = array.reshape(buffer.type.shape)
        self.fault = False
        for launch, source in zip(self.launches, self.sources, strict=True):
            pairs = zip(launch.pointers, source.pointers, strict=True)
            pointers = [Pointer(_as(memory[p.buffer], d), p.offset) for p, (_, d) in pairs]
            run(source, [*pointers, *_scratch(source, launch.rows)], launch.rows)
        if self.schedule.fault is not None:
            self.fault = bool(memory[self.schedule.fault][0])
        return [results[place] for place in sorted(results)]


def _scratch(source: DeviceSource, rows: int) -> list[Pointer]:
    dtype = numpy.dtype(source.scratch_dtype)
    size = source.scratch * rows // dtype.itemsize
    return [Pointer(_as(_poisoned(size, dtype), source.scratch_dtype))] if size else []


def _poisoned(size: int, dtype: numpy.dtype) -> numpy.ndarray:
    if dtype.kind == "f":
        return numpy.full(size, numpy.nan, dtype)
    return numpy.full(size * dtype.itemsize, 0xCB, "uint8").view(dtype)


def _as(array: numpy.ndarray, dtype: str) -> numpy.ndarray:
    """Memory as a kernel has it: bools are bytes."""
    return array.view("uint8" if dtype == "bool" else dtype)
