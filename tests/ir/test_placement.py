"""Arrays of ours begin with a cache line, and are told from views of memory that others can reach."""

from __future__ import annotations

import copy
import pickle

import numpy
import pytest

import blockfuse
from blockfuse import gluon, nn, np
from blockfuse.array import stamps
from blockfuse.ir import placement
from blockfuse.ir.placement import LINE_BYTES
from blockfuse.ir.types import tensor

SHAPES = [(), (0,), (3,), (5, 7), (64, 40)]


def begins_a_line(array: numpy.ndarray) -> bool:
    return array.ctypes.data % LINE_BYTES == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
def test_zeros_begin_a_line_and_own_their_memory(shape: tuple[int, ...], dtype: str) -> None:
    for _ in range(3):
        array = placement.zeros(shape, dtype)
        assert begins_a_line(array)
        assert (array.shape, array.dtype, array.any()) == (shape, dtype, False)
        assert placement.owns_memory(array)
        assert stamps.owner_of(array) is array
        assert stamps.owner_of(array[...]) is array
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_views_and_memory_of_others_are_not_owned() -> None:
    assert placement.owns_memory(numpy.ones(3))
    assert not placement.owns_memory(placement.zeros((4,), "float32")[1:])
    assert not placement.owns_memory(numpy.frombuffer(bytearray(8), numpy.float32))


def test_copies_keep_values_and_cast_as_numpy_does() -> None:
    value = numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)) + 0.5
    for dtype in ("float64", "float32", "int32"):
        made = placement.copied(value, dtype)
        assert begins_a_line(made)
        numpy.testing.assert_array_equal(made, value.astype(dtype))
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        numpy.testing.assert_array_equal(again, made)


def test_arrays_side_by_side_begin_lines_and_share_no_byte() -> None:
    types = [tensor(shape, dtype) for shape in SHAPES for dtype in ("float32", "bool")]
    placed = placement.side_by_side(types)
    for number, (one, type) in enumerate(zip(placed, types, strict=True)):
        assert begins_a_line(one)
        assert one.flags.c_contiguous
        assert (one.shape, one.dtype) == (type.shape, type.dtype)
        one[...] = number % 2
    for number, one in enumerate(placed):
        numpy.testing.assert_array_equal(one, number % 2)
    assert placement.side_by_side([]) == []


def test_what_a_program_packs_begins_lines() -> None:
    net = nn.Sequential()
    net.add(nn.Dense(48, in_units=40, activation="relu"), nn.Dense(3, in_units=48))
    net.initialize()
    net.hybridize()
    x = np.array(numpy.ones((2, 40), "float32"))
    want = net(x)
    for _ in range(3):
        net(x)
    (program,) = [case.program for case in net._hybrid.cases.values()]
    assert all(map(begins_a_line, program.bound))
    net[0].weight.set_data(net[0].weight.data() * 2)
    net[0].bias.set_data(net[0].bias.data() + 1)
    numpy.testing.assert_array_equal(net(x).asnumpy() == want.asnumpy(), False)
    assert program.bound[0].any()


def test_what_training_writes_begins_lines() -> None:
    net = nn.Dense(3, in_units=5)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam")
    step = blockfuse.train_step(net, gluon.loss.L2Loss(), trainer)
    for _ in range(4):
        step(np.ones((4, 5)), np.zeros((4, 3)))
    (program,) = [case.program for case in step._hybrid.cases.values()]
    assert program.schedule.updates
    written = [a for a in program.updates.arrays() if a.ndim]
    assert len(written) == 2 * 4
    assert all(map(begins_a_line, written))
