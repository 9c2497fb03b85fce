"""What all native code is written with does what it says: loops, choices, words by name, calls by address."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy
import pytest
from llvmlite import ir

from blockfuse.codegen.cpu.native import engine, isa
from blockfuse.codegen.values.emitter import I64, POINTER, Emitter, Words, constant

LOADED: list[engine.Loaded] = []


def native(body: Callable[[Emitter, ir.Value], ir.Value]) -> Callable[[numpy.ndarray], int]:
    """A function of a table of words; ``body`` gives its value."""
    module = ir.Module("test")
    function = ir.Function(module, ir.FunctionType(I64, [POINTER]), "function")
    emit = Emitter.of(function)
    emit.builder.ret(body(emit, function.args[0]))
    machine = isa.machine()
    LOADED.append(engine.load(engine.object_code(str(module), machine), machine))
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(LOADED[-1].address("function"))
    return lambda table: call(table.ctypes.data)


def words(*numbers: int) -> numpy.ndarray:
    return numpy.array(numbers, numpy.int64)


def test_a_counted_loop_runs_for_each_number_below_the_end_or_not_at_all() -> None:
    def body(emit: Emitter, table: ir.Value) -> ir.Value:
        with emit.counted(emit.word(table, 0), emit.word(table, 1), 3) as number:
            emit.put(table, 2, emit.builder.add(emit.word(table, 2), number))
        return emit.word(table, 2)

    call = native(body)
    for first, end in ((0, 0), (5, 3), (0, 1), (0, 3), (0, 4), (2, 12)):
        assert call(words(first, end, 0)) == sum(range(first, end, 3))


def test_a_loop_carries_values_and_runs_at_least_once() -> None:
    def body(emit: Emitter, table: ir.Value) -> ir.Value:
        def step(values: list[ir.Value], number: ir.Value) -> list[ir.Value]:
            total, steps = values
            return [emit.builder.add(total, number), emit.builder.add(steps, constant(1))]

        total, steps = emit.carried([constant(0), constant(0)], 0, emit.word(table, 0), 2, step)
        return emit.sum(emit.times(total, 1000), steps)

    call = native(body)
    for end in (-1, 0, 1, 2, 3, 10):
        numbers = range(0, max(end, 1), 2)
        assert call(words(end)) == 1000 * sum(numbers) + len(numbers)


def test_a_choice_is_the_value_of_the_branch_that_ran() -> None:
    def body(emit: Emitter, table: ir.Value) -> ir.Value:
        def inner() -> ir.Value:
            return emit.choice(
                emit.is_(">", emit.word(table, 0), 7), lambda: constant(8), lambda: constant(5)
            )

        return emit.choice(emit.is_(">", emit.word(table, 0), 3), inner, lambda: constant(2))

    call = native(body)
    assert [call(words(number)) for number in (1, 4, 9)] == [2, 5, 8]


@pytest.mark.parametrize("signed", [True, False])
def test_negative_numbers_are_the_largest_ones_without_a_sign(signed: bool) -> None:
    call = native(
        lambda emit, table: emit.builder.zext(emit.is_("<", emit.word(table, 0), 5, signed=signed), I64)
    )
    assert [call(words(number)) for number in (-1, 4, 5)] == [int(signed), 1, 0]


def test_smaller_larger_and_quotients() -> None:
    x, y = 17, 5

    def body(emit: Emitter, table: ir.Value) -> ir.Value:
        one, other = emit.word(table, 0), emit.word(table, 1)
        results = (
            emit.smaller(one, other),
            emit.larger(one, other),
            emit.rounded_quotient(one, other),
            emit.rounded_quotient(one, 4),
        )
        for index, result in enumerate(results):
            emit.put(table, index, result)
        return constant(0)

    table = words(x, y, 0, 0)
    native(body)(table)
    assert table.tolist() == [y, x, 4, 5]


def test_words_by_name_begin_where_they_are_said_to_and_hold_functions() -> None:
    def body(emit: Emitter, table: ir.Value) -> ir.Value:
        named = Words(emit, table, ("function", "number"), first=1)
        named.put("number", emit.builder.add(named.get("number"), constant(1)))
        return named.call("function", I64, named.get("number"), 10)

    added = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(lambda x, y: 100 * x + y)
    table = words(-1, ctypes.cast(added, ctypes.c_void_p).value or 0, 4)
    assert native(body)(table) == 510
    assert (table[0], table[2]) == (-1, 5)


def test_memory_of_the_stack_is_taken_once_where_a_loop_asks_for_it() -> None:
    def body(emit: Emitter, table: ir.Value) -> ir.Value:
        with emit.counted(0, emit.word(table, 0)) as number:
            memory = emit.local(I64, 1024)
            emit.put(memory, 1023, number)
            emit.put(table, 1, emit.word(memory, 1023))
        return emit.word(table, 1)

    assert native(body)(words(1_000_000, 0)) == 999_999  # 8 GB if each round took its own
