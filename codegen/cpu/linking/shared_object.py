"""Objects linked into one shared library, which the system's own loader maps: no linker and no compiler is asked for.

NOTE [the image]
Four segments, at the same offsets in the file and in memory: what is read (tables of the loader, constants), what runs, what
is written (slots, data), and a payload that is only read, such as parameters. All processes that load the file share what is
not written. References within the image are distances, and settled here. What other libraries must have is called through
slots, which whoever loads the image fills (``imports``): so these are the functions that code compiled in that process
calls, and no older ones that a library keeps under the same name. Symbols tell debuggers and profilers the functions' names.
``IDENTITY`` is the hash of all the rest of the image: who knows it knows where everything lies in what a process has mapped.

A loader of our own, for relocatable objects, would be some lines shorter; but memory that is first written and then run is
forbidden on some systems, is copied into each process, and is unknown to ``gdb`` and ``perf``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from blockfuse.codegen.cpu.linking.identity import IDENTITY, IDENTITY_BYTES
from blockfuse.codegen.cpu.linking.relocatable import (
    RUNS,
    WRITES,
    X86_64,
    LinkError,
    Relocatable,
    Relocation,
    Section,
    Symbol,
    relocatable,
)

_PAGE, _LINE, _SLOT = 4096, 64, 8
_STUB = b"\xff\x25"  # a jump through the slot at this distance from the end of the instruction
_STUB_BYTES = 8
# Types of relocations: an address; the distance of a slot with the address; distances, and of how many bytes they are.
_ADDRESS, _OF_SLOT, _DISTANCES = 1, (9, 41, 42), {2: 4, 4: 4, 24: 8}
_RELATIVE = 8  # what the loader does with an address: adds that of the image
_RUN, _WRITE, _READ = 1, 2, 4  # permissions of a segment
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551  # types of segments
_FUNCTION, _OBJECT = 0x12, 0x11  # global symbols


@dataclass(frozen=True)
class Image:
    """A shared library, and where things lie from its start."""

    content: bytes
    functions: Mapping[tuple[str, str], int]  # object and symbol
    imports: Mapping[str, int]  # name of a function of another library -> the slot for its address
    identity: int
    payload: int


def link(objects: Mapping[str, bytes], payload: bytes) -> Image:
    """The image of objects, under names of the caller's. Raises LinkError for what is not known how to link."""
    return _Linker({name: relocatable(code) for name, code in objects.items()}, payload).image()


@dataclass
class _Area:
    """Sections side by side, for one segment."""

    start: int = 0
    size: int = 0
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)  # object and number of a section
    contents: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, object: str, section: Section) -> None:
        offset = _rounded(self.size, section.alignment)
        self.offsets[object, section.number] = offset
        self.put(offset, section.content)

    def put(self, offset: int, content: bytes) -> None:
        self.contents.append((offset, content))
        self.size = max(self.size, offset + len(content))

    @property
    def end(self) -> int:
        return self.start + self.size


