"""Where sections of objects lie in one piece of memory, and what refers to what in it.

NOTE [the layout]
Constants, code and data one behind the other, each from a page on, so that a process may protect them. References within are
distances, and settled here, whatever the address of the whole; what holds an address is told in ``moved``. Functions of
other libraries may lie further away than a reference reaches (2 GiB): they are called through slots, which are filled by
whoever brings the whole into memory.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from blockfuse.codegen.cpu.linking.relocatable import (
    RUNS,
    WRITES,
    LinkError,
    Relocatable,
    Relocation,
    Section,
    Symbol,
)

PAGE, LINE = 4096, 64
_SLOT = 8
_STUB = b"\xff\x25"  # a jump through the slot at this distance from the end of the instruction
_STUB_BYTES = 8
# Types of relocations: an address; the distance of a slot with the address; distances, and of how many bytes they are.
_ADDRESS, _OF_SLOT, _DISTANCES = 1, (9, 41, 42), {2: 4, 4: 4, 24: 8}


@dataclass
class Area:
    """Sections side by side, for one segment."""

    start: int = 0
    size: int = 0
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)  # object and number of a section
    contents: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, object: str, section: Section) -> None:
        offset = rounded(self.size, section.alignment)
        self.offsets[object, section.number] = offset
        self.put(offset, section.content)

    def put(self, offset: int, content: bytes) -> None:
        self.contents.append((offset, content))
        self.size = max(self.size, offset + len(content))

    @property
    def end(self) -> int:
        return self.start + self.size


class Layout:
    """See NOTE [the layout]. Areas are filled first, then placed, then references are settled."""

    def __init__(self, objects: Mapping[str, Relocatable]) -> None:
        self._objects = objects
        self.constants, self.code, self.data = Area(), Area(), Area()
        self.moved: list[tuple[int, int]] = []  # where an address stands, and which, from the start
        references = [
            (o, s, r) for o, object in objects.items() for s in object.sections for r in s.relocations
        ]
        self._references: list[tuple[str, Section, Relocation]] = references
        self._imports = sorted({r.symbol.name for _, _, r in references if r.symbol.section is None})
        own = ((o, r.symbol) for o, _, r in references if r.type in _OF_SLOT and r.symbol.section is not None)
        self._own_slots = list(dict.fromkeys(own))
        self._fill()

    @property
    def moves(self) -> int:
        """How many addresses will stand in ``moved``."""
        return len(self._own_slots) + sum(r.type == _ADDRESS for _, _, r in self._references)

    # -- what lies where -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        self.data.size = _SLOT * (len(self._imports) + len(self._own_slots))
        for name, object in self._objects.items():
            for section in object.sections:
                self._area_of(section).add(name, section)
        self._stubs = rounded(self.code.size, 16)
        self.code.size = self._stubs + _STUB_BYTES * len(self._imports)

    def _area_of(self, section: Section) -> Area:
        if section.flags & RUNS:
            return self.code
        return self.data if section.flags & WRITES else self.constants

    def place(self, start: int) -> int:
        """Let the areas begin behind ``start``; gives the page behind them."""
        self.constants.start = rounded(start, LINE)
        self.code.start = rounded(self.constants.end, PAGE)
        self.data.start = rounded(self.code.end, PAGE)
        return rounded(self.data.end, PAGE)

    def address(self, object: str, symbol: Symbol) -> int:
        """Where a symbol lies, from the start; of another library, what jumps to it."""
        if symbol.section is None:
            return self.code.start + self._stubs + _STUB_BYTES * self._imports.index(symbol.name)
        return self._start_of(object, symbol.section) + symbol.value

    def _start_of(self, object: str, section: int) -> int:
        for area in (self.constants, self.code, self.data):
            if (object, section) in area.offsets:
                return area.start + area.offsets[object, section]
        raise LinkError(f"{object} refers to section {section}, which is left out")

    def imports(self) -> dict[str, int]:
        """The functions of other libraries, and where the address of each has to stand."""
        return {name: self._import_slot(name) for name in self._imports}

    def _import_slot(self, name: str) -> int:
        return self.data.start + _SLOT * self._imports.index(name)

    def _slot(self, object: str, symbol: Symbol) -> int:
        """Where the address of a symbol stands."""
        if symbol.section is None:
            return self._import_slot(symbol.name)
        number = len(self._imports) + self._own_slots.index((object, symbol))
        return self.data.start + _SLOT * number

    # -- what stands there ---------------------------------------------------------------------------------------

    def content(self, size: int) -> bytearray:
        """The areas, in as many bytes; addresses (``moved``) are as if the whole began at 0."""
        content = bytearray(size)
        for area in (self.constants, self.code, self.data):
            for offset, part in area.contents:
                put(content, area.start + offset, part)
        self._write_stubs(content)
        for object, symbol in self._own_slots:
            self._move(content, self._slot(object, symbol), self.address(object, symbol))
        for object, section, relocation in self._references:
            self._settle(content, object, section, relocation)
        return content

    def _write_stubs(self, content: bytearray) -> None:
        for number, name in enumerate(self._imports):
            stub = self.code.start + self._stubs + _STUB_BYTES * number
            distance = self._import_slot(name) - (stub + len(_STUB) + 4)
            put(content, stub, _STUB + struct.pack("<i", distance))

    def _settle(self, content: bytearray, object: str, section: Section, relocation: Relocation) -> None:
        """Write what a relocation asks for."""
        symbol, here = relocation.symbol, self._start_of(object, section.number) + relocation.offset
        if relocation.type in _OF_SLOT:
            put(content, here, struct.pack("<i", self._slot(object, symbol) + relocation.addend - here))
        elif relocation.type in _DISTANCES:
            distance = self.address(object, symbol) + relocation.addend - here
            put(content, here, distance.to_bytes(_DISTANCES[relocation.type], "little", signed=True))
        elif relocation.type == _ADDRESS and section.flags & WRITES:
            self._move(content, here, self.address(object, symbol) + relocation.addend)
        else:
            raise LinkError(f"{object} has a relocation of type {relocation.type} in {section.name}")

    def _move(self, content: bytearray, here: int, address: int) -> None:
        """An address, which is another where the whole does not begin at 0."""
        self.moved.append((here, address))
        put(content, here, struct.pack("<Q", address))


def put(content: bytearray, start: int, part: bytes) -> None:
    """Let a part stand in bytes from ``start`` on."""
    content[start : start + len(part)] = part


def rounded(size: int, unit: int) -> int:
    """The next multiple of ``unit``."""
    return -(-size // unit) * unit
