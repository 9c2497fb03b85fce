"""Objects linked into one shared library, which the system's own loader maps: no linker and no compiler is asked for.

NOTE [the image]
Four segments, at the same offsets in the file and in memory: what is read (tables of the loader, constants), what runs, what
is written (slots, data), and a payload that is only read, such as parameters. All processes that load the file share what is
not written. References within the image are distances, and settled here. What other libraries must have is called through
slots, which whoever loads the image fills (``imports``): so these are the functions that code compiled in that process
calls, and no older ones that a library keeps under the same name. Symbols tell debuggers and profilers the functions' names.
``IDENTITY`` is the hash of all the rest of the image: who knows it knows where everything lies in what a process has mapped.

Code that is compiled in this process lies in anonymous memory instead (``in_memory.py``): that is quicker. Memory that is
first written and then run is forbidden on some systems, is copied into each process, and is unknown to ``gdb`` and ``perf``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blockfuse.codegen.cpu.linking.identity import IDENTITY, IDENTITY_BYTES
from blockfuse.codegen.cpu.linking.layout import LINE, PAGE, Layout, put, rounded
from blockfuse.codegen.cpu.linking.relocatable import X86_64, Relocatable, relocatable

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


class _Linker(Layout):
    """See NOTE [the image]. Tables come before the constants, and a payload behind the data."""

    def __init__(self, objects: Mapping[str, Relocatable], payload: bytes) -> None:
        super().__init__(objects)
        self._payload = payload
        self._names = {(o, f): f"{o}.{f.name}" for o, object in objects.items() for f in object.functions}
        self._dynamic = rounded(self.data.size, 16)
        self.data.size = self._dynamic + 16 * _DYNAMIC_ENTRIES
        self._place_tables()
        self._payload_at = self.place(self._identity_at + IDENTITY_BYTES)

    # -- what lies where -----------------------------------------------------------------------------------------

    def _place_tables(self) -> None:
        names = [*self._names.values(), IDENTITY]
        self._strings, self._string_at = _joined(names)
        self._symbols_at = 64 + 56 * _SEGMENTS
        self._strings_at = self._symbols_at + 24 * (1 + len(names))
        self._hash_at = rounded(self._strings_at + len(self._strings), 8)
        self._moves_at = rounded(self._hash_at + 4 * (4 + len(names)), 8)
        self._identity_at = rounded(self._moves_at + 24 * self.moves, LINE)

    # -- the file ------------------------------------------------------------------------------------------------

    def image(self) -> Image:
        content = self.content(self._payload_at)
        self._write_tables(content)
        content += self._payload
        self._write_sections(content)
        put(content, self._identity_at, hashlib.sha256(content).digest())
        functions = {(o, f.name): self.address(o, f) for o, f in self._names}
        return Image(bytes(content), functions, self.imports(), self._identity_at, self._payload_at)

    def _write_tables(self, content: bytearray) -> None:
        put(content, 0, self._header(0))
        segments = [
            (_LOAD, _READ, 0, self.constants.end),
            (_LOAD, _READ | _RUN, self.code.start, self.code.size),
            (_LOAD, _READ | _WRITE, self.data.start, self.data.size),
            (_LOAD, _READ, self._payload_at, len(self._payload)),
            (_DYNAMIC, _READ | _WRITE, self.data.start + self._dynamic, 16 * _DYNAMIC_ENTRIES),
            (_STACK, _READ | _WRITE, 0, 0),
        ]
        for number, (type, flags, start, size) in enumerate(segments):
            alignment = PAGE if type == _LOAD else 16
            line = struct.pack("<IIQQQQQQ", type, flags, start, start, start, size, size, alignment)
            put(content, 64 + 56 * number, line)
        put(content, self._symbols_at, b"".join(self._symbols()))
        put(content, self._strings_at, self._strings)
        count = 1 + len(self._names) + 1
        put(content, self._hash_at, struct.pack(f"<{3 + count}I", 1, count, 1, 0, *range(2, count), 0))
        moves = (struct.pack("<QQQ", here, _RELATIVE, address) for here, address in self.moved)
        put(content, self._moves_at, b"".join(moves))
        put(content, self.data.start + self._dynamic, self._dynamic_table())

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
            yield self._symbol(name, _FUNCTION, code, self.address(object, function), 0)
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
        if self.moved:
            entries += [(7, self._moves_at), (8, 24 * len(self.moved)), (9, 24)]
        return b"".join(struct.pack("<QQ", *entry) for entry in entries)

    def _write_sections(self, content: bytearray) -> None:
        """What ``perf`` and ``gdb`` look for symbols by; the loader does without."""
        names, at = _joined(_SECTIONS[1:])
        names_at = len(content)
        content += names
        content += bytes(-len(content) % 8)
        sections_at = len(content)
        symbols, constants = 24 * (2 + len(self._names)), self.constants.end - self._identity_at
        lines = {  # type, flags, start, size, link, how many local symbols, alignment, size of an entry
            ".dynsym": (11, 2, self._symbols_at, symbols, _SECTIONS.index(".dynstr"), 1, 8, 24),
            ".dynstr": (3, 2, self._strings_at, len(self._strings), 0, 0, 1, 0),
            ".text": (1, 6, self.code.start, self.code.size, 0, 0, 16, 0),
            ".rodata": (1, 2, self._identity_at, constants, 0, 0, LINE, 0),
            ".shstrtab": (3, 0, names_at, len(names), 0, 0, 1, 0),
        }
        content += bytes(64)
        for name, (type, flags, start, size, link, local, alignment, each) in lines.items():
            address = start if flags else 0
            line = (at[name], type, flags, address, start, size, link, local, alignment, each)
            content += struct.pack("<IIQQQQIIQQ", *line)
        put(content, 0, self._header(sections_at))


_SEGMENTS, _DYNAMIC_ENTRIES = 6, 9
_SECTIONS = ("", ".dynsym", ".dynstr", ".text", ".rodata", ".shstrtab")


def _joined(names: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """Texts one behind the other, each with an end, and where each begins."""
    joined, places = b"\0", dict[str, int]()
    for name in names:
        places[name] = len(joined)
        joined += name.encode() + b"\0"
    return joined, places
