"""The native code of the thread pool: the life of a worker, and ``fork``, which programs call.

NOTE [the pool]
Workers are Python threads that enter native code once and stay there without the interpreter lock. A worker looks for
work for a fifth of a millisecond, since in a virtual machine waking a core takes 50 us and more, and then sleeps in
``sem_wait``. ``fork(state, function, table, rows, grain)`` opens a job, wakes the workers and takes parts of the rows
itself until none is left; workers take parts as they come. There is a part for each thread: with more of them, weights
are read more often (784-256-128-10 at batch 256 on two cores: 272 us with two parts, 301 with eight). A worker that
comes too late finds the job closed and sleeps on: a fork is never slower than doing all rows alone. The caller waits
only for workers that are inside, looking at first, then asleep. ``fork_awake`` takes the same operands for little
work: it forks only while workers are awake; otherwise the caller does all rows, and wakes the workers for the next
call if the last one was not long ago.

Workers keep off the processor that the caller runs on (``keep_away``): the kernel may wake a thread where its waker
runs, and there it would wait until the work is done (seen: 57 us a call instead of 34). One job at a time; a second
caller finds the pool busy and does its rows itself. A forked child has no workers: its pool starts anew.

The word ``inside`` counts the workers in the job; its flag OPEN says that they may enter, WAITED that the caller
sleeps until the last one has left. Whoever clears WAITED posts, so that there is one post for one wait.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from blockfuse.codegen.cpu.native.words import I32, I64, POINTER, call_at, counted

LIBRARY = ("sem_wait", "sem_post", "sem_trywait", "sched_getcpu", "sched_setaffinity", "clock_gettime")
# Words of the state; then the caller's semaphore, two sets of processors, and for each worker its semaphore (4 words),
# thread number and memory.
FIELDS = (
    *("busy", "workers", "function", "table", "rows", "part", "parts", "next", "inside"),
    *("caller", "awake", "last", "woken", *LIBRARY),
)
DONE = 24
ALLOWED, AWAY, SET = 32, 48, 16  # processors of this process; those without the caller's; words in a set
WORKERS = 64
STRIDE = 8  # words a worker: one cache line
THREAD, MEMORY = 4, 5  # among the words of a worker
_AWAKE = 200_000  # nanoseconds that a worker looks for the next job before it sleeps
_LOOKS = 256  # looks between two looks at the clock
_SPINS = 10_000  # a caller looks so often (some 20 us) whether the last worker has left before it sleeps
_RECENT = 100_000  # nanoseconds: calls that follow each other so soon are worth waking workers for
_AGAIN = 200_000  # nanoseconds before workers are woken again: they may have no core to wake on
_MONOTONIC = 1  # Linux's number of the clock
_OPEN, _WAITED = 1 << 32, 1 << 33


def pool_ir() -> str:
    """LLVM IR of ``fork``, ``fork_awake`` and ``work``."""
    module = ir.Module("pool")
    _Work(module).emit()
    fork = _Fork(module)
    fork.emit()
    _ForkAwake(module, fork.function).emit()
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
        self.builder.cbranch(self.builder.icmp_signed("!=", failed, ir.Constant(I32, 0)), again, onwards)
        self.builder.position_at_end(onwards)

    def _semaphore_call(self, name: str, semaphore: int | ir.Value) -> ir.Value:
        return self._library(name, self.at(semaphore))

    def _library(self, name: str, *operands: ir.Value) -> ir.Value:
        """What a function of the C library returns, an int."""
        return call_at(self.builder, self.field(name), I32, *operands)

    def place(self, name: str) -> ir.Value:
        return self.at(FIELDS.index(name))

    def change(self, name: str, operation: str, value: int) -> ir.Value:
        """An atomic change of a field; its old value."""
        return self.builder.atomic_rmw(operation, self.place(name), ir.Constant(I64, value), "seq_cst")

    def worker(self, number: ir.Value) -> ir.Value:
        first = self.builder.mul(number, ir.Constant(I64, STRIDE))
        return self.builder.add(first, ir.Constant(I64, WORKERS))

    def for_each(self, count: ir.Value, body: Callable[[ir.Value], None]) -> None:
        with counted(self.builder, ir.Constant(I64, 0), count) as number:
            body(number)

    def keep_away(self) -> None:
        """Bar the workers from the caller's processor, if that is another one than at the last fork."""
        builder = self.builder
        here = self.processor()
        before = self.field("caller")
        moved = builder.icmp_signed("!=", here, before)
        few = builder.icmp_unsigned("<", here, ir.Constant(I64, 64 * SET))
        with builder.if_then(builder.and_(moved, few)):
            builder.store(here, self.place("caller"))
            allowed = self.get(self._word_of(before, ALLOWED))
            self.put(self._word_of(before, AWAY), allowed)
            bit = builder.shl(ir.Constant(I64, 1), builder.and_(here, ir.Constant(I64, 63)))
            allowed = self.get(self._word_of(here, ALLOWED))
            self.put(self._word_of(here, AWAY), builder.and_(allowed, builder.not_(bit)))
            self.for_each(self.field("workers"), self._bar)

    def _word_of(self, processor: ir.Value, start: int) -> ir.Value:
        return self.builder.add(self.builder.lshr(processor, ir.Constant(I64, 6)), ir.Constant(I64, start))

    def _bar(self, number: ir.Value) -> None:
        thread = self.get(self.builder.add(self.worker(number), ir.Constant(I64, THREAD)))
        operands = self.builder.trunc(thread, I32), ir.Constant(I64, 8 * SET), self.at(AWAY)
        self._library(
            "sched_setaffinity", *operands
        )  # where no processor is left, it fails and changes nothing

    def processor(self) -> ir.Value:
        """The number of the processor that this thread runs on."""
        return self.builder.sext(self._library("sched_getcpu"), I64)

    def now(self) -> ir.Value:
        """Nanoseconds."""
        builder = self.builder
        with builder.goto_entry_block():
            time = builder.alloca(I64, 2)
        self._library("clock_gettime", ir.Constant(I32, _MONOTONIC), time)
        seconds, nanoseconds = (
            builder.load(builder.gep(time, [ir.Constant(I64, n)], source_etype=I64), typ=I64) for n in (0, 1)
        )
        return builder.add(builder.mul(seconds, ir.Constant(I64, 10**9)), nanoseconds)

    def run_parts(self, memory: ir.Value) -> None:
        """Take parts of the rows until none is left; the last part has what is left over. memory: the thread's own."""
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
        table = builder.inttoptr(self.field("table"), POINTER)
        operands = table, builder.mul(number, size), end, memory
        call_at(builder, self.field("function"), ir.VoidType(), *operands)
        builder.branch(again)
        builder.position_at_end(after)

    def smaller(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed("<", x, y), x, y)

    def quotient(self, number: ir.Value, by: ir.Value) -> ir.Value:
        """Rounded up."""
        below = self.builder.sub(by, ir.Constant(I64, 1))
        return self.builder.sdiv(self.builder.add(number, below), by)


