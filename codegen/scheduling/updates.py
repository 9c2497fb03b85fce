"""Updates in a schedule: which kernels write parameters, in their own memory, and from which step on they may.

NOTE [the commit]
A call that is given back to Python, at an unknown way, for a fault or because NumPy raises, must have written nothing but
memory of its own. So steps that write to parameters stand behind all those that can give the call back: the first step from
which none can is the *commit*. There the program looks at the fault word once more; what follows only computes.

A value that becomes an update is computed in the memory of the parameter, where its kernel stands behind the commit, no
later step needs what was there before, and the kernel itself reads it nowhere but at the element that it writes next.
(Rows of folds are read several times, so such kernels may not read it at all; a product may in its epilogue.) Every other
update is a copy at the end of the program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from blockfuse.codegen.kernels.lowering import copy_kernel
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Plain, Pointer
from blockfuse.codegen.scheduling.values import Location
from blockfuse.ir.layout import row_major


@dataclass(frozen=True)
class Update:
    """A value that a parameter holds when the call is over."""

    parameter: int  # its buffer
    value: Location


def with_updates(
    steps: Sequence[Plain], buffers: list[Buffer], updates: Sequence[Update]
) -> tuple[list[Plain], int]:
    """The steps of the last block, and those that write the updates; and the number of the first that may."""
    kept = _Kept(buffers, {update.parameter for update in updates})
    updates = [replace(update, value=kept.location(update.value)) for update in updates]
    writer = _Writer([*kept.copies, *steps], buffers)
    for update in updates:
        writer.write(update)
    return [*writer.steps, *writer.copies], writer.commit


class _Kept:
    """Copies of what parameters hold before the call, for updates that take it while the call writes there."""

    def __init__(self, buffers: list[Buffer], written: set[int]) -> None:
        self.copies: list[Plain] = []
        self._buffers, self._written = buffers, written

    def location(self, value: Location) -> Location:
        if value.buffer not in self._written:
            return value
        source = self._buffers[value.buffer]
        copy = Buffer(f"before.{source.name}", source.type, BufferKind.WORKSPACE)
        self._buffers.append(copy)
        number = len(self._buffers) - 1
        whole = Location(value.buffer, row_major(source.type.shape))
        self.copies += _copy(whole, number, source)
        return replace(value, buffer=number)


class _Writer:
    """Gives each update its step, one after the other."""

    def __init__(self, steps: list[Plain], buffers: list[Buffer]) -> None:
        self.steps, self._buffers = steps, buffers
        self.copies: list[Plain] = []
        self.commit = 1 + max((n for n, step in enumerate(steps) if _may_refuse(step)), default=-1)
        self._moved: dict[int, int] = {}  # buffer of a value -> the parameter in whose memory it is computed
        # buffer -> numbers of the steps that write it, and of those that touch it
        self._writing, self._touching = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
        for number, step in enumerate(steps):
            for touched in {*step.touched}:
                self._touching[touched].append(number)
            for written in step.written:
                self._writing[written].append(number)

    def write(self, update: Update) -> None:
        if not self._computes_in(update):
            value = replace(update.value, buffer=self._moved.get(update.value.buffer, update.value.buffer))
            self.copies += _copy(value, update.parameter, self._buffers[update.parameter])

    def _computes_in(self, update: Update) -> bool:
        """Whether the value is computed in the memory of the parameter, from now on."""
        value, parameter = update.value, update.parameter
        buffer, target = self._buffers[value.buffer], self._buffers[parameter]
        is_own = buffer.kind is BufferKind.WORKSPACE and not buffer.made_by_host
        if not is_own or value.layout != row_major(target.type.shape) or buffer.type != target.type:
            return False
        writers, readers = self._writing[value.buffer], self._touching[parameter]
        if len(writers) != 1 or writers[0] < self.commit or max(readers, default=-1) > writers[0]:
            return False
        launch = self.steps[writers[0]]
        assert isinstance(launch, Launch)
        in_place = _in_place(launch, parameter)
        if in_place is None:
            return False
        self.steps[writers[0]] = in_place
        self._move(value.buffer, parameter)
        return True

    def _move(self, value: int, parameter: int) -> None:
        """All steps that touch the buffer of a value touch that of a parameter instead."""
        moved = self._touching.pop(value)
        for number in moved:
            self.steps[number] = _with_buffer(self.steps[number], value, parameter)
        self._touching[parameter] += moved
        self._writing[parameter] += self._writing.pop(value)
        self._moved[value] = parameter


def _may_refuse(step: Plain) -> bool:
    """Whether a call can end at a step, for Python to make it again."""
    return isinstance(step, HostCall) or step.kernel.has_fault


def _in_place(launch: Launch, parameter: int) -> Launch | None:
    """The launch with its kernel writing over what it reads of a parameter; None where it cannot."""
    numbers = [n for n, pointer in enumerate(launch.pointers[:-1]) if pointer.buffer == parameter]
    if not numbers:
        return launch
    if any(launch.pointers[n].offset for n in numbers):
        return None
    changed = launch.kernel.in_place(numbers)
    pointers = tuple(p for n, p in enumerate(launch.pointers) if n not in numbers)
    return replace(launch, kernel=changed, pointers=pointers) if changed is not None else None


def _with_buffer(step: Plain, old: int, new: int) -> Plain:
    """The step with a buffer in the place of another one."""
    if isinstance(step, HostCall):
        operands = tuple((new if n == old else n, layout) for n, layout in step.operands)
        return replace(step, operands=operands)
    pointers = tuple(Pointer(new, p.offset) if p.buffer == old else p for p in step.pointers)
    return replace(step, pointers=pointers)


def _copy(source: Location, target: int, like: Buffer) -> list[Plain]:
    """What moves a value into a buffer; an empty value needs nothing."""
    call = copy_kernel(like.type, source.layout, row_major(like.type.shape))
    pointers = Pointer(source.buffer, source.layout.offset), Pointer(target, 0)
    return [Launch(call.kernel, pointers, call.rows, call.work, call.grain)] if call.rows else []
