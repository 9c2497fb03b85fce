"""Pieces of device source: typed numbers, offsets from pointers, the work of a thread.

Everything is unsigned and 32 bits wide, as a device's own arithmetic is; Numba makes 64 bits of any two integers, so each
result is narrowed again. Only accesses that walk backwards count with 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from blockfuse.codegen.kernels.kernel import FAULT, Access, Index
from blockfuse.codegen.kernels.source_lines import clamped_index, indented, variable, wrapped
from blockfuse.ir.errors import NoDeviceKernelError

WIDE_ELEMENTS = 4  # elements that a thread moves at once
MAX_GRID_BLOCKS = 65535  # along the second side of a grid
_ROUNDING = 2**16  # elements that rounding up to whole blocks may count beyond the last


def head(name: str, pointers: Sequence[tuple[str, str]], scratch: bool = False) -> str:
    """The first line; its comment keeps apart kernels that differ in nothing but the dtypes they read."""
    names, dtypes = zip(*pointers, strict=True)
    types = " -> ".join(t for t in (", ".join(dtypes[:-1]), dtypes[-1]) if t)
    return f"def {name}({', '.join([*names, *['scratch'] * scratch])}, rows):  # {types}"


def function(first: str, lines: list[str]) -> str:
    """A whole function as text."""
    return "\n".join([first, *indented(1, lines)]) + "\n"


def unsigned(number: int) -> str:
    return f"uint32({number})"


def times(index: str, factor: int) -> str:
    return index if factor == 1 else f"{index} * {unsigned(factor)}"


def offset(indices: Sequence[str], strides: Sequence[int]) -> str:
    """The sum of index times stride, without what is zero."""
    pairs = [(i, s) for i, s in zip(indices, strides, strict=True) if s]
    if not pairs:
        return unsigned(0)
    if any(s < 0 for _, s in pairs):
        return " + ".join(f"int64({i}) * int64({s})" for i, s in pairs)
    if len(pairs) == 1 and pairs[0][1] == 1:
        return pairs[0][0]
    return f"uint32({' + '.join(times(i, s) for i, s in pairs)})"


def table_offset(names: Sequence[str], access: Access) -> str:
    """The offset of an element of a table: ``offset``, and so many steps for each index."""
    steps = [(clamped_index(index), index.stride) for index in access.indices]
    if min(*access.strides, *(stride for _, stride in steps), 0) < 0:
        pairs = [*zip(names, access.strides, strict=True), *steps]
        return " + ".join(f"int64({i}) * int64({s})" for i, s in pairs if s) or unsigned(0)
    terms = [offset(names, access.strides)] * any(access.strides)
    terms += [times(f"uint32({name})", stride) for name, stride in steps if stride]
    return f"uint32({' + '.join(terms)})" if terms else unsigned(0)


def clamped_lines(index: Index, text: str) -> list[str]:
    """An index that ``text`` loads as the nearest one that there is: see NOTE [faults]."""
    beyond_axis = f"{clamped_index(index)} != {variable(index.name)}"
    return [*wrapped(index, text), *guarded(beyond_axis, [f"{FAULT[0]}[{unsigned(0)}] = int64(1)"])]


def offset_after(start: str, index: str, access: Access, axis: int) -> str:
    """The offset ``index`` steps along an axis of ``access`` after one of its offsets."""
    stride = access.strides[axis]
    if min(access.strides) < 0:
        return f"{start} + int64({index}) * int64({stride})"
    return f"uint32({start} + {times(index, stride)})" if stride else start


def read(access: Access, where: str) -> str:
    return seen(f"{access.name}[{where}]", access.dtype)


def seen(text: str, dtype: str) -> str:
    """A stored element as expressions see it: memory has no bool."""
    return f"{text} != 0" if dtype == "bool" else text


def stored(text: str, dtype: str) -> str:
    """A value as memory has it."""
    return f"uint8({text})" if dtype == "bool" else text


def array_type(dtype: str) -> str:
    """What an array is declared with; ``int32`` and ``int64`` are conversions of our own."""
    if dtype == "bool":
        return "uint8"
    return f"types.{dtype}" if dtype in ("int32", "int64") else dtype


def local(name: str, size: int, dtype: str) -> str:
    return f"{name} = cuda.local.array({size}, {array_type(dtype)})"


def shared(name: str, size: int, dtype: str) -> str:
    return f"{name} = cuda.shared.array({size}, {array_type(dtype)})"


def thread_of_grid(threads: int) -> str:
    return f"uint32(uint32(cuda.blockIdx.x) * {unsigned(threads)} + uint32(cuda.threadIdx.x))"


def split(number: str, names: Sequence[str], sizes: Sequence[int], width: int = 1) -> list[str]:
    """The index along each axis that ``number`` counts through, the last one fastest and in steps of ``width``.

    sizes: of all axes but the first, in steps.
    """
    lines = []
    for axis, name in enumerate(names[:-1]):
        below = prod(sizes[axis:])
        lines.append(f"{name} = uint32({number} // {unsigned(below)})")
        lines.append(f"{number} = uint32({number} - {times(name, below)})")
    return [*lines, f"{names[-1]} = {multiple(number, width)}"]


def multiple(index: str, factor: int) -> str:
    return index if factor == 1 else f"uint32({times(index, factor)})"


def guarded(condition: str, lines: list[str]) -> list[str]:
    return [f"if {condition}:", *indented(1, lines)] if condition and lines else lines


def looped(index: str, count: int, lines: list[str]) -> list[str]:
    return [f"for {index} in range({count}):", *indented(1, lines)] if lines else []


def four(name: str, start: str = "") -> str:
    """Four neighbours in an array, from ``start`` on, as targets or arguments."""
    return ", ".join(f"{name}[{' + '.join(t for t in (start, str(n)) if t)}]" for n in range(WIDE_ELEMENTS))


def is_wide(access: Access) -> bool:
    """Whether four elements that follow each other along the last axis are neighbours in memory, in whole fours."""
    *outer, last = access.strides
    outer += [index.stride for index in access.indices]
    return last == 1 and all(s >= 0 and s % WIDE_ELEMENTS == 0 for s in outer)


def max_rows(accesses: Iterable[Access], extents: tuple[int, ...]) -> int:
    """For how many rows 32 bits count all offsets and all elements."""
    limit = (2**32 - 1 - _ROUNDING) // max(1, prod(extents))
    for access in accesses:
        across, *inner = map(abs, access.strides)
        reach = sum(s * (n - 1) for s, n in zip(inner, extents, strict=False))
        reach += sum(abs(index.stride) * (index.size - 1) for index in access.indices)
        limit = min(limit, (2**32 - 1 - _ROUNDING - reach) // max(1, across) + 1)
    if limit < 1:
        raise NoDeviceKernelError(
            f"a row of {extents} elements has places beyond 2**32, which kernels cannot count"
        )
    return limit
