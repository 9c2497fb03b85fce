"""A schedule prepared for native code: its kernels counted once, its steps cut into pieces at host calls and the commit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from blockfuse.codegen.cpu.process.frame_words import SAFEPOINT
from blockfuse.codegen.cpu.process.thread_pool_layout import POOL
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.sharing import is_shared
from blockfuse.codegen.scheduling.steps import HostCall, lives_of
from blockfuse.codegen.variants import bits_of


@dataclass(frozen=True)
class Plan:
    """A schedule cut into pieces at host calls and at the commit, with its kernels counted once each."""

    schedule: Schedule
    machine: Machine  # that kernels are compiled for
    sources: tuple[str, ...]  # of kernels; their numbers count them
    kernel_of: dict[Kernel, int]  # kernel -> number of its source
    pieces: tuple[tuple[int, ...], ...]  # steps; a piece is launches and strips, or one host call
    block_pieces: tuple[tuple[int, ...], ...]  # block -> its pieces

    @property
    def table_size(self) -> int:
        return self.limits_index + len(self.buffers(BufferKind.STACK))

    @property
    def items_index(self) -> int:
        """Where the table holds the number of items of the batch; the words of the pool follow."""
        return len(self.schedule.buffers) + len(self.sources)

    @property
    def pool_index(self) -> int:
        """Where the words of the pool stand."""
        return self.items_index + 1

    @property
    def ways_index(self) -> int:
        """Where the bits of the proven ways stand: NOTE [variants]."""
        return self.pool_index + len(POOL)

    @property
    def safepoint_index(self) -> int:
        """Where the words of NOTE [safepoints] stand, if there are decisions."""
        return self.ways_index + -(-bits_of(self.schedule) // 64)

    @property
    def limits_index(self) -> int:
        """Where the table holds the end of the memory of each stack."""
        return self.safepoint_index + (len(SAFEPOINT) if self.decides else 0)

    @property
    def decides(self) -> bool:
        """Whether there are decisions, and so perhaps loops."""
        return len(self.schedule.blocks) > 1

    @property
    def is_parallel(self) -> bool:
        native = [s for s in self.schedule.steps if not isinstance(s, HostCall)]
        return self.machine.threads > 1 and any(s.grows or is_shared(s, self.machine) for s in native)

    @cached_property
    def draws(self) -> tuple[HostCall, ...]:
        """The draws at the start of the only block, if each is a value of the workspace: see NOTE [draws of an entry]."""
        first = []
        for step in self.schedule.steps if len(self.schedule.blocks) == 1 else ():
            if not (isinstance(step, HostCall) and step.operator.random and not step.operands):
                break
            first.append(step)
        made = (self.schedule.buffers[step.result].kind for step in first)
        return tuple(first) if all(kind is BufferKind.WORKSPACE for kind in made) else ()

    def buffers(self, kind: BufferKind) -> list[tuple[int, Buffer]]:
        """Number and buffer, in the order in which a call gives them."""
        return self._by_kind.get(kind, [])

    @cached_property
    def _by_kind(self) -> dict[BufferKind, list[tuple[int, Buffer]]]:
        found: dict[BufferKind, list[tuple[int, Buffer]]] = {}
        for number, buffer in enumerate(self.schedule.buffers):
            found.setdefault(buffer.kind, []).append((number, buffer))
        for kind in found.keys() - {BufferKind.WORKSPACE}:
            found[kind].sort(key=lambda pair: (pair[1].number, pair[1].offset))
        return found

    def key_text(self) -> str:
        """Everything that the native program depends on."""
        names = [hashlib.sha256(s.encode()).hexdigest()[:12] for s in self.sources]
        numbers = [self.kernel_of[launch.kernel] for launch in self.schedule.launches]
        return f"{self.schedule}\n{names}\n{numbers}\nthreads={self.machine.threads}"

    def memory(self) -> list[tuple[int, Buffer]]:
        """Buffers in the workspace that some step needs, registers and stacks among them."""
        needed = lives_of(self.schedule.steps)
        workspace = ((n, buffer) for n, buffer in self.buffers(BufferKind.WORKSPACE) if n in needed)
        return [*workspace, *self.buffers(BufferKind.REGISTER), *self.buffers(BufferKind.STACK)]

    def limits(self) -> dict[int, int]:
        """A stack -> the word of the table that says where its memory ends."""
        return {number: self.limits_index + n for n, (number, _) in enumerate(self.buffers(BufferKind.STACK))}


def plan(schedule: Schedule, machine: Machine) -> Plan:
    sources: dict[str, int] = {}
    kernel_of: dict[Kernel, int] = {}
    pieces: list[tuple[int, ...]] = []
    block_pieces: list[tuple[int, ...]] = []
    for block in schedule.blocks:
        cut = _cut(schedule, block)
        block_pieces.append(tuple(range(len(pieces), len(pieces) + len(cut))))
        pieces += cut
    for launch in schedule.launches:
        if launch.kernel not in kernel_of:
            kernel_of[launch.kernel] = sources.setdefault(render(launch.kernel), len(sources))
    return Plan(schedule, machine, tuple(sources), kernel_of, tuple(pieces), tuple(block_pieces))


def _cut(schedule: Schedule, block: BlockSchedule) -> list[tuple[int, ...]]:
    """Steps in runs of launches and strips, host calls alone, what stands behind the commit by itself."""
    pieces: list[list[int]] = []
    for number in range(block.first, block.end):
        alone = isinstance(schedule.steps[number], HostCall) or number == block.commit
        if alone or not pieces or isinstance(schedule.steps[pieces[-1][-1]], HostCall):
            pieces.append([])
        pieces[-1].append(number)
    return [tuple(piece) for piece in pieces]


def native_entry(plan: Plan) -> bool:
    """Whether the whole program can be called as one built-in function."""
    return not any(isinstance(s, HostCall) for s in plan.schedule.steps[len(plan.draws) :])


def is_native(plan: Plan, steps: tuple[int, ...]) -> bool:
    return not isinstance(plan.schedule.steps[steps[0]], HostCall)
