"""The native code of the thread pool: the life of a worker, and ``fork``, which programs call.

NOTE [the pool]
Workers are Python threads that enter native code once and stay there without the interpreter lock. A worker looks for
work for a fifth of a millisecond, since in a virtual machine waking a core takes 50 us and more, and then sleeps in
``sem_wait``. ``fork(state, function, table, rows, grain)`` opens a job, wakes the workers and takes parts of the rows
itself until none is left; workers take parts as they come. There is a part for each thread: with more of them, weights
are read more often (784-256-128-10 at batch 256 on two cores: 272 us with two parts, 301 with eight). A worker that
comes too late finds the job closed and sleeps on: a fork is never slower than doing all rows alone. The caller waits
only for workers that are inside, looking for a fifth of a millisecond, then asleep. ``fork_awake`` takes the same operands
for little work: it forks only while workers are awake; otherwise the caller does all rows, and wakes the workers for the
next call if the last one was not long ago.

A caller that sleeps too soon may be woken on the worker's processor, from which that must go then, and so on: when it slept
after 10,000 looks, which are some 20 us on one processor and 4 on another, 16 layers of 64 at batch 64 took 25 us in some
calls and 100 in others; now it takes 25 in all.

Workers keep off the processor that the caller runs on (``keep_away``): the kernel may wake a thread where its waker
runs, and there it would wait until the work is done (seen: 57 us a call instead of 34). One job at a time; a second
caller finds the pool busy and does its rows itself. A forked child has no workers: its pool starts anew.

The word ``inside`` counts the workers in the job; its flag OPEN says that they may enter, WAITED that the caller
sleeps until the last one has left. Whoever clears WAITED posts, so that there is one post for one wait.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.thread_pool_layout import DONE, MEMORY
from blockfuse.codegen.cpu.process.thread_pool_state import FORK_OPERANDS, PoolState, run_alone
from blockfuse.codegen.values.emitter import I64, POINTER, VOID, Emitter, constant

_AWAKE_NS = 200_000  # that a worker looks for the next job before it sleeps
_LOOKING_NS = 200_000  # that a caller looks whether the last worker has left, before it sleeps
_LOOKS_PER_CLOCK = 256  # looks between two looks at the clock
_RECENT_NS = 100_000  # calls that follow each other so soon are worth waking workers for
_WAKING_INTERVAL_NS = 200_000  # before workers are woken again: they may have no core to wake on
_OPEN, _WAITED = 1 << 32, 1 << 33


def pool_ir() -> str:
    """LLVM IR of ``fork``, ``fork_awake`` and ``work``."""
    module = ir.Module("pool")
    _Work(module).build()
    fork = _Fork(module)
    fork.build()
    _emit_fork_awake(module, fork.function)
    return str(module)


def _function(module: ir.Module, name: str, *operands: ir.Type) -> ir.Function:
    return ir.Function(module, ir.FunctionType(VOID, operands), name)


class _Work:
    """``work(state, number)``: the life of a worker."""

    def __init__(self, module: ir.Module) -> None:
        self.function = _function(module, "work", POINTER, I64)
        self.emit = Emitter.of(self.function, "start")
        self.pool = PoolState(self.emit, self.function.args[0])

    def build(self) -> None:
        emit, builder, pool = self.emit, self.emit.builder, self.pool
        number = self.function.args[1]
        pool.change("awake", "add", 1)
        loop, enter, leave = (emit.block(name) for name in ("loop", "enter", "leave"))
        emit.go_to(loop)
        self._watch_a_while(pool.worker(number))
        before = pool.change("inside", "add", 1)
        is_open = emit.is_("!=", builder.and_(before, constant(_OPEN)), 0)
        builder.cbranch(is_open, enter, leave)
        builder.position_at_end(enter)
        pool.run_parts(pool.of_worker(number, MEMORY))
        emit.go_to(leave)
        before = pool.change("inside", "sub", 1)
        with builder.if_then(emit.is_("==", before, _WAITED + 1)):
            flags = pool.change("inside", "and", ~_WAITED)
            waited = builder.and_(flags, constant(_WAITED))
            with builder.if_then(emit.is_("!=", waited, 0)):
                pool.post(DONE)
        builder.branch(loop)

    def _watch_a_while(self, semaphore: ir.Value) -> None:
        """Wait for the semaphore: awake at first, since the next job often follows at once, then asleep."""
        emit, builder, pool = self.emit, self.emit.builder, self.pool
        start = pool.now()
        before = builder.block
        look, idle, check, sleep, awake = map(emit.block, ("look", "idle", "check", "sleep", "awake"))
        emit.go_to(look)
        count = emit.merged([(constant(0), before)])
        missed = pool.try_wait(semaphore)
        builder.cbranch(emit.is_("==", missed, 0), awake, idle)
        builder.position_at_end(idle)
        following = builder.add(count, constant(1))
        count.add_incoming(following, idle)
        rest = builder.and_(following, constant(_LOOKS_PER_CLOCK - 1))
        builder.cbranch(emit.is_("!=", rest, 0), look, check)
        builder.position_at_end(check)
        count.add_incoming(following, check)
        passed = builder.sub(pool.now(), start)
        soon = emit.is_("<", passed, _AWAKE_NS)
        away = emit.is_("!=", pool.processor(), pool.fields.get("caller"))
        builder.cbranch(builder.and_(soon, away), look, sleep)
        builder.position_at_end(sleep)
        pool.change("awake", "sub", 1)
        pool.wait(semaphore)
        pool.change("awake", "add", 1)
        emit.go_to(awake)


class _Fork:
    """``fork(state, function, table, rows, grain)``."""

    def __init__(self, module: ir.Module) -> None:
        self.function = _function(module, "fork", *FORK_OPERANDS)
        self.emit = Emitter.of(self.function, "start")
        self.pool = PoolState(self.emit, self.function.args[0])

    def build(self) -> None:
        emit, builder, pool = self.emit, self.emit.builder, self.pool
        _, function, table, rows, grain = self.function.args
        alone, share = (emit.block(name) for name in ("alone", "share"))
        busy = pool.change("busy", "xchg", 1)
        builder.cbranch(emit.is_("==", busy, 0), share, alone)
        builder.position_at_end(alone)
        run_alone(emit, function, table, rows)
        builder.ret_void()
        builder.position_at_end(share)
        self._open(function, table, rows, grain)
        pool.run_parts(constant(0))
        self._close()
        pool.change("busy", "xchg", 0)
        builder.ret_void()

    def _open(self, function: ir.Value, table: ir.Value, rows: ir.Value, grain: ir.Value) -> None:
        emit, builder, pool = self.emit, self.emit.builder, self.pool
        workers = pool.fields.get("workers")
        grains = builder.sdiv(rows, grain)
        each = emit.rounded_quotient(grains, builder.add(workers, constant(1)))  # grains a part
        parts = emit.rounded_quotient(grains, each)
        values = {
            "function": emit.address(function),
            "table": emit.address(table),
            "rows": rows,
            "part": builder.mul(each, grain),
            "parts": parts,
            "next": constant(0),
        }
        for name, value in values.items():
            pool.fields.put(name, value)
        pool.keep_away()
        pool.change("inside", "or", _OPEN)
        spare = builder.sub(parts, constant(1))  # the caller takes a part itself
        pool.wake_workers(emit.smaller(spare, workers))

    def _close(self) -> None:
        """Let nobody enter any more, and wait for those inside."""
        emit, builder, pool = self.emit, self.emit.builder, self.pool
        counted = constant(_OPEN - 1)
        inside = builder.and_(pool.change("inside", "and", ~_OPEN), counted)
        with builder.if_then(emit.is_("!=", inside, 0)), builder.if_then(self._stays()):
            still = builder.and_(pool.change("inside", "or", _WAITED), counted)
            with builder.if_else(emit.is_("==", still, 0)) as (nobody, somebody):
                with nobody:
                    self._stop_waiting()
                with somebody:
                    pool.wait(DONE)

    def _stays(self) -> ir.Value:
        """Whether a worker is still inside after a while of looking."""
        emit, builder, pool = self.emit, self.emit.builder, self.pool
        start, before = pool.now(), builder.block
        look, idle, check, after = (emit.block(name) for name in ("look", "idle", "check", "looked"))
        emit.go_to(look)
        count = emit.merged([(constant(0), before)])
        inside = builder.load_atomic(pool.fields.at("inside"), "acquire", 8, typ=I64)
        stays = emit.is_("!=", inside, 0)
        builder.cbranch(stays, idle, after)
        builder.position_at_end(idle)
        following = builder.add(count, constant(1))
        rest = builder.and_(following, constant(_LOOKS_PER_CLOCK - 1))
        builder.cbranch(emit.is_("!=", rest, 0), look, check)
        builder.position_at_end(check)
        for block in (idle, check):
            count.add_incoming(following, block)
        passed = builder.sub(pool.now(), start)
        builder.cbranch(emit.is_("<", passed, _LOOKING_NS), look, after)
        builder.position_at_end(after)
        return emit.merged([(stays, look), (stays, check)])

    def _stop_waiting(self) -> None:
        """The last worker left before it could know; if one that came late has posted since, take the post."""
        builder = self.emit.builder
        flags = builder.and_(self.pool.change("inside", "and", ~_WAITED), constant(_WAITED))
        with builder.if_then(self.emit.is_("==", flags, 0)):
            self.pool.wait(DONE)


def _emit_fork_awake(module: ir.Module, fork: ir.Function) -> None:
    """``fork_awake(state, function, table, rows, grain)``."""
    function = _function(module, "fork_awake", *FORK_OPERANDS)
    emit = Emitter.of(function, "start")
    builder, pool = emit.builder, PoolState(emit, function.args[0])
    _, part, table, rows, _ = function.args
    awake = builder.load_atomic(pool.fields.at("awake"), "monotonic", 8, typ=I64)
    with builder.if_then(emit.is_(">", awake, 0)):
        emit.call(fork, *function.args)
        builder.ret_void()
    now = pool.now()
    passed, since = (builder.sub(now, pool.fields.get(name)) for name in ("last", "woken"))
    pool.fields.put("last", now)
    often = emit.is_("<", passed, _RECENT_NS)
    long_ago = emit.is_(">", since, _WAKING_INTERVAL_NS)
    with builder.if_then(builder.and_(often, long_ago)):
        pool.fields.put("woken", now)
        pool.keep_away()
        pool.wake_workers(pool.fields.get("workers"))
    run_alone(emit, part, table, rows)
    builder.ret_void()
