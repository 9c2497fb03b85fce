"""How an entry runs the blocks of a program: what it draws first, and who holds the interpreter lock meanwhile.

NOTE [draws of an entry]
What a program draws through Python stands at its start and reads nothing. When nothing can send the call elsewhere any more,
the entry calls one Python function for all of it (``draw`` of the frame), puts the arrays that it gives into the table, and
runs the blocks. So a call that Python takes over has drawn nothing, and what drawing raises is raised by the call. A fault
(NOTE [faults]) is known only afterwards: then another function (``undraw``), given all that the first one gave, sets the
stream back to where it was, unless another thread has drawn meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from blockfuse.codegen.cpu.process.cpython import ARRAY_DATA, TUPLE_ITEMS
from blockfuse.codegen.cpu.process.frame_words import SAFEPOINT
from blockfuse.codegen.cpu.program.drive import RAISED, UNKNOWN
from blockfuse.codegen.cpu.program.frame import Frame
from blockfuse.codegen.scheduling.sharing import items_for
from blockfuse.codegen.values.emitter import POINTER, VOID, Words, constant

RELEASE_NS = 20_000.0  # estimated work from which on other Python threads may run meanwhile


class Running:
    """Runs the blocks over a table that is filled."""

    def __init__(self, frame: Frame, items: ir.Value | None, table: ir.Value, drive: ir.Function) -> None:
        """items: of the batch, where the program is for any number. drive: the function of the blocks."""
        self.frame, self.emit, self.words, self.plan = frame, frame.emit, frame.words, frame.plan
        self.items, self.table, self._drive_function = items, table, drive

    def run(self) -> ir.Value:
        """What the program draws, then the blocks; see NOTE [draws of an entry]. ``RAISED`` where drawing failed.

        Python runs in between, so hold on to the present parameters.
        """
        if not self.plan.draws:
            return self._run_blocks()
        return self._holding_parameters(self._draw_and_run)

    def _draw_and_run(self) -> ir.Value:
        drawn = self.words.call("call", POINTER, self.words.pointer("draw"))

        def run() -> ir.Value:
            for number, step in enumerate(self.plan.draws):
                array = self.emit.pointer(self.emit.word(drawn, TUPLE_ITEMS + number))
                self.emit.put(self.table, step.result, self.emit.field(array, ARRAY_DATA))
            answer = self._run_blocks()
            if self.plan.schedule.fault is not None:
                gives_up = self.emit.is_("==", answer, UNKNOWN)
                answer = self.emit.choice(gives_up, lambda: self._put_back(drawn), lambda: answer)
            self.words.call("decref", VOID, drawn)
            return answer

        there = self.emit.is_("!=", self.emit.address(drawn), 0)
        return self.emit.choice(there, run, lambda: constant(RAISED))

    def _put_back(self, drawn: ir.Value) -> ir.Value:
        """Nothing was drawn: still ``UNKNOWN``, or ``RAISED`` where a signal's handler raised meanwhile."""
        done = self.words.call("call_with", POINTER, self.words.pointer("undraw"), drawn)

        def put_back() -> ir.Value:
            self.words.call("decref", VOID, done)
            return constant(UNKNOWN)

        is_done = self.emit.is_("!=", self.emit.address(done), 0)
        return self.emit.choice(is_done, put_back, lambda: constant(RAISED))

    def _run_blocks(self) -> ir.Value:
        """The blocks, without the interpreter lock where they take long."""
        work = self.plan.schedule.work
        if self.items is not None:
            many = items_for(work, self.plan.schedule.batch, RELEASE_NS)
            is_long = self.emit.is_(">=", self.items, many)
            return self.emit.choice(is_long, self._run_without_interpreter, self._drive)
        if work > RELEASE_NS:
            return self._run_without_interpreter()
        # At safepoints the interpreter is given away for moments.
        return self._holding_parameters(self._drive) if self.plan.decides else self._drive()

    def _run_without_interpreter(self) -> ir.Value:
        """Other threads run Python meanwhile."""

        def run() -> ir.Value:
            thread = self.words.call("save_thread", POINTER)
            if self.plan.decides:
                safepoint = Words(self.emit, self.table, SAFEPOINT, self.plan.safepoint_index)
                safepoint.put("thread", self.emit.address(thread))
            answer = self._drive()
            self.words.call("restore_thread", VOID, thread)
            return answer

        return self._holding_parameters(run)

    def _holding_parameters(self, run: Callable[[], ir.Value]) -> ir.Value:
        """Other threads may give the program new parameters meanwhile: hold on to the present ones."""
        binding = self.words.pointer("binding")
        self.words.call("incref", VOID, binding)
        answer = run()
        self.words.call("decref", VOID, binding)
        return answer

    def _drive(self) -> ir.Value:
        return self.emit.call(self._drive_function, self.table)
