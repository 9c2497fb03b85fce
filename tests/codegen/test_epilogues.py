"""Maps in the epilogues of products: an optimizer behind a gradient, in the memory of weights and states.

Shapes are such that tiles overlap in rows and in panels, and panels end beyond the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import Native, graph, meant, whole
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled
from test_merging import Step, kernels_of

from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.scheduling.epilogues import with_epilogues
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.builder import Builder, Symbol
from blockfuse.ir.flow import Block, Flow
from blockfuse.ir.graph import argument, captured, graph_of, leaf
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.operators import movement, pointwise, reductions
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.types import tensor

Shapes = dict[str, tuple[int, ...]]


def step_of(function: Callable[..., tuple[list[Any], list[Any]]], arguments: Shapes, held: Shapes) -> Step:
    """The step of a function that gives results and updates of ``held``."""
    leaves = [leaf(argument, name, tensor(shape, "float32")) for name, shape in arguments.items()]
    leaves += [leaf(captured, name, tensor(shape, "float32")) for name, shape in held.items()]
    with interpreting(Builder()):
        results, updates = function(*map(Symbol, leaves))
    recorded = graph_of(leaves, [r.node for r in (*results, *updates)])
    return Step(Flow((Block(recorded, updates=tuple(leaves[len(arguments) :])),)))


def check(step: Step) -> None:
    inputs = step.flow.blocks[0].graph.inputs
    values = [whole(*i.shape, seed=n) for n, i in enumerate(inputs)]
    count = sum(i.operator is argument for i in inputs)
    step.check(values[:count], values[count:])


def _gradient(g: Any, x: Any) -> Any:
    return matmul(movement.transpose(g, axes=(1, 0)), x)


def _trained(x: Any, g: Any, weight: Any, speed: Any, _: Any) -> tuple[list[Any], list[Any]]:
    """SGD with momentum; the gradient is kept, too."""
    found = _gradient(g, x)
    faster = speed * 2 - found
    return [], [weight + faster, faster, found]


SIZES = [(4, 13, 37), (9, 7, 16), (3, 3, 48), (3, 2, 33), (40, 64, 64), (50, 30, 3), (5, 1, 9), (2, 6, 80)]


@pytest.mark.spread(3)
@pytest.mark.parametrize(("batch", "units", "inner"), SIZES)
def test_an_optimizer_is_the_epilogue_of_a_gradient(batch: int, units: int, inner: int) -> None:
    shape = units, inner
    step = step_of(
        _trained, {"x": (batch, inner), "g": (batch, units)}, {"w": shape, "speed": shape, "grad": shape}
    )
    (launch,) = (one for one in step.schedule.launches if isinstance(one.kernel, ProductKernel))
    assert launch.kernel.results == 3
    assert step.schedule.launches[-1] is launch
    check(step)


@pytest.mark.long
def test_a_weight_is_written_behind_those_who_read_it() -> None:
    """The gradient of the input needs the weight of before; its product comes later, and runs first."""

    def function(x: Any, g: Any, weight: Any) -> tuple[list[Any], list[Any]]:
        changed = weight - _gradient(g, x)
        return [matmul(g, weight) * 2], [changed]

    step = step_of(function, {"x": (9, 40), "g": (9, 20)}, {"w": (20, 40)})
    assert [name for name, _ in kernels_of(step.schedule)][-1] == "dense_subtract"
    check(step)


def test_a_weight_that_the_product_sums_over_is_written_behind_it() -> None:
    def function(g: Any, weight: Any) -> tuple[list[Any], list[Any]]:
        moved = matmul(g, weight)
        return [moved], [weight - moved * 2]

    step = step_of(function, {"g": (64, 64)}, {"w": (64, 64)})  # whole panels, which are read where they lie
    assert [results for _, results in kernels_of(step.schedule)] == [1, 1]
    check(step)


def test_gradients_that_are_clipped_by_their_norm_are_not_written_at_once() -> None:
    def function(x: Any, g: Any, weight: Any, _: Any) -> tuple[list[Any], list[Any]]:
        found = _gradient(g, x)
        largest = reductions.max_(
            reductions.max_(found, axis=(1,), keepdims=False), axis=(0,), keepdims=False
        )
        return [], [weight - found * largest, found]

    check(step_of(function, {"x": (3, 20), "g": (3, 20)}, {"w": (20, 20), "grad": (20, 20)}))


def test_what_is_added_to_a_gradient_is_added_by_its_product() -> None:
    def function(x: Any, g: Any, grad: Any) -> tuple[list[Any], list[Any]]:
        return [], [grad + _gradient(g, x)]

    step = step_of(function, {"x": (3, 37), "g": (3, 13)}, {"grad": (13, 37)})
    assert kernels_of(step.schedule)[-1] == ("dense_add", 1)
    check(step)


@pytest.mark.parametrize("shape", [(3, 13), (1, 9), (7, 22), (5, 3)], ids=str)
def test_a_state_that_a_product_is_added_to_is_written_once(shape: tuple[int, int]) -> None:
    """The weight is read where it lies, and groups of columns overlap."""

    def function(x: Any, weight: Any, state: Any) -> tuple[list[Any], list[Any]]:
        return [], [weight, state + dense(x, weight)]

    rows, units = shape
    step = step_of(function, {"x": (rows, 130)}, {"weight": (units, 130), "state": shape})
    kernels = [one.kernel for one in step.schedule.launches if isinstance(one.kernel, ProductKernel)]
    assert [kernel.reads_results for kernel in kernels] == [True]
    check(step)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("step", [1, 2, -1, 17])
def test_what_lies_apart_is_read_by_a_map_behind_the_product(step: int, rows: int) -> None:
    """Tiles load neighbours; the map walks elements of a vector of as many as the product has."""

    def function(x: Any, weight: Any, other: Any) -> Any:
        found = movement.reshape(dense(x, weight), shape=(rows * 16,))
        every = movement.get_item(other, index=(("slice", 0, rows * 16 * abs(step), abs(step)),))
        return found * (every if step > 0 else movement.flip(every, axis=(0,)))

    native = Native(
        graph(
            function,
            x=f"float32[{rows}, 40]",
            weight="float32[16, 40]",
            other=f"float32[{rows * 16 * abs(step)}]",
        )
    )
    x, weight, other = whole(rows, 40), whole(16, 40, seed=1), whole(rows * 16 * abs(step), seed=2)
    (found,) = native(x, weight, other)
    every = other[:: abs(step)] if step > 0 else other[::-1]
    numpy.testing.assert_array_equal(found, (x @ weight.T).reshape(-1) * every)


def test_numbers_of_the_step_do_not_hold_a_product_back() -> None:
    """They are computed behind all products, and read by what follows the first one."""

    def function(x: Any, g: Any, h: Any, first: Any, second: Any, count: Any) -> tuple[list[Any], list[Any]]:
        a, b = _gradient(g, x), _gradient(h, x)
        number = count + 1
        return [], [first - a * number, second - b * number, number]

    shapes = {"x": (9, 64), "g": (9, 20), "h": (9, 20)}
    step = step_of(function, shapes, {"first": (20, 64), "second": (20, 64), "count": ()})
    assert [name for name, _ in kernels_of(step.schedule)] == ["add", *["dense_multiply_subtract"] * 2]
    check(step)


def test_numbers_do_not_pass_what_the_host_computes() -> None:
    """Draws stand first, for an entry to ask for."""
    schedule = Native(graph(lambda x: x + 1, x="float32[]")).schedule
    drawn = HostCall(pointwise.add, {}, (), len(schedule.buffers), "")
    steps = [drawn, *schedule.launches]
    assert with_epilogues(steps, steps, schedule.buffers) == steps


def test_what_nobody_else_needs_is_not_stored() -> None:
    def function(x: Any, w: Any) -> Any:
        made = dense(x, w)
        return made + 1, made * 2

    recorded = graph(function, x="float32[20, 9]", w="float32[40, 9]")
    program = Native(recorded)
    values = [whole(20, 9), whole(40, 9)]
    for found, wanted in zip(program(*values), meant(recorded, values), strict=True):
        numpy.testing.assert_array_equal(found, wanted)
    (launch,) = (one for one in program.schedule.launches if isinstance(one.kernel, ProductKernel))
    assert launch.kernel.results == 2


choice = st.integers(0, 1000)


@given(st.data(), st.sampled_from(SIZES[:4]))
@sampled(3, 100)
def test_any_program_of_products_and_maps(data: st.DataObject, sizes: tuple[int, int, int]) -> None:
    batch, units, inner = sizes

    def function(x: Any, g: Any, *held: Any) -> tuple[list[Any], list[Any]]:
        values = [*held]

        def one() -> Any:
            return values[data.draw(choice) % len(values)]

        for _ in range(data.draw(st.integers(1, 8))):
            kind = data.draw(st.integers(0, 5))
            if kind == 0:
                values.append(_gradient(g, x))
            elif kind == 1:
                values.append(one() + reductions.max_(one(), axis=(1,), keepdims=True))
            elif kind == 2:
                values.append(_gradient(matmul(x, movement.transpose(one(), axes=(1, 0))), x))
            else:
                values.append((pointwise.add, pointwise.maximum, pointwise.subtract)[kind % 3](one(), one()))
        return [one()] * data.draw(st.integers(0, 1)), [one() for _ in held]

    shapes = {f"p{n}": (units, inner) for n in range(data.draw(st.integers(1, 3)))}
    check(step_of(function, {"x": (batch, inner), "g": (batch, units)}, shapes))
