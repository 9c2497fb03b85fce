"""Several objects made at once: one is optimised while the next is written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from graphs import Memory

from blockfuse.codegen import compiler_thread
from blockfuse.codegen.cpu.native import engine, isa
from blockfuse.codegen.cpu.native.object_code import Wanted, object_code, object_codes

MACHINE = isa.machine()


def text(number: int) -> str:
    return f"define i64 @number() {{\n  ret i64 {number}\n}}\n"


def wanted(number: int, noted: list[Any] | None = None) -> Wanted:
    def make() -> str:
        if noted is not None:
            noted.append((number, compiler_thread.is_interrupted(), threading.get_ident()))
        return text(number)

    return f"number {number}", make


def one_by_one(numbers: list[int]) -> list[bytes]:
    return [object_code(*wanted(n), MACHINE, Memory()) for n in numbers]


def never(*_: object) -> None:
    raise RuntimeError("no thread")


def test_they_are_those_that_would_be_made_one_by_one() -> None:
    store, numbers = Memory(), [1, 2, 1, 3]
    assert object_codes([wanted(n) for n in numbers], MACHINE, store) == one_by_one(numbers)
    assert len(store) == 3


def test_only_what_is_not_kept_is_made() -> None:
    store = Memory()
    object_codes([wanted(1), wanted(3)], MACHINE, store)
    made: list[Any] = []
    found = object_codes([wanted(n, made) for n in (1, 2, 3, 4)], MACHINE, store)
    assert found == one_by_one([1, 2, 3, 4])
    assert [number for number, *_ in made] == [2, 4]


def test_all_of_it_is_work_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    seen: list[bool] = []
    whole = compiler_thread._Work._run

    def run(task: Any) -> None:
        before = task._work

        def work() -> Any:
            seen.append(compiler_thread.is_interrupted())
            return before()

        task._work = work
        whole(task)

    monkeypatch.setattr(compiler_thread._Work, "_run", run)
    object_codes([wanted(n, made) for n in (1, 2)], MACHINE, Memory())
    assert [inside for _, inside, _ in made] == [True, True]
    assert seen == [True, True]  # the thread that makes them, and the one beside it
    assert not compiler_thread._workers
    assert not compiler_thread.is_interrupted()


@pytest.mark.parametrize("start", [never, lambda task: None], ids=["no thread", "a thread that never begins"])
def test_they_are_made_where_no_thread_is_to_be_had(
    start: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_thread, "_start", start)
    monkeypatch.setattr(compiler_thread, "_LOOK_SECONDS", 0.001)
    assert object_codes([wanted(n) for n in (1, 2, 3)], MACHINE, Memory()) == one_by_one([1, 2, 3])
    assert not compiler_thread._workers


def test_what_was_ready_is_kept_when_a_later_one_cannot_be_made() -> None:
    def fail() -> str:
        raise ValueError("no IR")

    store = Memory()
    with pytest.raises(ValueError, match="no IR"):
        object_codes([wanted(1), ("broken", fail), wanted(2)], MACHINE, store)
    assert list(store.values()) == one_by_one([1])
    assert object_codes([wanted(1), wanted(2)], MACHINE, store) == one_by_one([1, 2])


def test_what_llvm_refuses_is_told_to_the_caller() -> None:
    store = Memory()
    with pytest.raises(RuntimeError, match="expected"):
        object_codes([("broken", lambda: "this is no IR"), wanted(1), wanted(2)], MACHINE, store)
    assert object_codes([wanted(1), wanted(2)], MACHINE, store) == one_by_one([1, 2])


def test_one_is_written_while_the_one_before_is_optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    second_written, optimise = threading.Event(), engine.object_code
    waited: list[bool] = []

    def after_the_next(ir: str, machine: Any) -> bytes:
        if ir == text(1):
            waited.append(second_written.wait(30))
        return optimise(ir, machine)

    def second() -> str:
        second_written.set()
        return text(2)

    monkeypatch.setattr(engine, "object_code", after_the_next)
    object_codes([wanted(1), ("number 2", second)], MACHINE, Memory())
    assert waited == [True]
