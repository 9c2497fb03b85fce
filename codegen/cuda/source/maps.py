"""Pointwise kernels as device source: a thread makes one element, or four neighbours with wide loads and stores."""

from __future__ import annotations

from math import prod

from blockfuse.codegen.cuda.source.addresses import (
    WIDE_ELEMENTS,
    clamped_lines,
    four,
    function,
    guarded,
    head,
    is_wide,
    local,
    looped,
    max_rows,
    multiple,
    offset,
    read,
    seen,
    split,
    stored,
    table_offset,
    thread_of_grid,
)
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.source_lines import assignment, indented, variable


def map_source(kernel: MapKernel, threads: int, wide: bool) -> DeviceSource:
    extents = kernel.extents
    wide = wide and is_wide(kernel.store) and (not extents or extents[-1] % WIDE_ELEMENTS == 0)
    wide = wide and not any(load.strides[-1] for load in kernel.index_loads.values())
    width = WIDE_ELEMENTS if wide else 1
    names = indices(len(extents) + 1)
    lines = _indices_of_thread(names, extents, threads, width) + _picked(kernel, names)
    lines += _four_elements(kernel, names) if wide else _one_element(kernel, names)
    types = kernel.pointers
    pieces, per_block = (prod(extents) // width, threads) if extents else (1, threads * width)
    return DeviceSource(
        kernel.name,
        function(head(kernel.name, types), lines),
        types,
        (Stage(kernel.name, threads, pieces, per_block),),
        wide=wide,
        max_rows=max_rows((*kernel.loads, kernel.store), extents),
    )


def indices(count: int) -> tuple[str, ...]:
    """A name for the index along each axis."""
    return tuple("ijkl"[n] if n < 4 else f"i{n}" for n in range(count))


def _indices_of_thread(
    names: tuple[str, ...], extents: tuple[int, ...], threads: int, width: int
) -> list[str]:
    """Threads beyond the last element have nothing to do."""
    thread = thread_of_grid(threads)
    if not extents:
        return [f"i = {multiple(thread, width)}", "if i >= rows:", "    return"]
    sizes = (*extents[:-1], extents[-1] // width)
    count = multiple("rows", prod(sizes))
    return [f"n = {thread}", f"if n >= {count}:", "    return", *split("n", names, sizes, width)]


def _picked(kernel: MapKernel, names: tuple[str, ...]) -> list[str]:
    """The indices that loads name, which four neighbours share."""
    loads = kernel.index_loads
    return [
        line
        for index in kernel.indices
        for line in clamped_lines(index, read(loads[index.name], offset(names, loads[index.name].strides)))
    ]


def _elements(kernel: MapKernel) -> list[Access]:
    """The loads whose elements the statements read."""
    return [a for a in kernel.loads if a.name not in kernel.index_loads]


def _offset(access: Access, names: tuple[str, ...]) -> str:
    return table_offset(names, access) if access.indices else offset(names, access.strides)


def _one_element(kernel: MapKernel, names: tuple[str, ...]) -> list[str]:
    return [
        *(f"{variable(a.value)} = {read(a, _offset(a, names))}" for a in _elements(kernel)),
        *(assignment(s) for s in kernel.body),
        f"out[{offset(names, kernel.store.strides)}] = {_result(kernel)}",
    ]


def _result(kernel: MapKernel) -> str:
    return stored(variable(kernel.result), kernel.store.dtype)


# -- four elements -------------------------------------------------------------------------------------------


def _four_elements(kernel: MapKernel, names: tuple[str, ...]) -> list[str]:
    """Loads into arrays, the statements for each of four elements, the store."""
    loads = _elements(kernel)
    arrays = [a for a in loads if a.strides[-1]]
    lines = [local(_array(a), WIDE_ELEMENTS, a.dtype) for a in arrays]
    lines.append(local("result", WIDE_ELEMENTS, kernel.store.dtype))
    lines += [f"{variable(a.value)} = {read(a, _offset(a, names))}" for a in loads if a not in arrays]
    neighbours = [f"{four(_array(a))} = ldv4({a.name}, {_offset(a, names)})" for a in arrays if is_wide(a)]
    neighbours += looped("e", WIDE_ELEMENTS, [_one_load(a, names) for a in arrays if not is_wide(a)])
    lines += _whole_or_part(names, neighbours, [_one_load(a, names) for a in arrays])
    inner = [
        *(f"{variable(a.value)} = {seen(f'{_array(a)}[e]', a.dtype)}" for a in arrays),
        *(assignment(s) for s in kernel.body),
        f"result[e] = {_result(kernel)}",
    ]
    lines += looped("e", WIDE_ELEMENTS, inner)
    target = offset(names, kernel.store.strides)
    one_store = f"out[{offset(_one_of_four(names), kernel.store.strides)}] = result[e]"
    return lines + _whole_or_part(names, [f"stv4(out, {target}, {four('result')})"], [one_store])


def _array(access: Access) -> str:
    return "a" + access.name[1:]


def _one_of_four(names: tuple[str, ...]) -> tuple[str, ...]:
    return (*names[:-1], f"uint32({names[-1]} + uint32(e))")


def _one_load(access: Access, names: tuple[str, ...]) -> str:
    return f"{_array(access)}[e] = {access.name}[{_offset(access, _one_of_four(names))}]"


def _whole_or_part(names: tuple[str, ...], whole: list[str], each: list[str]) -> list[str]:
    """``whole`` for all four elements; where rows alone are walked, the last four may not all be there."""
    if len(names) > 1:
        return whole
    inside = guarded(f"{_one_of_four(names)[0]} < rows", each)
    rest = ["else:", *indented(1, looped("e", WIDE_ELEMENTS, inside))] if each else []
    return [*guarded("uint32(i + uint32(3)) < rows", whole), *rest]
