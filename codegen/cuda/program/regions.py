"""Regions: blocks of a flow that one launch runs, with real loops and branches between them, as device source.

NOTE [regions]
A predicate that the host reads keeps the device waiting, and so does each launch. Where the kernels of a block of the flow
are small, one block of threads does them instead: the threads go from kernel to kernel, with a barrier where otherwise a
launch would end, all of them read the predicate, exchange what the block stores, and go on to the next block. They can
begin with any block, so every set of blocks may be a region. Where they leave it, the first of them writes the way they
left, and where the memory of each exchanged buffer lies now; the host reads that once. After ``MAX_DECISIONS`` they
stop, and the host starts them where they were: only between launches can it be interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from blockfuse.codegen.cuda.source.addresses import guarded, looped, unsigned
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.source_lines import indented
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.steps import Launch, Pointer

END = -1  # where no block follows
MAX_DECISIONS = 1 << 14  # of one launch: 20 to 200 ms
_BARRIER = "cuda.syncthreads()"


@dataclass(frozen=True)
class Region:
    """``blocks`` of a flow as one launch over ``pointers`` and words of ``uint32``, which begins with a block by its place.

    Afterwards the words say where it stopped (``following``), then for each ``exchanged`` buffer whose memory it has:
    a place in ``exchanged``. exits: what follows a way out: a block, ``END``, or None where the way is unknown. unread:
    blocks that are sure to be followed by the end, so that nobody need read the words.
    """

    blocks: tuple[int, ...]
    pointers: tuple[Pointer, ...]
    exchanged: tuple[int, ...]
    exits: tuple[int | None, ...]
    unread: frozenset[int]
    source: DeviceSource

    @property
    def words(self) -> int:
        """How many it writes."""
        return 1 + len(self.exchanged)

    def following(self, word: int) -> int | None:
        """The block that is next where the first word is this; ``END``, or None where the way is unknown."""
        return (*self.blocks, *self.exits)[word]


def region(schedule: Schedule, blocks: tuple[int, ...], sources: Mapping[int, DeviceSource]) -> Region:
    """See NOTE [regions]. sources: step -> its kernel, of one stage; kernels with barriers have as many threads as any."""
    return _Writer(schedule, blocks, sources).region()


def meets(source: DeviceSource) -> bool:
    """Whether the threads of a kernel wait for each other, or share memory."""
    return _BARRIER in source.text or "cuda.shared.array" in source.text


class _Writer:
    def __init__(
        self, schedule: Schedule, blocks: tuple[int, ...], sources: Mapping[int, DeviceSource]
    ) -> None:
        self.schedule, self.blocks, self.sources = schedule, blocks, sources
        self.scheduled = [schedule.blocks[number] for number in blocks]
        self.steps = [place for b in self.scheduled for place in range(b.first, b.end)]
        self.groups = _groups(chain.from_iterable(b.stores for b in self.scheduled))
        self.pointers = self._pointers()
        used = list(dict.fromkeys(sources[place] for place in self.steps))
        self.parts = {source: _Part(source, number) for number, source in enumerate(used)}
        self.threads = max((s.stages[0].threads for s in used), default=32)
        self.exits = self._exits()

    def region(self) -> Region:
        exchanged = tuple(self.groups)
        types = tuple((self._name(p), str(self.schedule.buffers[p.buffer].type.dtype)) for p in self.pointers)
        text = "\n".join([part.text for part in self.parts.values()] + [self._text()])
        source = DeviceSource(
            "region",
            text,
            types,
            (Stage("region", self.threads, pieces=0),),
            scratch=4 * (1 + len(exchanged)),
            scratch_dtype="uint32",
            wide=any(s.wide for s in self.parts),
        )
        return Region(self.blocks, self.pointers, exchanged, self.exits, self._surely_ending(), source)

    # -- pointers ----------------------------------------------------------------------------------------------

    def _pointers(self) -> tuple[Pointer, ...]:
        """What kernels and decisions read and write; of exchanged buffers each at the same places."""
        used = {p for place in self.steps for p in self._launch(place).pointers}
        used |= {Pointer(b.predicate, 0) for b in self.scheduled if b.predicate is not None}
        used |= {Pointer(n, p.offset) for p in used for n in self.groups.get(p.buffer, ())}
        return tuple(sorted(used, key=lambda p: (p.buffer, p.offset)))

    def _launch(self, place: int) -> Launch:
        step = self.schedule.steps[place]
        assert isinstance(step, Launch), "what is no launch is in no region"
        return step

    def _name(self, pointer: Pointer) -> str:
        """A name that no function has: they do not end in a number behind an underscore."""
        given = re.sub(r"[^0-9a-zA-Z]", "_", self.schedule.buffers[pointer.buffer].name).lstrip("_0123456789")
        beyond = f"_from{pointer.offset}" if pointer.offset else ""
        return f"{given or 'value'}{beyond}_{pointer.buffer}"

    # -- ways ----------------------------------------------------------------------------------------------------

    def _exits(self) -> tuple[int | None, ...]:
        ways = (way for b in self.scheduled for way in _ways(b))
        return tuple(dict.fromkeys(way for way in ways if way not in self.blocks))

    def _surely_ending(self) -> frozenset[int]:
        """Blocks from which all ways lead to the end of the call, without a loop or a stop."""
        sure = {END}
        for _ in range(min(MAX_DECISIONS, len(self.blocks))):  # one more block before the end each time
            sure |= {n for n in self.blocks if sure.issuperset(_ways(self.schedule.blocks[n]))}
        return frozenset(sure - {END})

    def _word(self, way: int | None) -> str:
        return unsigned((*self.blocks, *self.exits).index(way))

    # -- text ----------------------------------------------------------------------------------------------------

    def _text(self) -> str:
        names = [self._name(p) for p in self.pointers]
        count = unsigned(len(self.blocks))
        lines = [
            "thread = uint32(cuda.threadIdx.x)",
            f"left = {unsigned(MAX_DECISIONS)}",
            *(f"{self._memory(n)} = {unsigned(place)}" for place, n in enumerate(self.groups)),
            f"while (at < {count}) & (left > uint32(0)):",
            *indented(1, list(self._branches())),
            "    left = uint32(left - uint32(1))",
            f"    {_BARRIER}",  # nobody writes a predicate that somebody has not read
            "if thread == uint32(0):",
            "    scratch[uint32(0)] = at",
            *(f"    scratch[{unsigned(n)}] = {self._memory(b)}" for n, b in enumerate(self.groups, 1)),
        ]
        numbers = ", ".join(map(str, self.blocks))
        head = f"def region({', '.join([*names, 'scratch', 'at'])}):  # blocks {numbers}"
        return "\n".join(["", head, *indented(1, lines)]) + "\n"

    def _memory(self, buffer: int) -> str:
        """The name of the place whose memory an exchanged buffer has."""
        return f"memory_{self._name(Pointer(buffer, 0))}"

    def _branches(self) -> Iterator[str]:
        for place, block in enumerate(self.scheduled):
            yield f"{'elif' if place else 'if'} at == {unsigned(place)}:"
            yield from indented(1, list(self._block(block)))

    def _block(self, block: BlockSchedule) -> Iterator[str]:
        for place in range(block.first, block.end):
            yield from self._call(self._launch(place), self.sources[place])
        if block.predicate is not None:
            yield f"decided = {self._name(Pointer(block.predicate, 0))}[uint32(0)] != 0"
        for pair in block.stores:
            yield from self._exchanged(*pair)
        ways = [self._word(way) for way in _ways(block)]
        yield f"at = {ways[0]}" if len(ways) == 1 else f"at = {ways[0]} if decided else {ways[1]}"

    def _exchanged(self, one: int, other: int) -> Iterator[str]:
        offsets = sorted({p.offset for p in self.pointers if p.buffer in (one, other)})
        for offset in offsets:
            a, b = (self._name(Pointer(n, offset)) for n in (one, other))
            yield f"{a}, {b} = {b}, {a}"
        a, b = self._memory(one), self._memory(other)
        yield f"{a}, {b} = {b}, {a}"

    def _call(self, launch: Launch, source: DeviceSource) -> list[str]:
        """All blocks of a launch, one after the other, and a barrier behind them."""
        part, (stage,) = self.parts[source], source.stages
        grid = dict(zip("xyz", stage.grid(launch.rows), strict=True))
        indices = [f"uint32({axis})" if grid[axis] > 1 else "uint32(0)" for axis in part.axes]
        arguments = [*map(self._name, launch.pointers), unsigned(launch.rows), *indices]
        lines = [f"{part.name}({', '.join(arguments)})"]
        many = any(count > 1 for count in grid.values())
        if many and meets(source):  # what they share is for the next block
            lines.append(_BARRIER)
        for axis, count in grid.items():
            lines = looped(axis, count, lines) if count > 1 else lines
        lines = guarded(f"thread < {unsigned(stage.threads)}" if stage.threads < self.threads else "", lines)
        return lines if many and meets(source) else [*lines, _BARRIER]


def _ways(block: BlockSchedule) -> tuple[int | None, ...]:
    """What may follow a block: where it decides, what does if the predicate holds, then what does otherwise."""
    return (END,) if block.successors is None else block.successors


def _groups(stores: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """Buffer -> all that may have its memory, for buffers that exchange theirs."""
    groups: dict[int, tuple[int, ...]] = {}
    for pair in stores:
        together = sorted({n for one in pair for n in groups.get(one, (one,))})
        groups |= dict.fromkeys(together, tuple(together))
    return dict(sorted(groups.items()))


class _Part:
    """A kernel as a function that threads of a region call: it is told its place in the grid by ``axes``.

    What it reads may have been written by the same launch, which loads past the coherent caches would not see.
    """

    def __init__(self, source: DeviceSource, number: int) -> None:
        (stage,) = source.stages
        self.name = f"{stage.name}_part{number}"
        self.axes = [axis for axis in "xyz" if f"cuda.blockIdx.{axis}" in source.text]
        text = source.text.replace("ldv4(", "ldv4_written(")
        text = re.sub(r"cuda\.blockIdx\.(\w)", r"block_\1", text)
        places = "".join(f", block_{axis}" for axis in self.axes)
        self.text = text.replace(f"def {stage.name}(", f"def {self.name}(").replace(
            ", rows):", f", rows{places}):", 1
        )
