"""Chains of narrow products as device source: a block of threads takes a few rows through all layers.

NOTE [whole nets]
Narrow layers are over before the next launch can begin. A block of threads computes a few rows through all layers instead:
each layer is a sliced product (NOTE [slices]) whose left operand lies in shared memory, where the layer before has put it.
Every block reads all weights, which is why a net must be narrow, and rows few: with many, separate launches keep the
arithmetic busier.
"""

from __future__ import annotations

from dataclasses import replace

from blockfuse.codegen.cuda.products.elements import (
    QUAD,
    clamped,
    epilogue,
    head,
    index_type,
    is_wide,
    max_rows,
    offset,
    resident_blocks,
    start,
    stored,
)
from blockfuse.codegen.cuda.products.sliced import added, arrays, elements, exchanged, piece_of_thread, walk
from blockfuse.codegen.cuda.source.addresses import guarded
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import BETWEEN, ChainKernel, ProductKernel
from blockfuse.codegen.kernels.source_lines import indented


def render_chain(kernel: ChainKernel, wide: bool = True) -> DeviceSource:
    """The source of one chain; equal kernels have equal source. wide: whether all pointers are multiples of 16 bytes."""
    block = kernel.block
    wide = wide and is_wide(kernel.layers[0], block)
    return DeviceSource(
        kernel.name,
        "\n".join(_lines(kernel, wide)) + "\n",
        kernel.pointers,
        (Stage(kernel.name, block.threads, 1, block.rows, resident=resident_blocks(block)),),
        scratch_dtype=kernel.layers[0].dtype,
        wide=wide,
        max_rows=min(max_rows(layer, replace(layer.block, splits=1)) for layer in kernel.layers),
    )


def _lines(kernel: ChainKernel, wide: bool) -> list[str]:
    """See NOTE [whole nets]."""
    layers, block, dtype = kernel.layers, kernel.block, kernel.layers[0].dtype
    columns = max(_slices(layer, block) * _columns(layer) for layer in layers)
    line = max(_columns(layer) for layer in layers[:-1])
    body = [
        *arrays(dtype, block.rows, columns),
        f"{BETWEEN} = cuda.shared.array({block.rows * line}, {dtype}, alignment=16)",
        "thread = uint32(cuda.threadIdx.x)",
        f"row = uint32(cuda.blockIdx.x) * uint32({block.rows})",
        *(t for n in range(len(layers)) for t in _layer(layers, n, block, line, wide)),
    ]
    return [head(kernel, kernel.name, scratch=False), *indented(1, body)]


def _columns(layer: ProductKernel) -> int:
    return -(-layer.units // QUAD) * QUAD


def _slices(layer: ProductKernel, block: BlockTile) -> int:
    return min(block.threads * QUAD // _columns(layer), -(-layer.inner // QUAD))


def _layer(
    layers: tuple[ProductKernel, ...], number: int, block: BlockTile, line: int, wide: bool
) -> list[str]:
    """One layer of all rows of a block; threads beyond the last slice only help with the elements."""
    layer, slices = layers[number], _slices(layers[number], block)
    columns, is_last = _columns(layer), number == len(layers) - 1

    def left(count: int) -> list[str]:
        return _first_left(layer, wide and count == QUAD, count) if number == 0 else _here(line, count)

    work = [
        "right_place = right_column",
        f"k = uint32(right_step * uint32({QUAD}))",
        f"end = uint32({layer.inner})",
        *walk(layer, block.rows, slices, left),
        *exchanged(block.rows, columns)[:-1],
    ]
    idle = slices * columns < block.threads * QUAD
    return [
        *piece_of_thread(columns),
        *guarded(f"right_step < uint32({slices})" if idle else "", work),
        "cuda.syncthreads()",
        *elements(block.rows * columns, block.threads, _element(layer, block, line, is_last)),
        *([] if is_last else ["cuda.syncthreads()"]),
    ]


def _first_left(layer: ProductKernel, wide: bool, count: int) -> list[str]:
    """``count`` elements of row ``i`` of the net's input."""
    row = f"r = {clamped('row + uint32(i)', 'rows - uint32(1)')}"
    where = offset(("r", "k"), (*layer.left.strides, 1))
    if wide:
        fours = ", ".join(f"a[{u}]" for u in range(QUAD))
        return [row, f"{fours} = ldv4({layer.left.name}, uint32({where}))"]
    return [
        row,
        f"for u in range({count}):",
        f"    a[u] = {layer.left.name}[{where} + {index_type(layer.left)}(u)]",
    ]


def _here(line: int, count: int) -> list[str]:
    """``count`` elements of row ``i`` of what the layer before has made."""
    return [f"for u in range({count}):", f"    a[u] = {BETWEEN}[uint32(i * {line} + u) + k]"]


def _element(layer: ProductKernel, block: BlockTile, line: int, is_last: bool) -> list[str]:
    """One element of the layer; rows beyond the last one are computed like that one, and not stored."""
    columns, slices = _columns(layer), _slices(layer, block)
    kept = f"{BETWEEN}[line * uint32({line}) + c] = {stored(layer)}"
    if is_last:
        kept = f"out[{offset(('r', 'c'), layer.store.strides)}] = {stored(layer)}"
    body = [
        f"r = {clamped('row + line', 'rows - uint32(1)')}",
        f"{layer.accumulator} = {start(layer, replace(block, splits=1))}",
        *added(layer, block.rows * columns, slices),
        *epilogue(layer),
        *guarded("row + line < rows" if is_last else "", [kept]),
    ]
    return [
        f"line = place // uint32({columns})",
        f"c = place % uint32({columns})",
        *guarded(f"c < uint32({layer.units})" if layer.units % QUAD else "", body),
    ]