class _Work(_Native):
    """``work(state, number)``: the life of a worker."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "work", [POINTER, I64])

    def emit(self) -> None:
        builder, number = self.builder, self.function.args[1]
        self.change("awake", "add", 1)
        loop = self.function.append_basic_block("loop")
        enter = self.function.append_basic_block("enter")
        leave = self.function.append_basic_block("leave")
        builder.branch(loop)
        builder.position_at_end(loop)
        self._watch_a_while(self.worker(number))
        before = self.change("inside", "add", 1)
        is_open = builder.icmp_signed(
            "!=", builder.and_(before, ir.Constant(I64, _OPEN)), ir.Constant(I64, 0)
        )
        builder.cbranch(is_open, enter, leave)
        builder.position_at_end(enter)
        self.run_parts(self.get(builder.add(self.worker(number), ir.Constant(I64, MEMORY))))
        builder.branch(leave)
        builder.position_at_end(leave)
        before = self.change("inside", "sub", 1)
        with builder.if_then(builder.icmp_signed("==", before, ir.Constant(I64, _WAITED + 1))):
            flags = self.change("inside", "and", ~_WAITED)
            waited = builder.and_(flags, ir.Constant(I64, _WAITED))
            with builder.if_then(builder.icmp_signed("!=", waited, ir.Constant(I64, 0))):
                self.post(DONE)
        builder.branch(loop)

    def _watch_a_while(self, semaphore: ir.Value) -> None:
        """Wait for the semaphore: awake at first, since the next job often follows at once, then asleep."""
        builder = self.builder
        start = self.now()
        before = builder.block
        look, idle, check, sleep, awake = (
            self.function.append_basic_block(n) for n in ("look", "idle", "check", "sleep", "awake")
        )
        builder.branch(look)
        builder.position_at_end(look)
        count = builder.phi(I64)
        count.add_incoming(ir.Constant(I64, 0), before)
        missed = self._semaphore_call("sem_trywait", semaphore)
        builder.cbranch(builder.icmp_signed("==", missed, ir.Constant(I32, 0)), awake, idle)
        builder.position_at_end(idle)
        following = builder.add(count, ir.Constant(I64, 1))
        count.add_incoming(following, idle)
        rest = builder.and_(following, ir.Constant(I64, _LOOKS - 1))
        builder.cbranch(builder.icmp_signed("!=", rest, ir.Constant(I64, 0)), look, check)
        builder.position_at_end(check)
        count.add_incoming(following, check)
        passed = builder.sub(self.now(), start)
        soon = builder.icmp_signed("<", passed, ir.Constant(I64, _AWAKE))
        away = builder.icmp_signed("!=", self.processor(), self.field("caller"))
        builder.cbranch(builder.and_(soon, away), look, sleep)
        builder.position_at_end(sleep)
        self.change("awake", "sub", 1)
        self.wait(semaphore)
        self.change("awake", "add", 1)
        builder.branch(awake)
        builder.position_at_end(awake)


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
        call_at(builder, builder.ptrtoint(function, I64), ir.VoidType(), table, zero, rows, zero)
        builder.ret_void()
        builder.position_at_end(share)
        self._open(function, table, rows, grain)
        self.run_parts(zero)
        self._close()
        self.change("busy", "xchg", 0)
        builder.ret_void()

    def _open(self, function: ir.Value, table: ir.Value, rows: ir.Value, grain: ir.Value) -> None:
        builder = self.builder
        workers = self.field("workers")
        one = ir.Constant(I64, 1)
        grains = builder.sdiv(rows, grain)
        each = self.quotient(grains, builder.add(workers, one))  # grains a part
        parts = self.quotient(grains, each)
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
        self.keep_away()
        self.change("inside", "or", _OPEN)
        spare = builder.sub(parts, one)  # the caller takes a part itself
        self.for_each(self.smaller(spare, workers), lambda n: self.post(self.worker(n)))

    def _close(self) -> None:
        """Let nobody enter any more, and wait for those inside."""
        builder = self.builder
        counted = ir.Constant(I64, _OPEN - 1)
        none = ir.Constant(I64, 0)
        inside = builder.and_(self.change("inside", "and", ~_OPEN), counted)
        with builder.if_then(builder.icmp_signed("!=", inside, none)), builder.if_then(self._stays()):
            still = builder.and_(self.change("inside", "or", _WAITED), counted)
            gone = builder.icmp_signed("==", still, none)
            with builder.if_else(gone) as (nobody, somebody):
                with nobody:
                    self._stop_waiting()
                with somebody:
                    self.wait(DONE)

    def _stays(self) -> ir.Value:
        """Whether a worker is still inside after a while of looking."""
        builder = self.builder
        before = builder.block
        look, idle, after = (self.function.append_basic_block(n) for n in ("look", "idle", "looked"))
        builder.branch(look)
        builder.position_at_end(look)
        count = builder.phi(I64)
        count.add_incoming(ir.Constant(I64, 0), before)
        inside = builder.load_atomic(self.place("inside"), "acquire", 8, typ=I64)
        stay_on_device = builder.icmp_signed("!=", inside, ir.Constant(I64, 0))
        builder.cbranch(stay_on_device, idle, after)
        builder.position_at_end(idle)
        following = builder.add(count, ir.Constant(I64, 1))
        count.add_incoming(following, idle)
        builder.cbranch(builder.icmp_signed("<", following, ir.Constant(I64, _SPINS)), look, after)
        builder.position_at_end(after)
        found = builder.phi(ir.IntType(1))
        found.add_incoming(stay_on_device, look)
        found.add_incoming(stay_on_device, idle)
        return found

    def _stop_waiting(self) -> None:
        """The last worker left before it could know; if one that came late has posted since, take the post."""
        builder = self.builder
        flags = builder.and_(self.change("inside", "and", ~_WAITED), ir.Constant(I64, _WAITED))
        with builder.if_then(builder.icmp_signed("==", flags, ir.Constant(I64, 0))):
            self.wait(DONE)


class _ForkAwake(_Native):
    """``fork_awake(state, function, table, rows, grain)``."""

    def __init__(self, module: ir.Module, fork: ir.Function) -> None:
        super().__init__(module, "fork_awake", [POINTER, POINTER, POINTER, I64, I64])
        self.fork = fork

    def emit(self) -> None:
        builder = self.builder
        _, function, table, rows, _ = self.function.args
        zero = ir.Constant(I64, 0)
        awake = builder.load_atomic(self.place("awake"), "monotonic", 8, typ=I64)
        with builder.if_then(builder.icmp_signed(">", awake, zero)):
            builder.call(self.fork, self.function.args)
            builder.ret_void()
        now = self.now()
        passed, since = (builder.sub(now, self.field(name)) for name in ("last", "woken"))
        builder.store(now, self.place("last"))
        often = builder.icmp_signed("<", passed, ir.Constant(I64, _RECENT))
        long_ago = builder.icmp_signed(">", since, ir.Constant(I64, _AGAIN))
        with builder.if_then(builder.and_(often, long_ago)):
            builder.store(now, self.place("woken"))
            self.keep_away()
            self.for_each(self.field("workers"), lambda n: self.post(self.worker(n)))
        call_at(builder, builder.ptrtoint(function, I64), ir.VoidType(), table, zero, rows, zero)
        builder.ret_void()
