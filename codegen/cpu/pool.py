"""The thread pool: native workers that sleep on semaphores, and ``fork``, which native programs call.

NOTE [the pool]
Workers are Python threads that enter native code once and stay there without the interpreter lock, asleep in
``sem_wait`` while there is nothing to do. ``fork(state, function, table, rows, grain)`` opens a job, wakes the
workers and takes parts of the rows itself until none is left; workers take parts as they come. One that comes too
late, since its core was busy, finds the job closed and sleeps on: a fork is never slower than doing all rows alone.
The caller waits only for workers that are inside. One job at a time; a second caller finds the pool busy and does
its rows itself. A forked child has no workers: its pool starts anew.

The word ``inside`` counts the workers in the job; its flag OPEN says that they may enter, WAITED that the caller
sleeps until the last one has left. Whoever clears WAITED posts, so that there is one post for one wait.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu import native
from blockfuse.codegen.cpu.cpython import library_address
from blockfuse.codegen.cpu.words import I64, POINTER
from blockfuse.codegen.machine import Machine

# Words of the state, then a semaphore (4 words) for the caller and one for each worker.
FIELDS = (
    "busy",
    "workers",
    "function",
    "table",
    "rows",
    "part",
    "parts",
    "sem_wait",
    "sem_post",
    "next",
    "inside",
)
_DONE = 16  # the semaphore on which the caller waits
_WORKERS = 24
_STRIDE = 8  # words a worker: one cache line
_PARTS = 2  # parts for each thread
_OPEN, _WAITED = 1 << 32, 1 << 33


def pool_ir() -> str:
    """LLVM IR of ``fork`` and ``work``."""
    module = ir.Module("pool")
    _Work(module).emit()
    _Fork(module).emit()
    return str(module)


class _Native:
    def __init__(self, module: ir.Module, name: str, operands: list[ir.Type]) -> None:
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), operands), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("start"))
        self.state = self.function.args[0]

    def at(self, place: int | ir.Value) -> ir.Value:
        index = ir.Constant(I64, place) if isinstance(place, int) else place
        return self.builder.gep(self.state, [index], source_etype=I64)

    def get(self, place: int | ir.Value) -> ir.Value:
        return self.builder.load(self.at(place), typ=I64)

    def field(self, name: str) -> ir.Value:
        return self.get(FIELDS.index(name))

    def put(self, place: int | ir.Value, value: ir.Value) -> None:
        self.builder.store(value, self.at(place))

    def post(self, semaphore: int | ir.Value) -> None:
        self._semaphore_call("sem_post", semaphore)

    def wait(self, semaphore: int | ir.Value) -> None:
        """Sleep until the semaphore is posted; a signal may wake it early."""
        again = self.function.append_basic_block()
        onwards = self.function.append_basic_block()
        self.builder.branch(again)
        self.builder.position_at_end(again)
        failed = self._semaphore_call("sem_wait", semaphore)
        self.builder.cbranch(
            self.builder.icmp_signed("!=", failed, ir.Constant(ir.IntType(32), 0)), again, onwards
        )
        self.builder.position_at_end(onwards)

    def _semaphore_call(self, name: str, semaphore: int | ir.Value) -> ir.Value:
        signature = ir.FunctionType(ir.IntType(32), [POINTER])
        function = self.builder.inttoptr(self.field(name), signature.as_pointer())
        return self.builder.call(function, [self.at(semaphore)])

    def place(self, name: str) -> ir.Value:
        return self.at(FIELDS.index(name))

    def change(self, name: str, operation: str, value: int) -> ir.Value:
        """An atomic change of a field; its old value."""
        return self.builder.atomic_rmw(operation, self.place(name), ir.Constant(I64, value), "seq_cst")

    def worker(self, number: ir.Value) -> ir.Value:
        first = self.builder.mul(number, ir.Constant(I64, _STRIDE))
        return self.builder.add(first, ir.Constant(I64, _WORKERS))

    def run_parts(self) -> None:
        """Take parts of the rows until none is left; the last part has what is left over."""
        builder = self.builder
        again = self.function.append_basic_block("part")
        inside = self.function.append_basic_block("rows")
        after = self.function.append_basic_block("no_part")
        builder.branch(again)
        builder.position_at_end(again)
        number = self.change("next", "add", 1)
        builder.cbranch(builder.icmp_signed("<", number, self.field("parts")), inside, after)
        builder.position_at_end(inside)
        size = self.field("part")
        following = builder.add(number, ir.Constant(I64, 1))
        last = builder.icmp_signed("==", following, self.field("parts"))
        end = builder.select(last, self.field("rows"), builder.mul(following, size))
        signature = ir.FunctionType(ir.VoidType(), [POINTER, I64, I64])
        function = builder.inttoptr(self.field("function"), signature.as_pointer())
        table = builder.inttoptr(self.field("table"), POINTER)
        builder.call(function, [table, builder.mul(number, size), end])
        builder.branch(again)
        builder.position_at_end(after)


class _Work(_Native):
    """``work(state, number)``: the life of a worker."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "work", [POINTER, I64])

    def emit(self) -> None:
        builder, number = self.builder, self.function.args[1]
        loop = self.function.append_basic_block("loop")
        enter = self.function.append_basic_block("enter")
        leave = self.function.append_basic_block("leave")
        builder.branch(loop)
        builder.position_at_end(loop)
        self.wait(self.worker(number))
        before = self.change("inside", "add", 1)
        is_open = builder.icmp_signed(
            "!=", builder.and_(before, ir.Constant(I64, _OPEN)), ir.Constant(I64, 0)
        )
        builder.cbranch(is_open, enter, leave)
        builder.position_at_end(enter)
        self.run_parts()
        builder.branch(leave)
        builder.position_at_end(leave)
        before = self.change("inside", "sub", 1)
        with builder.if_then(builder.icmp_signed("==", before, ir.Constant(I64, _WAITED + 1))):
            flags = self.change("inside", "and", ~_WAITED)
            waited = builder.and_(flags, ir.Constant(I64, _WAITED))
            with builder.if_then(builder.icmp_signed("!=", waited, ir.Constant(I64, 0))):
                self.post(_DONE)
        builder.branch(loop)


