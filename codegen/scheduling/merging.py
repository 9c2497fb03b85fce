"""Maps over equally many elements as one kernel with several results: memory is passed through once for all of them.

NOTE [merged maps]
A map joins an earlier one if it may run there: no step in between touches what it writes, or writes what it touches. Both
then do their work element by element. That is the same where a buffer that one of them writes is read at that element
alone; so such a buffer has one pointer, and is loaded before anything is stored. What an earlier map of the kernel made
is not loaded at all, and not stored either where nobody else needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy

from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.loop_kernels import FlatKernel, MapKernel
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.scheduling.steps import Launch, Plain, Pointer

MAX_POINTERS = 12  # of a kernel: what a processor prefetches, and has registers for
MAX_STATEMENTS = 64
_LITTLE_BYTES = 1 << 9
_MAX_NAME_LETTERS = 48


def merged(steps: Sequence[Plain], block: Sequence[Plain], buffers: Sequence[Buffer]) -> list[Plain]:
    """The steps, with maps joined where they may be. block: all steps that may need what these make."""
    found: list[Plain | _Merger] = []
    for step in steps:
        if not (isinstance(step, Launch) and is_flat(step)):
            found.append(step)
        elif not _joins_earlier(step, found):
            found.append(_Merger([step]))
    touched = Counter(b for step in block for b in set(step.touched))
    return [step.finished(buffers, touched) if isinstance(step, _Merger) else step for step in found]


def is_flat(launch: Launch) -> bool:
    kernel = launch.kernel
    if not isinstance(kernel, MapKernel) or kernel.extents or kernel.indices or kernel.nontemporal:
        return False
    return launch.rows > 1 or all(not pointer.offset for pointer in launch.pointers)


def _joins_earlier(launch: Launch, found: list[Plain | _Merger]) -> bool:
    """Whether a launch became part of an earlier one."""
    for step in reversed(found):
        if isinstance(step, _Merger) and step.takes(launch):
            step.launches.append(launch)
            return True
        if conflicts(launch, step):
            return False
    return False


def conflicts(launch: Plain, step: Plain | _Merger) -> bool:
    """Whether a launch cannot run before a step, or behind it."""
    mine, its = set(launch.touched), set(step.touched)
    return bool(its.intersection(launch.written) or mine.intersection(step.written))


def _fills_much(launch: Launch) -> bool:
    """Whether it writes one value into more than a little memory: another such buffer would only live longer for it."""
    kernel = launch.kernel
    is_one = isinstance(kernel, MapKernel) and not any(s for load in kernel.loads for s in load.strides)
    return is_one and launch.rows * numpy.dtype(kernel.store.dtype).itemsize > _LITTLE_BYTES


@dataclass
class _Merger:
    """Launches that become one."""

    launches: list[Launch]
    loads: list[Access] = field(default_factory=list)
    body: list[Statement] = field(default_factory=list)
    # buffer, offset, stride -> its value
    values: dict[tuple[int, int, int], str] = field(default_factory=dict)
    pointers: dict[str, Pointer] = field(default_factory=dict)  # name of a load -> what it points to

    @property
    def touched(self) -> tuple[int, ...]:
        return tuple(buffer for launch in self.launches for buffer in launch.touched)

    @property
    def written(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(buffer for launch in self.launches for buffer in launch.written))

    def takes(self, launch: Launch) -> bool:
        """Whether the launch may do its work element by element with the others."""
        both = [*self.launches, launch]
        if launch.rows != both[0].rows or (launch.grows, launch.grain) != (both[0].grows, both[0].grain):
            return False
        places: dict[int, set[tuple[int, int]]] = {}  # buffer -> offsets and strides
        for one in both:
            for access, pointer in accesses_of(one):
                places.setdefault(pointer.buffer, set()).add((pointer.offset, access.strides[0]))
        written = {*self.written, *launch.written}
        size = sum(len(map_of(one).body) for one in both)
        return (
            not all(map(_fills_much, both))
            and all(len(places[buffer]) == 1 for buffer in written)
            and sum(map(len, places.values())) <= MAX_POINTERS
            and size <= MAX_STATEMENTS
        )

    # -- the kernel ----------------------------------------------------------------------------------------------

    def finished(self, buffers: Sequence[Buffer], touched: Counter[int]) -> Launch:
        """touched: how many steps of all touch a buffer."""
        if len(self.launches) == 1:
            return self.launches[0]
        stored = {buffer: self._computed(launch) for launch in self.launches for buffer in launch.written}
        own = Counter(b for launch in self.launches for b in set(launch.touched))
        *others, last = stored
        kept = [b for b in others if not is_private(buffers[b], touched[b] == own[b])]
        kept.append(last)
        names = {buffer: f"out{n}" for n, buffer in enumerate(kept[:-1])} | {kept[-1]: "out"}
        stores = tuple((self._store(buffer, names[buffer]), stored[buffer]) for buffer in kept)
        loads = tuple(self._renamed(load, names) for load in self.loads)
        maps = tuple(launch.kernel.name for launch in self.launches)
        kernel = FlatKernel(joined_name(maps), stores[-1][0], loads, tuple(self.body), stores, maps)
        read = (self.pointers[load.name] for load in loads if load.name in self.pointers)
        written = (Pointer(buffer, self._place(buffer)[1]) for buffer in kept)
        first = self.launches[0]
        work = sum(launch.work for launch in self.launches)
        return replace(first, kernel=kernel, pointers=(*read, *written), work=work)

    def _computed(self, launch: Launch) -> str:
        """The name of the value that a launch makes; its statements become those of the kernel."""
        kernel = map_of(launch)
        names: dict[str, str] = {}
        *reads, (store, target) = accesses_of(launch)
        for access, pointer in reads:
            names[access.value] = self._loaded(access, pointer)
        for one in kernel.body:
            expression = one.expression.renamed(names)
            names[one.name] = f"t{len(self.body)}"
            self.body.append(Statement(names[one.name], one.dtype, expression))
        value = names[kernel.result]
        self.values[target.buffer, target.offset, store.strides[0]] = value
        return value

    def _loaded(self, access: Access, pointer: Pointer) -> str:
        key = pointer.buffer, pointer.offset, access.strides[0]
        if key not in self.values:
            name = self.values[key] = f"x{len(self.loads)}"
            self.loads.append(Access(name, access.dtype, access.strides))
            self.pointers[name] = pointer
        return self.values[key]

    def _renamed(self, load: Access, names: dict[int, str]) -> Access:
        """A load through the pointer of a result, where it is of its memory."""
        result = names.get(self.pointers[load.name].buffer)
        return load if result is None else replace(load, name=result, alias=load.name)

    def _place(self, buffer: int) -> tuple[int, int, int]:
        return next(place for place in self.values if place[0] == buffer)

    def _store(self, buffer: int, name: str) -> Access:
        launch = next(one for one in self.launches if buffer in one.written)
        return replace(launch.kernel.store, name=name)


def joined_name(maps: tuple[str, ...]) -> str:
    name = "_".join(maps)
    return name if len(name) <= _MAX_NAME_LETTERS else f"{maps[0]}_and_{len(maps) - 1}_more"


def accesses_of(launch: Launch) -> list[tuple[Access, Pointer]]:
    """Every load of a map with what it points to, then its store."""
    kernel = map_of(launch)
    pointers = dict(zip((name for name, _ in kernel.pointers), launch.pointers, strict=True))
    return [(access, pointers[access.name]) for access in (*kernel.loads, kernel.store)]


def map_of(launch: Launch) -> MapKernel:
    assert isinstance(launch.kernel, MapKernel)
    return launch.kernel


def is_private(buffer: Buffer, is_alone: bool) -> bool:
    """Whether nobody else needs the memory of a value."""
    return is_alone and buffer.kind is BufferKind.WORKSPACE
