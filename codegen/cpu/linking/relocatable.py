"""Relocatable objects of ELF, as LLVM writes them: sections, symbols and what refers to what.

Source: Tool Interface Standard, Executable and Linking Format, version 1.2; System V ABI, AMD64 supplement, 4.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

WRITES, TAKES_MEMORY, RUNS = 1, 2, 4  # flags of a section
_SYMBOLS, _RELOCATIONS, _EMPTY = 2, 4, 8  # types of a section: SHT_SYMTAB, SHT_RELA, SHT_NOBITS
_VARIABLE, _FUNCTION, _FILE = 1, 2, 4  # types of a symbol: STT_OBJECT, STT_FUNC, STT_FILE
_HEAD = b"\x7fELF\x02\x01\x01"  # 64 bits, little endian
_RELOCATABLE, X86_64 = 1, 62
_SPECIAL = 0xFF00  # section numbers from here on are no sections


class LinkError(ValueError):
    """An object that cannot be linked: of another machine or form."""


@dataclass(frozen=True)
class Symbol:
    """A name in an object, or (``section`` is None) one that another library must have."""

    name: str
    section: int | None
    value: int  # offset in the section
    type: int


@dataclass(frozen=True)
class Relocation:
    """Bytes that are known when everything has its address."""

    offset: int  # in the section
    type: int
    symbol: Symbol
    addend: int


@dataclass(frozen=True)
class Section:
    """Bytes that a process has in memory."""

    number: int
    name: str
    flags: int
    alignment: int
    content: bytes
    relocations: list[Relocation] = field(default_factory=list)


@dataclass(frozen=True)
class Relocatable:
    """The sections of an object that lie in memory, and its functions and variables."""

    sections: tuple[Section, ...]
    functions: tuple[Symbol, ...]
    variables: tuple[Symbol, ...]


@dataclass(frozen=True)
class _Header:
    """A line of the table of sections."""

    name: int
    type: int
    flags: int
    offset: int
    size: int
    link: int
    target: int
    alignment: int


def relocatable(code: bytes) -> Relocatable:
    """The object; raises LinkError for what LLVM does not write on this machine."""
    try:
        return _read(code)
    except (struct.error, IndexError, ValueError) as error:
        raise LinkError(f"no object of this machine's code: {error}") from error


def _read(code: bytes) -> Relocatable:
    kind, machine = struct.unpack_from("<HH", code, 16)
    if code[:7] != _HEAD or (kind, machine) != (_RELOCATABLE, X86_64):
        raise LinkError(
            f"an object of kind {kind} for machine {machine}; known are relocatable ones for x86-64"
        )
    headers = list(_headers(code))
    names = headers[struct.unpack_from("<H", code, 62)[0]]
    # No code of ours unwinds: exceptions are raised by return values.
    kept = {
        n: Section(n, name, h.flags, max(h.alignment, 1), _content(code, h))
        for n, h in enumerate(headers)
        if h.flags & TAKES_MEMORY and (name := _text(code, names, h.name)) != ".eh_frame"
    }
    table = next(h for h in headers if h.type == _SYMBOLS)
    symbols = list(_symbols(code, table, headers[table.link]))
    for header in headers:
        if header.type == _RELOCATIONS and header.target in kept:
            kept[header.target].relocations.extend(_relocations(code, header, symbols))
    placed = [s for s in symbols if s.section in kept]
    functions = tuple(s for s in placed if s.type == _FUNCTION)
    variables = tuple(s for s in placed if s.type == _VARIABLE)
    return Relocatable(tuple(kept.values()), functions, variables)


def _headers(code: bytes) -> Iterator[_Header]:
    (start,) = struct.unpack_from("<Q", code, 40)
    (count,) = struct.unpack_from("<H", code, 60)
    for number in range(count):
        name, type, flags, _, offset, size, link, target, alignment, _ = struct.unpack_from(
            "<IIQQQQIIQQ", code, start + 64 * number
        )
        yield _Header(name, type, flags, offset, size, link, target, alignment)


def _content(code: bytes, header: _Header) -> bytes:
    if header.type == _EMPTY:
        return bytes(header.size)
    return code[header.offset : header.offset + header.size]


def _text(code: bytes, names: _Header, index: int) -> str:
    start = names.offset + index
    return code[start : code.index(b"\0", start)].decode()


def _symbols(code: bytes, table: _Header, names: _Header) -> Iterator[Symbol]:
    for start in range(table.offset, table.offset + table.size, 24):
        name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", code, start)
        if section >= _SPECIAL and info & 15 != _FILE:
            raise LinkError(f"the symbol {_text(code, names, name)} is in section {section:#x}")
        yield Symbol(_text(code, names, name), section or None, value, info & 15)


def _relocations(code: bytes, header: _Header, symbols: list[Symbol]) -> Iterator[Relocation]:
    for start in range(header.offset, header.offset + header.size, 24):
        offset, info, addend = struct.unpack_from("<QQq", code, start)
        yield Relocation(offset, info & 0xFFFFFFFF, symbols[info >> 32], addend)
