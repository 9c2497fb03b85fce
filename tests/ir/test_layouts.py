"""Layouts against NumPy's strides: whatever is done to a view, its layout finds the same elements."""

from math import prod
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from patterns import Picked, picked
from sampling import sampled

from blockfuse.ir import layout as layouts
from blockfuse.ir.gathers import gathered
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.operator import TABLE


def elements(buffer: numpy.ndarray, where: Layout) -> numpy.ndarray:
    """What a layout finds in a buffer."""
    strides = [s * buffer.itemsize for s in where.strides]
    return as_strided(buffer[where.offset :], where.shape, strides)


def moved(draw: Any, array: numpy.ndarray) -> tuple[str, dict[str, Any]]:
    """The name and the attributes of a movement that ``array`` can make."""
    kinds = ["transpose", "flip", "slice", "broadcast", "expand", "reshape"]
    kind = draw(st.sampled_from(kinds if array.ndim else kinds[3:]))
    if kind == "transpose":
        return "transpose", {"axes": tuple(draw(st.permutations(range(array.ndim))))}
    if kind == "flip":
        return "flip", {"axis": tuple(sorted(draw(st.sets(st.integers(0, array.ndim - 1)))))}
    if kind == "slice":
        return "get_item", {
            "index": tuple(draw(st.builds(_item, st.just(n), st.data())) for n in array.shape)
        }
    if kind == "broadcast":
        return "broadcast_to", {
            "shape": (draw(st.integers(1, 3)), *(3 if n == 1 else n for n in array.shape))
        }
    if kind == "expand":
        return "expand_dims", {"axis": (draw(st.integers(0, array.ndim)),)}
    return "reshape", {"shape": draw(factorings(array.size))}


def _item(size: int, data: Any) -> Any:
    """An index along an axis, in the form that ``get_item`` takes."""
    kind = data.draw(st.sampled_from(["all", "part", "backwards", "one"]))
    if kind == "one" and size:
        return data.draw(st.integers(0, size - 1))
    if kind == "part":
        start = data.draw(st.integers(0, size))
        return ("slice", start, data.draw(st.integers(start, size)), data.draw(st.integers(1, 3)))
    if kind == "backwards" and size:
        return ("slice", size - 1, -1, -data.draw(st.integers(1, 2)))
    return ("slice", 0, size, 1)


@st.composite
def factorings(draw: Any, size: int) -> tuple[int, ...]:
    """A shape of ``size`` elements."""
    if not size:
        return tuple(draw(st.permutations([0, draw(st.integers(0, 3))])))
    shape = []
    while size > 1:
        factor = draw(st.sampled_from([n for n in range(2, size + 1) if size % n == 0]))
        shape.append(factor)
        size //= factor
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return tuple(shape)


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(shape=shapes, data=st.data())
def test_a_chain_of_movements_finds_the_elements_that_numpy_finds(shape: tuple[int, ...], data: Any) -> None:
    buffer = numpy.arange(max(1, prod(shape)))
    array, where = buffer[: prod(shape)].reshape(shape), row_major(shape)
    for _ in range(data.draw(st.integers(1, 5))):
        name, attrs = moved(data.draw, array)
        array = numpy.asarray(TABLE[name].meaning(array, **attrs))
        there = TABLE[name].lowering.relayout(where, **attrs)  # type: ignore[union-attr]
        if there is None:  # only a copy can do that
            assert name == "reshape"
            buffer, there = numpy.append(array.ravel(), 0), row_major(array.shape)
        where = there
        assert where.shape == array.shape
        if array.size:
            numpy.testing.assert_array_equal(elements(buffer, where), array)


@given(shape=shapes, data=st.data())
def test_a_view_is_found_wherever_numpy_finds_one(shape: tuple[int, ...], data: Any) -> None:
    array, where = numpy.zeros(shape), row_major(shape)
    for _ in range(data.draw(st.integers(0, 3))):
        name, attrs = moved(data.draw, array)
        there = TABLE[name].lowering.relayout(where, **attrs)  # type: ignore[union-attr]
        if there is not None:
            array, where = numpy.asarray(TABLE[name].meaning(array, **attrs)), there
    wanted = data.draw(factorings(array.size))
    can = numpy.shares_memory(array, array.reshape(wanted)) or not array.size
    assert (layouts.reshape(where, wanted) is not None) or not can