class _Linker:
    """See NOTE [the image]. Areas are filled first, then placed one behind the other, then references are settled."""

    def __init__(self, objects: Mapping[str, Relocatable], payload: bytes) -> None:
        self._objects, self._payload = objects, payload
        self._constants, self._code, self._data = _Area(), _Area(), _Area()
        references = [
            (o, s, r) for o, object in objects.items() for s in object.sections for r in s.relocations
        ]
        self._references: list[tuple[str, Section, Relocation]] = references
        self._imports = sorted({r.symbol.name for _, _, r in references if r.symbol.section is None})
        own = ((o, r.symbol) for o, _, r in references if r.type in _OF_SLOT and r.symbol.section is not None)
        self._own_slots = list(dict.fromkeys(own))
        self._moved: list[tuple[int, int]] = []  # where an address stands, and which, from the start
        self._names = {(o, f): f"{o}.{f.name}" for o, object in objects.items() for f in object.functions}
        self._fill()
        self._place()

    # -- what lies where -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        self._data.size = _SLOT * (len(self._imports) + len(self._own_slots))
        for name, object in self._objects.items():
            for section in object.sections:
                self._area_of(section).add(name, section)
        self._stubs = _rounded(self._code.size, 16)
        self._code.size = self._stubs + _STUB_BYTES * len(self._imports)
        self._dynamic = _rounded(self._data.size, 16)
        self._data.size = self._dynamic + 16 * _DYNAMIC_ENTRIES

    def _area_of(self, section: Section) -> _Area:
        if section.flags & RUNS:
            return self._code
        return self._data if section.flags & WRITES else self._constants

    def _place(self) -> None:
        names = [*self._names.values(), IDENTITY]
        self._strings, self._string_at = _joined(names)
        count = len(self._own_slots) + sum(r.type == _ADDRESS for _, _, r in self._references)
        self._symbols_at = 64 + 56 * _SEGMENTS
        self._strings_at = self._symbols_at + 24 * (1 + len(names))
        self._hash_at = _rounded(self._strings_at + len(self._strings), 8)
        self._moves_at = _rounded(self._hash_at + 4 * (4 + len(names)), 8)
        self._identity_at = _rounded(self._moves_at + 24 * count, _LINE)
        self._constants.start = _rounded(self._identity_at + IDENTITY_BYTES, _LINE)
        self._code.start = _rounded(self._constants.end, _PAGE)
        self._data.start = _rounded(self._code.end, _PAGE)
        self._payload_at = _rounded(self._data.end, _PAGE)

    def _address(self, object: str, symbol: Symbol) -> int:
        """Where a symbol lies; of another library, what jumps to it."""
        if symbol.section is None:
            return self._code.start + self._stubs + _STUB_BYTES * self._imports.index(symbol.name)
        return self._start_of(object, symbol.section) + symbol.value

    def _start_of(self, object: str, section: int) -> int:
        for area in (self._constants, self._code, self._data):
            if (object, section) in area.offsets:
                return area.start + area.offsets[object, section]
        raise LinkError(f"{object} refers to section {section}, which is left out")

    def _import_slot(self, name: str) -> int:
        return self._data.start + _SLOT * self._imports.index(name)

    def _slot(self, object: str, symbol: Symbol) -> int:
        """Where the address of a symbol stands."""
        if symbol.section is None:
            return self._import_slot(symbol.name)
        number = len(self._imports) + self._own_slots.index((object, symbol))
        return self._data.start + _SLOT * number

    # -- the file ------------------------------------------------------------------------------------------------

    def image(self) -> Image:
        content = bytearray(self._payload_at)
        for area in (self._constants, self._code, self._data):
            for offset, part in area.contents:
                _put(content, area.start + offset, part)
        self._write_stubs(content)
        for object, symbol in self._own_slots:
            self._move(content, self._slot(object, symbol), self._address(object, symbol))
        for object, section, relocation in self._references:
            self._settle(content, object, section, relocation)
        self._write_tables(content)
        content += self._payload
        self._write_sections(content)
        _put(content, self._identity_at, hashlib.sha256(content).digest())
        functions = {(o, f.name): self._address(o, f) for o, f in self._names}
        imports = {name: self._import_slot(name) for name in self._imports}
        return Image(bytes(content), functions, imports, self._identity_at, self._payload_at)

    def _write_stubs(self, content: bytearray) -> None:
        for number, name in enumerate(self._imports):
            stub = self._code.start + self._stubs + _STUB_BYTES * number
            distance = self._import_slot(name) - (stub + len(_STUB) + 4)
            _put(content, stub, _STUB + struct.pack("<i", distance))

    def _settle(self, content: bytearray, object: str, section: Section, relocation: Relocation) -> None:
        """Write what a relocation asks for."""
        symbol, here = relocation.symbol, self._start_of(object, section.number) + relocation.offset
        if relocation.type in _OF_SLOT:
            _put(content, here, struct.pack("<i", self._slot(object, symbol) + relocation.addend - here))
        elif relocation.type in _DISTANCES:
            distance = self._address(object, symbol) + relocation.addend - here
            _put(content, here, distance.to_bytes(_DISTANCES[relocation.type], "little", signed=True))
        elif relocation.type == _ADDRESS and section.flags & WRITES:
            self._move(content, here, self._address(object, symbol) + relocation.addend)
        else:
            raise LinkError(f"{object} has a relocation of type {relocation.type} in {section.name}")

    def _move(self, content: bytearray, here: int, address: int) -> None:
        """Let the loader write an address."""
        self._moved.append((here, address))
        _put(content, here, struct.pack("<Q", address))

    def _write_tables(self, content: bytearray) -> None:
        _put(content, 0, self._header(0))
        segments = [
            (_LOAD, _READ, 0, self._constants.end),
            (_LOAD, _READ | _RUN, self._code.start, self._code.size),
            (_LOAD, _READ | _WRITE, self._data.start, self._data.size),
            (_LOAD, _READ, self._payload_at, len(self._payload)),
            (_DYNAMIC, _READ | _WRITE, self._data.start + self._dynamic, 16 * _DYNAMIC_ENTRIES),
            (_STACK, _READ | _WRITE, 0, 0),
        ]
        for number, (type, flags, start, size) in enumerate(segments):
            alignment = _PAGE if type == _LOAD else 16
            line = struct.pack("<IIQQQQQQ", type, flags, start, start, start, size, size, alignment)
            _put(content, 64 + 56 * number, line)
        _put(content, self._symbols_at, b"".join(self._symbols()))
        _put(content, self._strings_at, self._strings)
        count = 1 + len(self._names) + 1
        _put(content, self._hash_at, struct.pack(f"<{3 + count}I", 1, count, 1, 0, *range(2, count), 0))
        moves = (struct.pack("<QQQ", here, _RELATIVE, address) for here, address in self._moved)
        _put(content, self._moves_at, b"".join(moves))
        _put(content, self._data.start + self._dynamic, self._dynamic_table())

    def _header(self, sections_at: int) -> bytes:
        """That of the file."""
        numbers = (3, X86_64, 1, 0, 64, sections_at, 0, 64, 56, _SEGMENTS, 64)
        count = len(_SECTIONS) if sections_at else 0
        kind = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        return kind + struct.pack("<HHIQQQIHHHHHH", *numbers, count, max(count - 1, 0))

    def _symbols(self) -> Iterable[bytes]:
        yield bytes(24)
        code, constants = _SECTIONS.index(".text"), _SECTIONS.index(".rodata")
        for (object, function), name in self._names.items():
            yield self._symbol(name, _FUNCTION, code, self._address(object, function), 0)
        yield self._symbol(IDENTITY, _OBJECT, constants, self._identity_at, IDENTITY_BYTES)

    def _symbol(self, name: str, kind: int, section: int, address: int, size: int) -> bytes:
        return struct.pack("<IBBHQQ", self._string_at[name], kind, 0, section, address, size)

    def _dynamic_table(self) -> bytes:
        """Where the loader finds the tables: DT_HASH, DT_STRTAB, DT_SYMTAB, their sizes, DT_RELA and its sizes, an end."""
        entries = [
            (4, self._hash_at),
            (5, self._strings_at),
            (6, self._symbols_at),
            (10, len(self._strings)),
            (11, 24),
        ]
        if self._moved:
            entries += [(7, self._moves_at), (8, 24 * len(self._moved)), (9, 24)]
        return b"".join(struct.pack("<QQ", *entry) for entry in entries)

    def _write_sections(self, content: bytearray) -> None:
        """What ``perf`` and ``gdb`` look for symbols by; the loader does without."""
        names, at = _joined(_SECTIONS[1:])
        names_at = len(content)
        content += names
        content += bytes(-len(content) % 8)
        sections_at = len(content)
        symbols, constants = 24 * (2 + len(self._names)), self._constants.end - self._identity_at
        lines = {  # type, flags, start, size, link, how many local symbols, alignment, size of an entry
            ".dynsym": (11, 2, self._symbols_at, symbols, _SECTIONS.index(".dynstr"), 1, 8, 24),
            ".dynstr": (3, 2, self._strings_at, len(self._strings), 0, 0, 1, 0),
            ".text": (1, 6, self._code.start, self._code.size, 0, 0, 16, 0),
            ".rodata": (1, 2, self._identity_at, constants, 0, 0, _LINE, 0),
            ".shstrtab": (3, 0, names_at, len(names), 0, 0, 1, 0),
        }
        content += bytes(64)
        for name, (type, flags, start, size, link, local, alignment, each) in lines.items():
            address = start if flags else 0
            line = (at[name], type, flags, address, start, size, link, local, alignment, each)
            content += struct.pack("<IIQQQQIIQQ", *line)
        _put(content, 0, self._header(sections_at))


_SEGMENTS, _DYNAMIC_ENTRIES = 6, 9
_SECTIONS = ("", ".dynsym", ".dynstr", ".text", ".rodata", ".shstrtab")


def _joined(names: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """Texts one behind the other, each with an end, and where each begins."""
    joined, places = b"\0", dict[str, int]()
    for name in names:
        places[name] = len(joined)
        joined += name.encode() + b"\0"
    return joined, places


def _put(content: bytearray, start: int, part: bytes) -> None:
    content[start : start + len(part)] = part


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
