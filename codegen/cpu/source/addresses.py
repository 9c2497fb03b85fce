"""Pieces of source for a processor: the first line, offsets from pointers, what is read and written there."""

from __future__ import annotations

from blockfuse.codegen.kernels.kernel import Access, Kernel, Statement
from blockfuse.codegen.kernels.source_lines import assignment, clamped_index, variable


def head(kernel: Kernel) -> str:
    """The first line; its comment keeps apart kernels that differ in nothing but the dtypes they read."""
    names, dtypes = zip(*kernel.pointers, strict=True)
    types = " -> ".join(t for t in (", ".join(dtypes[:-1]), dtypes[-1]) if t)
    return f"def {kernel.name}({', '.join(names)}, begin, end):  # {types}"


def offset(indices: tuple[str, ...], strides: tuple[int, ...]) -> str:
    """The sum of index times stride, without what is zero."""
    terms = [i if s == 1 else f"{i} * {s}" for i, s in zip(indices, strides, strict=True) if s and i != "0"]
    return " + ".join(terms).replace("+ -", "- ") or "0"


def read(access: Access, indices: tuple[str, ...]) -> str:
    element = _element(access, indices)
    return f"{element} != 0" if access.dtype == "bool" else element


def write(access: Access, indices: tuple[str, ...], value: str) -> str:
    stored = f"uint8({value})" if access.dtype == "bool" else value
    return f"{_element(access, indices)} = {stored}"


def _element(access: Access, indices: tuple[str, ...]) -> str:
    steps = (clamped_index(index) for index in access.indices)
    strides = (*access.strides, *(index.stride for index in access.indices))
    return f"{access.name}[{offset((*indices, *steps), strides)}]"


def loaded(loads: tuple[Access, ...], indices: tuple[str, ...], body: tuple[Statement, ...]) -> list[str]:
    """Loads into ``v0`` for pointer ``x0`` (a pointer and its element need two names), then the statements."""
    return [f"{variable(a.value)} = {read(a, indices)}" for a in loads] + [assignment(s) for s in body]
