"""The state of the thread pool: its words, and what native code does with them: semaphores, processors, parts of a job."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.thread_pool_layout import (
    ALLOWED,
    AWAY,
    FIELDS,
    SET_WORDS,
    THREAD,
    WORKER_WORDS,
    WORKERS,
)
from blockfuse.codegen.values.emitter import I32, I64, POINTER, VOID, Emitter, Words, constant

_CLOCK_MONOTONIC = 1  # Linux's number


class PoolState:
    """The state in a function that has it as its first parameter."""

    def __init__(self, emit: Emitter, table: ir.Value) -> None:
        self.emit, self._table = emit, table
        self.fields = Words(emit, table, FIELDS)

    def change(self, name: str, operation: str, value: int) -> ir.Value:
        """An atomic change of a field; its old value."""
        return self.emit.builder.atomic_rmw(operation, self.fields.at(name), constant(value), "seq_cst")

    def worker(self, number: ir.Value) -> ir.Value:
        """The index of the words of a worker, which begin with its semaphore."""
        return self.emit.builder.add(self.emit.times(number, WORKER_WORDS), constant(WORKERS))

    def of_worker(self, number: ir.Value, field: int) -> ir.Value:
        """A word of a worker."""
        index = self.emit.builder.add(self.worker(number), constant(field))
        return self.emit.word(self._table, index)

    # -- semaphores --------------------------------------------------------------------------------------------

    def post(self, semaphore: int | ir.Value) -> None:
        self._semaphore_call("sem_post", semaphore)

    def wait(self, semaphore: int | ir.Value) -> None:
        """Sleep until the semaphore is posted; a signal may wake it early."""
        again, onwards = self.emit.block(), self.emit.block()
        self.emit.go_to(again)
        failed = self._semaphore_call("sem_wait", semaphore)
        self.emit.builder.cbranch(self.emit.is_("!=", failed, 0), again, onwards)
        self.emit.builder.position_at_end(onwards)

    def try_wait(self, semaphore: ir.Value) -> ir.Value:
        """What ``sem_trywait`` returns: 0 where there was a post, which is taken."""
        return self._semaphore_call("sem_trywait", semaphore)

    def wake_workers(self, count: ir.Value) -> None:
        with self.emit.counted(0, count) as number:
            self.post(self.worker(number))

    def _semaphore_call(self, name: str, semaphore: int | ir.Value) -> ir.Value:
        return self.fields.call(name, I32, self.emit.at(self._table, semaphore))

    # -- processors and time -----------------------------------------------------------------------------------

    def keep_away(self) -> None:
        """Bar the workers from the caller's processor, if that is another one than at the last fork."""
        emit, builder = self.emit, self.emit.builder
        here = self.processor()
        before = self.fields.get("caller")
        moved = emit.is_("!=", here, before)
        few = emit.is_("<", here, 64 * SET_WORDS, signed=False)
        with builder.if_then(builder.and_(moved, few)):
            self.fields.put("caller", here)
            allowed = self._set_word(before, ALLOWED)
            self._put_set_word(before, AWAY, allowed)
            bit = builder.shl(constant(1), builder.and_(here, constant(63)))
            allowed = self._set_word(here, ALLOWED)
            self._put_set_word(here, AWAY, builder.and_(allowed, builder.not_(bit)))
            with emit.counted(0, self.fields.get("workers")) as number:
                self._bar(number)

    def _set_word(self, processor: ir.Value, first: int) -> ir.Value:
        return self.emit.word(self._table, self._set_index(processor, first))

    def _put_set_word(self, processor: ir.Value, first: int, value: ir.Value) -> None:
        self.emit.put(self._table, self._set_index(processor, first), value)

    def _set_index(self, processor: ir.Value, first: int) -> ir.Value:
        """Which word of the set that begins at ``first`` has the bit of a processor."""
        return self.emit.builder.add(self.emit.builder.lshr(processor, constant(6)), constant(first))

    def _bar(self, number: ir.Value) -> None:
        """Where no processor is left, this fails and changes nothing."""
        thread = self.emit.builder.trunc(self.of_worker(number, THREAD), I32)
        away = self.emit.at(self._table, AWAY)
        self.fields.call("sched_setaffinity", I32, thread, 8 * SET_WORDS, away)

    def processor(self) -> ir.Value:
        """The number of the processor that this thread runs on."""
        return self.emit.builder.sext(self.fields.call("sched_getcpu", I32), I64)

    def now(self) -> ir.Value:
        """Nanoseconds."""
        emit = self.emit
        time = emit.local(I64, 2)
        self.fields.call("clock_gettime", I32, constant(_CLOCK_MONOTONIC, I32), time)
        seconds, nanoseconds = (emit.word(time, n) for n in (0, 1))
        return emit.builder.add(emit.times(seconds, 10**9), nanoseconds)

    # -- jobs --------------------------------------------------------------------------------------------------

    def run_parts(self, memory: ir.Value) -> None:
        """Take parts of the rows until none is left; the last part has what is left over. memory: the thread's own."""
        emit, builder, fields = self.emit, self.emit.builder, self.fields
        again, inside, after = (emit.block(name) for name in ("part", "rows", "no_part"))
        emit.go_to(again)
        number = self.change("next", "add", 1)
        builder.cbranch(emit.is_("<", number, fields.get("parts")), inside, after)
        builder.position_at_end(inside)
        size = fields.get("part")
        following = builder.add(number, constant(1))
        last = emit.is_("==", following, fields.get("parts"))
        end = builder.select(last, fields.get("rows"), builder.mul(following, size))
        table = fields.pointer("table")
        operands = table, builder.mul(number, size), end, memory
        fields.call("function", VOID, *operands)
        builder.branch(again)
        builder.position_at_end(after)


def run_alone(emit: Emitter, part: ir.Value, table: ir.Value, rows: ir.Value) -> None:
    """Call the function of a job for all its rows, with no memory of a worker."""
    emit.call_at(emit.address(part), VOID, table, 0, rows, 0)


FORK_OPERANDS = (POINTER, POINTER, POINTER, I64, I64)  # state, function, table, rows, grain
