"""The thread pool: native workers that sleep on semaphores, and ``fork``, which native programs call.

NOTE [the pool]
Workers are Python threads that enter native code once and stay there without the interpreter lock, asleep in
``sem_wait`` while there is nothing to do. ``fork(state, function, table, rows, grain)`` cuts rows into one
range a thread, wakes the workers, does its own range and waits. One fork runs at a time; a second caller
finds the pool busy and does all rows itself. A forked child has no workers: its pool starts anew.
"""

from __future__ import annotations

import ctypes
import os
import threading

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu import native
from blockfuse.codegen.cpu.cpython import library_address
from blockfuse.codegen.cpu.words import I64, POINTER
from blockfuse.codegen.machine import Machine

# Words of the state, then for each worker: its semaphore (4 words), begin, end.
FIELDS = ("threads", "busy", "pending", "function", "table", "stop", "sem_wait", "sem_post")
_DONE = len(FIELDS)  # the semaphore on which a fork waits, 4 words
_WORKERS = _DONE + 4
_STRIDE = 8  # words a worker: one cache line


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

    def run_rows(self, begin: ir.Value, end: ir.Value) -> None:
        signature = ir.FunctionType(ir.VoidType(), [POINTER, I64, I64])
        function = self.builder.inttoptr(self.field("function"), signature.as_pointer())
        self.builder.call(function, [self.builder.inttoptr(self.field("table"), POINTER), begin, end])

    def worker(self, number: ir.Value, offset: int) -> ir.Value:
        first = self.builder.mul(number, ir.Constant(I64, _STRIDE))
        return self.builder.add(first, ir.Constant(I64, _WORKERS + offset))


class _Work(_Native):
    """``work(state, number)``: the life of a worker."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "work", [POINTER, I64])

    def emit(self) -> None:
        builder, number = self.builder, self.function.args[1]
        loop = self.function.append_basic_block("loop")
        builder.branch(loop)
        builder.position_at_end(loop)
        self.wait(self.worker(number, 0))
        with builder.if_then(builder.icmp_signed("!=", self.field("stop"), ir.Constant(I64, 0))):
            builder.ret_void()
        self.run_rows(self.get(self.worker(number, 4)), self.get(self.worker(number, 5)))
        pending = self.at(FIELDS.index("pending"))
        before = builder.atomic_rmw("sub", pending, ir.Constant(I64, 1), "acq_rel")
        with builder.if_then(builder.icmp_signed("==", before, ir.Constant(I64, 1))):
            self.post(_DONE)
        builder.branch(loop)


class _Fork(_Native):
    """``fork(state, function, table, rows, grain)``."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "fork", [POINTER, POINTER, POINTER, I64, I64])

    def emit(self) -> None:
        builder = self.builder
        _, function, table, rows, grain = self.function.args
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        alone = self.function.append_basic_block("alone")
        free = self.function.append_basic_block("free")
        share = self.function.append_basic_block("share")
        none = builder.icmp_signed("==", builder.ptrtoint(self.state, I64), zero)
        builder.cbranch(none, alone, free)
        builder.position_at_end(free)
        busy = builder.atomic_rmw("xchg", self.at(FIELDS.index("busy")), one, "acquire")
        builder.cbranch(builder.icmp_signed("==", busy, zero), share, alone)
        builder.position_at_end(alone)
        signature = ir.FunctionType(ir.VoidType(), [POINTER, I64, I64])
        whole = builder.inttoptr(builder.ptrtoint(function, I64), signature.as_pointer())
        builder.call(whole, [table, zero, rows])
        builder.ret_void()
        builder.position_at_end(share)
        self._share(function, table, rows, grain)
        builder.ret_void()

    def _share(self, function: ir.Value, table: ir.Value, rows: ir.Value, grain: ir.Value) -> None:
        builder = self.builder
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        self.put(FIELDS.index("function"), builder.ptrtoint(function, I64))
        self.put(FIELDS.index("table"), builder.ptrtoint(table, I64))
        threads = self.field("threads")
        grains = builder.sdiv(rows, grain)
        enough = builder.icmp_signed("<", grains, threads)
        parts = builder.select(enough, grains, threads)  # ranges, each of at least one grain
        size = builder.mul(builder.sdiv(grains, parts), grain)
        workers = builder.sub(parts, one)
        self.put(FIELDS.index("pending"), workers)
        self._for_each(workers, lambda n: self._wake(n, size, workers, rows))
        self.run_rows(zero, builder.select(builder.icmp_signed("==", workers, zero), rows, size))
        with builder.if_then(builder.icmp_signed("!=", workers, zero)):
            self.wait(_DONE)
        builder.atomic_rmw("xchg", self.at(FIELDS.index("busy")), zero, "release")

    def _wake(self, number: ir.Value, size: ir.Value, workers: ir.Value, rows: ir.Value) -> None:
        """Worker ``number`` does range ``number + 1``; the last one also what is left over."""
        builder = self.builder
        following = builder.add(number, ir.Constant(I64, 1))
        last = builder.icmp_signed("==", following, workers)
        end = builder.select(last, rows, builder.mul(builder.add(following, ir.Constant(I64, 1)), size))
        self.put(self.worker(number, 4), builder.mul(following, size))
        self.put(self.worker(number, 5), end)
        self.post(self.worker(number, 0))

    def _for_each(self, count: ir.Value, body: object) -> None:
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
        body(number)  # type: ignore[operator]
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
        self._words[FIELDS.index("threads")] = threads
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