class _Fork(_Native):
    """``fork(state, function, table, rows, grain)``."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "fork", [POINTER, POINTER, POINTER, I64, I64])

    def emit(self) -> None:
        builder = self.builder
        _, function, table, rows, grain = self.function.args
        zero = ir.Constant(I64, 0)
        alone = self.function.append_basic_block("alone")
        share = self.function.append_basic_block("share")
        busy = self.change("busy", "xchg", 1)
        builder.cbranch(builder.icmp_signed("==", busy, zero), share, alone)
        builder.position_at_end(alone)
        signature = ir.FunctionType(ir.VoidType(), [POINTER, I64, I64])
        whole = builder.inttoptr(builder.ptrtoint(function, I64), signature.as_pointer())
        builder.call(whole, [table, zero, rows])
        builder.ret_void()
        builder.position_at_end(share)
        self._open(function, table, rows, grain)
        self.run_parts()
        self._close()
        self.change("busy", "xchg", 0)
        builder.ret_void()

    def _open(self, function: ir.Value, table: ir.Value, rows: ir.Value, grain: ir.Value) -> None:
        builder = self.builder
        one = ir.Constant(I64, 1)
        workers = self.field("workers")
        wanted = builder.mul(builder.add(workers, one), ir.Constant(I64, _PARTS))
        grains = builder.sdiv(rows, grain)
        each = self._quotient(grains, wanted)  # grains a part
        parts = self._quotient(grains, each)
        values = {
            "function": builder.ptrtoint(function, I64),
            "table": builder.ptrtoint(table, I64),
            "rows": rows,
            "part": builder.mul(each, grain),
            "parts": parts,
            "next": ir.Constant(I64, 0),
        }
        for name, value in values.items():
            builder.store(value, self.place(name))
        self.change("inside", "or", _OPEN)
        spare = builder.sub(parts, one)  # the caller takes one part itself
        fewer = builder.icmp_signed("<", spare, workers)
        self._for_each(builder.select(fewer, spare, workers), lambda n: self.post(self.worker(n)))

    def _quotient(self, number: ir.Value, by: ir.Value) -> ir.Value:
        """Rounded up."""
        below = self.builder.sub(by, ir.Constant(I64, 1))
        return self.builder.sdiv(self.builder.add(number, below), by)

    def _close(self) -> None:
        """Let nobody enter any more, and wait for those inside."""
        builder = self.builder
        counted = ir.Constant(I64, _OPEN - 1)
        none = ir.Constant(I64, 0)
        inside = builder.and_(self.change("inside", "and", ~_OPEN), counted)
        with builder.if_then(builder.icmp_signed("!=", inside, none)):
            still = builder.and_(self.change("inside", "or", _WAITED), counted)
            gone = builder.icmp_signed("==", still, none)
            with builder.if_else(gone) as (nobody, somebody):
                with nobody:
                    self._stop_waiting()
                with somebody:
                    self.wait(_DONE)

    def _stop_waiting(self) -> None:
        """The last worker left before it could know; if one that came late has posted since, take the post."""
        builder = self.builder
        flags = builder.and_(self.change("inside", "and", ~_WAITED), ir.Constant(I64, _WAITED))
        with builder.if_then(builder.icmp_signed("==", flags, ir.Constant(I64, 0))):
            self.wait(_DONE)

    def _for_each(self, count: ir.Value, body: Callable[[ir.Value], None]) -> None:
        builder = self.builder
        before = builder.block
        head = self.function.append_basic_block("each")
        inside = self.function.append_basic_block("inside")
        after = self.function.append_basic_block("after")
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.phi(I64)
        number.add_incoming(ir.Constant(I64, 0), before)
        builder.cbranch(builder.icmp_signed("<", number, count), inside, after)
        builder.position_at_end(inside)
        body(number)
        number.add_incoming(builder.add(number, ir.Constant(I64, 1)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)


# -- the pool of this process --------------------------------------------------------------------------------


class Pool:
    """``threads - 1`` workers; ``fork`` and ``state`` are addresses for native code."""

    def __init__(self, threads: int, code: bytes, machine: Machine) -> None:
        self._fork = native.load(code, "fork", machine)
        self._work = native.load(code, "work", machine)
        self.fork = self._fork.address
        self._words = numpy.zeros(_WORKERS + _STRIDE * threads + 8, numpy.int64)
        self._words = self._words[-(self._words.ctypes.data // 8) % 8 :]  # on a cache line
        self.state = self._words.ctypes.data
        self._words[FIELDS.index("workers")] = threads - 1
        self._words[FIELDS.index("sem_wait")] = library_address("sem_wait")
        self._words[FIELDS.index("sem_post")] = library_address("sem_post")
        libc = ctypes.CDLL(None)
        for place in (_DONE, *(_WORKERS + _STRIDE * n for n in range(threads - 1))):
            libc.sem_init(ctypes.c_void_p(self.state + 8 * place), 0, 0)
        work = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(self._work.address)
        for number in range(threads - 1):
            threading.Thread(
                target=work, args=(self.state, number), name=f"blockfuse-{number}", daemon=True
            ).start()


_pools: dict[int, Pool] = {}  # threads -> the pool of this process
_lock = threading.Lock()


def pool(threads: int, code: bytes, machine: Machine) -> Pool:
    """The pool with that many threads, the caller's included; made at first use."""
    with _lock:
        if threads not in _pools:
            _pools[threads] = Pool(threads, code, machine)
        return _pools[threads]


def _in_child() -> None:
    """Only the forking thread lives on in a child: mark the old pools busy for good, so that forks run alone."""
    for old in _pools.values():
        old._words[FIELDS.index("busy")] = 1
    _abandoned.extend(_pools.values())
    _pools.clear()


_abandoned: list[Pool] = []  # programs made before a fork still hold their addresses
os.register_at_fork(after_in_child=_in_child)
