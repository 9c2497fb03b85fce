"""Graphs written by hand, and native programs of them, for the tests of ``ir/`` and ``codegen/``."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy
from sampling import rounds

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.ir.builder import Builder, Symbol
from blockfuse.ir.graph import Graph, argument, evaluate, graph_of, leaf, parameter
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.types import TensorType, tensor
from blockfuse.ir.verify import verify

# The levels of instruction sets that this processor has.
LEVELS = [level for level in isa.LEVELS if isa.machine(level).name == level]


def typed(text: str) -> TensorType:
    """The type that prints as ``text``: ``float32[2, 20]``."""
    dtype, shape = re.fullmatch(r"(\w+)\[(.*)\]", text).groups()  # type: ignore[union-attr]
    return tensor(tuple(int(n) for n in shape.split(",") if n.strip()), dtype)


def graph(function: Callable[..., Any], parameters: str = "", **types: str | TensorType) -> Graph:
    """What ``function`` does to arguments of these names and types; those in ``parameters`` are parameters."""
    leaves = [
        leaf(
            parameter if name in parameters.split() else argument, name, typed(t) if isinstance(t, str) else t
        )
        for name, t in types.items()
    ]
    with interpreting(Builder()):
        results = function(*map(Symbol, leaves))
    results = results if isinstance(results, tuple) else (results,)
    return verify(graph_of(leaves, [r.node for r in results]))


class Memory(dict[str, bytes]):
    """Object code kept for the session: a kernel that two tests need is compiled once."""

    def put(self, key: str, code: bytes) -> None:
        self[key] = code


_MEMORY = Memory()


class Native:
    """The native program of a graph; called with an array for each input it gives the list of results."""

    def __init__(self, recorded: Graph, level: str = "", threads: int = 1, with_entry: bool = False) -> None:
        """with_entry: most of what compiling a small program takes; `make test-long` compiles it always."""
        machine = isa.machine(level, threads)
        self.graph = recorded
        self.compiled = compile_flow(recorded, machine, check=verify)
        self.schedule = self.compiled.schedule
        self.executable = Executable(
            self.schedule,
            machine,
            _MEMORY,
            ndarray,
            UNUSUAL,
            with_entry=with_entry or bool(rounds(0, 1)),
        )
        self.sources = self.executable.plan.sources

    def __call__(self, *values: numpy.ndarray) -> list[numpy.ndarray]:
        known = dict(zip((i.attrs["name"] for i in self.graph.inputs), values, strict=True))
        self.executable.bind(self.compiled.parameters(known))
        arguments = [known[i.attrs["name"]] for i in self.graph.inputs if i.operator is argument]
        return self.executable.run([numpy.ascontiguousarray(v).reshape(v.shape) for v in arguments])


def natively(
    function: Callable[..., Any], *values: numpy.ndarray, level: str = "", threads: int = 1
) -> list[numpy.ndarray]:
    """The results of a function of arrays, as one native program."""
    return Native(graph_for(function, values), level, threads)(*values)


def graph_for(function: Callable[..., Any], values: Iterable[numpy.ndarray]) -> Graph:
    """The graph of ``function`` for arguments ``x0``, ``x1``, ... with the types of ``values``."""
    return graph(function, **{f"x{n}": tensor(v.shape, v.dtype) for n, v in enumerate(values)})


def meant(recorded: Graph, values: Iterable[numpy.ndarray]) -> list[numpy.ndarray]:
    """The results by NumPy."""
    with numpy.errstate(all="ignore"):
        return evaluate(recorded, values)


def whole(*shape: int, dtype: str = "float32", seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(dtype)


def assert_equal(recorded: Graph, values: list[numpy.ndarray], level: str = "", threads: int = 1) -> Native:
    """The native program gives exactly what the nodes mean."""
    program = Native(recorded, level, threads)
    for found, wanted in zip(program(*values), meant(recorded, values), strict=True):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        numpy.testing.assert_array_equal(found, wanted)
    return program