@given(shape=shapes, data=st.data())
def test_merged_axes_walk_the_same_elements(shape: tuple[int, ...], data: Any) -> None:
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    turned = layouts.transpose(row_major(shape), axes)
    target = row_major(turned.shape)
    merged, (of_turned, of_target) = layouts.merge([turned.shape] * 2, [turned.strides, target.strides])
    assert prod(merged) == prod(shape)
    assert len(merged) <= len(shape)
    if prod(shape):
        buffer = numpy.arange(prod(shape))
        walk = [elements(buffer, Layout(merged, s)).ravel() for s in (of_turned, of_target)]
        numpy.testing.assert_array_equal(walk[0][numpy.argsort(walk[1])], elements(buffer, turned).ravel())


@pytest.mark.parametrize(
    ("where", "dense", "contiguous"),
    [
        (row_major((2, 3)), True, True),
        (row_major(()), True, True),
        (row_major((0, 3)), True, True),
        (Layout((2, 3), (3, 1), 4), True, False),
        (Layout((2, 1, 3), (3, 99, 1)), True, True),
        (Layout((2, 3), (4, 1)), False, False),
        (Layout((2, 3), (-3, 1), 3), False, False),
        (Layout((2, 3), (0, 1)), False, False),
    ],
)
def test_dense_and_contiguous(where: Layout, dense: bool, contiguous: bool) -> None:
    assert (where.dense, where.contiguous) == (dense, contiguous)


def test_only_a_copy_reshapes_a_transposed_matrix() -> None:
    turned = layouts.transpose(row_major((2, 3)), (1, 0))
    assert layouts.reshape(turned, (6,)) is None
    assert layouts.reshape(turned, (3, 1, 2)) == Layout((3, 1, 2), (1, 0, 3))


def test_neighbours_that_are_stepped_through_evenly_become_one_axis() -> None:
    assert layouts.merge([(2, 3, 4)], [(12, 4, 1)]) == ((24,), [(1,)])
    assert layouts.merge([(2, 3, 4)], [(24, 8, 2)]) == ((24,), [(2,)])
    assert layouts.merge([(2, 3, 4)] * 2, [(12, 4, 1), (0, 4, 1)]) == ((2, 12), [(12, 1), (0, 1)])
    assert layouts.merge([(2, 1, 4)], [(4, 7, 1)]) == ((8,), [(1,)])


@given(picked())
@sampled(100, 400)
def test_elements_that_index_arrays_pick_are_those_of_numpy(case: Picked) -> None:
    wanted = case.table[case.numpy_index]
    found = gathered(case.pattern, row_major(case.table.shape), [row_major(a.shape) for a in case.arrays])
    assert found.base.shape == wanted.shape
    for element in numpy.ndindex(*wanted.shape):
        at = found.base.offset + numpy.dot(element, found.base.strides)
        for array, axis in zip(case.arrays, found.axes, strict=True):
            index = array.reshape(-1)[axis.index.offset + int(numpy.dot(element, axis.index.strides))]
            at += int(index) % axis.size * axis.stride
        assert case.table.reshape(-1)[int(at)] == wanted[element]


@sampled(20, 200)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_boxes_beside_a_box_are_all_that_it_is_not(sizes: list[int], data: Any) -> None:
    places = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in sizes]
    inside = tuple(slice(a, max(b, a + 1)) for a, b in places)
    memory = numpy.zeros(sizes, int)
    memory[inside] += 1
    whole = row_major(tuple(sizes))
    shape = tuple(s.stop - s.start for s in inside)
    offset = sum(s.start * step for s, step in zip(inside, whole.strides, strict=True))
    found = layouts.beside(Layout(shape, whole.strides, offset), tuple(sizes))
    assert found is not None
    for box in found:
        part = as_strided(memory.ravel()[box.offset :], box.shape, [8 * s for s in box.strides])
        assert part.size
        part += 1
    assert (memory == 1).all()


@pytest.mark.parametrize(
    "part",
    [Layout((2, 3), (4, -1), 3), Layout((2, 4), (8, 1)), Layout((3,), (1,), 4), Layout((0, 4), (4, 1))],
    ids=str,
)
def test_what_is_no_box_has_nothing_beside_it(part: Layout) -> None:
    assert layouts.beside(part, (3, 4)) is None
