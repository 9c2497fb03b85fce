"""Maps as one kernel, and updates in the memory of parameters: any program gives what its operators mean.

Programs are random, over two lengths, so that maps can be merged, must not be, or stand in each other's way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy
import pytest
from graphs import Memory, Native, graph, meant, whole
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled

from blockfuse.array.modes import UNUSUAL
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.codegen.kernels.loop_kernels import FlatKernel
from blockfuse.codegen.meaning.schedules import meaning_of
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.ir.builder import Builder, Symbol
from blockfuse.ir.flow import Block, Flow
from blockfuse.ir.graph import argument, captured, graph_of, leaf
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.operators import movement, pointwise, reductions
from blockfuse.ir.operators.contractions import matmul
from blockfuse.ir.operators.indexing import take_at
from blockfuse.ir.types import tensor

LENGTHS = (40, 7)


@dataclass
class Step:
    """A program of updates, natively, by its meaning and by NumPy."""

    flow: Flow

    def __post_init__(self) -> None:
        machine = isa.machine("", 2)
        self.compiled = compile_flow(self.flow, machine)
        self.executable = Executable(self.compiled.schedule, machine, Memory(), ndarray, UNUSUAL)

    @property
    def schedule(self) -> Schedule:
        return self.compiled.schedule

    def check(self, arguments: list[numpy.ndarray], held: list[numpy.ndarray]) -> None:
        """``held`` are the arrays that are updated, in the order of the leaves."""
        graph = self.flow.blocks[0].graph
        wanted = [a.copy() for a in meant(graph, [*arguments, *held])]  # an output may be a held array itself
        names = [i.attrs["name"] for i in graph.inputs]
        known = dict(zip(names, [*arguments, *held], strict=True))
        bound = self.compiled.parameters(known)
        before = [a.copy() for a in held]
        for found in (meaning_of(self.schedule, arguments, bound), self._run(bound, arguments)):
            assert found is not None
            for a, b in zip(found, wanted, strict=True):
                numpy.testing.assert_array_equal(a, b)
        for a, b in zip(held, before, strict=True):
            numpy.testing.assert_array_equal(a, b)  # nobody but the entry writes
        results = self.executable.entry(*map(ndarray, arguments))
        assert results is not NotImplemented
        given = [results] if isinstance(results, ndarray) else list(results)
        for a, b in zip([*(r._data for r in given), *held], wanted, strict=True):
            numpy.testing.assert_array_equal(a, b)

    def _run(self, bound: list[numpy.ndarray], arguments: list[numpy.ndarray]) -> list[numpy.ndarray] | None:
        self.executable.bind(bound)
        self.executable.validity.begin()
        self.executable.validity.complete()
        return self.executable.run(arguments)


def step_of(function: Callable[..., tuple[list[Any], list[Any]]], arguments: int, held: list[int]) -> Step:
    """The step of a function of arguments and held arrays that gives results and updates. held: their lengths."""
    leaves = [leaf(argument, f"x{n}", tensor((LENGTHS[n % 2],), "float32")) for n in range(arguments)]
    leaves += [leaf(captured, f"p{n}", tensor((length,), "float32")) for n, length in enumerate(held)]
    with interpreting(Builder()):
        results, updates = function(*map(Symbol, leaves))
    graph = graph_of(leaves, [r.node for r in (*results, *updates)])
    return Step(Flow((Block(graph, updates=tuple(leaves[arguments:])),)))


def kernels_of(schedule: Schedule) -> list[tuple[str, int]]:
    """Name and number of results of each launch."""
    return [(launch.kernel.name, launch.kernel.results) for launch in schedule.launches]


# -- merged maps -----------------------------------------------------------------------------------------------


def test_what_nobody_else_needs_stays_in_registers() -> None:
    def function(x: Any, y: Any) -> Any:
        shared = x * 2
        return shared + y, shared - y

    program = Native(graph(function, x="float32[40]", y="float32[40]"))
    values = [whole(40), whole(40, seed=1)]
    for found, wanted in zip(program(*values), meant(program.graph, values), strict=True):
        numpy.testing.assert_array_equal(found, wanted)
    (launch,) = program.schedule.launches
    assert isinstance(launch.kernel, FlatKernel)
    assert [name for name, _ in launch.kernel.pointers] == ["x0", "x1", "out0", "out"]


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x, y: (x + y, movement.flip(x + y, axis=(0,)) * 2), 2),  # read in another order
        (lambda x, y: (x + y, (x + y) * reductions.sum_(x + y, axis=(0,), keepdims=False)), 3),
        (
            lambda x, y: (x + y, movement.get_item(x, index=(("slice", 0, 20, 1),)) * 2),
            2,
        ),  # of another length
    ],
)
def test_what_is_not_element_by_element_stays_apart(function: Callable[..., Any], count: int) -> None:
    program = Native(graph(function, x="float32[40]", y="float32[40]"))
    values = [whole(40), whole(40, seed=1)]
    for found, wanted in zip(program(*values), meant(program.graph, values), strict=True):
        numpy.testing.assert_array_equal(found, wanted)
    assert len(program.schedule.launches) == count


@pytest.mark.long
def test_a_large_program_has_kernels_of_a_limited_size() -> None:
    def function(*values: Any) -> Any:
        return tuple(a + b for a, b in pairwise(values))

    program = Native(graph(function, **{f"x{n}": "float32[40]" for n in range(30)}))
    values = [whole(40, seed=n) for n in range(30)]
    for found, wanted in zip(program(*values), meant(program.graph, values), strict=True):
        numpy.testing.assert_array_equal(found, wanted)
    assert 1 < len(program.schedule.launches) < 10


# -- updates ---------------------------------------------------------------------------------------------------


def test_an_optimizer_is_one_pass_over_each_weight() -> None:
    def function(g: Any, weight: Any, speed: Any) -> tuple[list[Any], list[Any]]:
        faster = speed * 2 + g
        return [], [weight - faster, faster]

    step = step_of(function, 1, [40, 40])
    assert kernels_of(step.schedule) == [("multiply_add_subtract", 2)]
    step.check([whole(40)], [whole(40, seed=1), whole(40, seed=2)])


def test_a_product_writes_a_gradient_itself() -> None:
    leaves = [leaf(argument, n, tensor((5, 32), "float32")) for n in "xy"]
    leaves.append(leaf(captured, "grad", tensor((32, 32), "float32")))
    with interpreting(Builder()):
        x, y, _ = map(Symbol, leaves)
        product = matmul(movement.transpose(x, axes=(1, 0)), y)
    step = Step(Flow((Block(graph_of(leaves, [product.node]), updates=(leaves[2],)),)))
    assert kernels_of(step.schedule) == [("dense", 1)]
    step.check([whole(5, 32), whole(5, 32, seed=1)], [whole(32, 32, seed=2)])


def test_nothing_is_written_before_the_last_fault() -> None:
    """The first update is ready before an index is looked at, and waits."""
    leaves = [leaf(argument, "x", tensor((40,), "float32")), leaf(argument, "n", tensor((7,), "int64"))]
    leaves += [leaf(captured, f"p{n}", tensor((40,), "float32")) for n in range(2)]
    with interpreting(Builder()):
        x, n, first, second = map(Symbol, leaves)
        picked = take_at(x, n, pattern=(("array", 0),))
        updates = [first + x, second * reductions.sum_(picked, axis=(0,), keepdims=False)]
    step = Step(Flow((Block(graph_of(leaves, [u.node for u in updates]), updates=tuple(leaves[2:])),)))
    (block,) = step.schedule.blocks
    assert block.commit is not None
    faults = [n for n, s in enumerate(step.schedule.steps) if isinstance(s, Launch) and s.kernel.has_fault]
    assert faults
    assert max(faults) < block.commit
    held = [whole(40, seed=1), whole(40, seed=2)]
    step.check([whole(40), numpy.array([0, 39, -40, 5, 5, 1, -1])], held)
    before = [a.copy() for a in held]
    wrong = step.executable.entry(ndarray(whole(40)), ndarray(numpy.array([0, 39, 40, 5, 5, 1, -1])))
    assert wrong is NotImplemented
    for a, b in zip(held, before, strict=True):
        numpy.testing.assert_array_equal(a, b)


choice = st.integers(0, 1000)


def _largest(x: Any) -> Any:
    return reductions.max_(x, axis=(0,), keepdims=False)


@given(st.data(), st.lists(st.sampled_from([0, 1]), min_size=1, max_size=4))
@sampled(4, 200)
def test_any_program_of_updates(data: st.DataObject, lengths: list[int]) -> None:
    held = [LENGTHS[n] for n in lengths]

    def function(*leaves: Any) -> tuple[list[Any], list[Any]]:
        values = list(leaves)

        def one(length: int) -> Any:
            fitting = [v for v in values if v.shape == (length,)]
            return fitting[data.draw(choice) % len(fitting)]

        for _ in range(data.draw(st.integers(1, 9))):
            length = LENGTHS[data.draw(st.integers(0, 1))]
            kind = data.draw(st.integers(0, 5))
            a, b = one(length), one(length)
            if kind == 0:
                values.append(movement.flip(a, axis=(0,)))
            elif kind == 1:
                values.append(a + _largest(one(LENGTHS[data.draw(st.integers(0, 1))])))
            else:
                values.append((pointwise.add, pointwise.maximum, pointwise.subtract)[kind % 3](a, b))
        return [one(LENGTHS[0])] * data.draw(st.integers(0, 1)), [one(length) for length in held]

    step = step_of(function, 2, held)
    arguments = [whole(LENGTHS[n], seed=n) for n in range(2)]
    step.check(arguments, [whole(length, seed=7 + n) for n, length in enumerate(held)])
