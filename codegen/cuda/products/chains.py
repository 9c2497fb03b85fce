"""Whole nets: chains of narrow products as one launch.

NOTE [whole nets]
Narrow layers are over before the next launch can begin. A block of threads computes a few rows through all layers instead:
each layer is a sliced product (NOTE [slices]) whose left operand lies in shared memory, where the layer before has put it.
Every block reads all weights, which is why a net must be narrow, and rows few: with many, separate launches keep the
arithmetic busier.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from blockfuse.codegen.cuda.products.elements import (
    QUAD,
    clamped,
    epilogue,
    head,
    index_type,
    place,
    start,
    stored,
)
from blockfuse.codegen.cuda.products.sliced import added, arrays, elements, exchanged, piece_of_thread, walk
from blockfuse.codegen.cuda.source.addresses import guarded
from blockfuse.codegen.kernels.kernel import Access, BlockTile, ProductKernel, Statement
from blockfuse.codegen.kernels.source_lines import indented
from blockfuse.codegen.scheduling.buffers import planned
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.steps import Launch, Pointer, Step, lives_of, touched_by

WIDTH = 128  # most units of a layer
DEPTH = 256  # most elements of a row of the first layer's input
ROWS, THREADS = 8, 256  # of a block
LAYERS = (
    4  # most of one launch: each takes most of a second to compile, and longer nets repeat the same source
)
MOST_ROWS = 2048  # about two blocks for each multiprocessor of a large device

# -- the schedule --------------------------------------------------------------------------------------------


def with_whole_nets(schedule: Schedule, rows: int = ROWS, threads: int = THREADS) -> Schedule:
    """Chains of narrow products become one launch each, of blocks of so many rows and threads; memory is planned anew."""
    users = Counter(buffer for step in schedule.steps for buffer in touched_by(step))
    between = {n for n, b in enumerate(schedule.buffers) if b.kind == "workspace" and users[n] == 2}
    steps: list[Step] = []
    blocks: list[BlockSchedule] = []
    for block in schedule.blocks:
        first = len(steps)
        for chain in _chains(schedule.steps[block.first : block.beyond], between):
            steps.append(_joined(chain, rows, threads) if len(chain) > 1 else chain[0])
        blocks.append(replace(block, first=first, beyond=len(steps)))
    buffers, workspace = planned(list(schedule.buffers), lives_of(steps), schedule.batch)
    return replace(schedule, buffers=buffers, steps=tuple(steps), workspace=workspace, blocks=tuple(blocks))


def _chains(steps: tuple[Step, ...], between: set[int]) -> Iterator[list[Step]]:
    """The steps, narrow products with those that follow from them."""
    chain: list[Step] = []
    for step in steps:
        if chain and (len(chain) == LAYERS or not _follows(chain[-1], step, between)):
            yield chain
            chain = []
        chain.append(step)
    if chain:
        yield chain


def _follows(step: Step, following: Step, between: set[int]) -> bool:
    """Whether the result of one narrow product is the left operand of the next, and of nothing else."""
    if not (_is_narrow(step) and _is_narrow(following)):
        return False
    assert isinstance(step, Launch)
    assert isinstance(following, Launch)
    one, other, result = step.kernel, following.kernel, step.pointers[-1]
    assert isinstance(one, ProductKernel)
    assert isinstance(other, ProductKernel)
    uses = [
        name for name, p in zip(other.pointers, following.pointers, strict=False) if p.buffer == result.buffer
    ]
    read_twice = other.left.name in {a.name for a in (other.right, other.bias, *other.loads) if a}
    return (
        result.buffer in between
        and one.store.dtype == one.dtype == other.dtype
        and one.height == other.height
        and (other.inner, other.left.strides) == (one.units, (one.units,))
        and uses == [other.left.name]
        and not read_twice
    )


def _is_narrow(step: Step) -> bool:
    kernel = step.kernel if isinstance(step, Launch) else None
    if not isinstance(kernel, ProductKernel) or kernel.block is None or kernel.batched:
        return False
    fits = kernel.units <= WIDTH and kernel.inner <= DEPTH and 0 < kernel.height <= MOST_ROWS
    return fits and kernel.dtype == "float32" and kernel.block.panel >= kernel.units


def _joined(chain: list[Step], rows: int, threads: int) -> Launch:
    """One launch: operands of all layers one behind the other, each under a name of its own."""
    layers: list[ProductKernel] = []
    pointers: list[Pointer] = []
    values = 0
    launches = [step for step in chain if isinstance(step, Launch)]
    for launch in launches:
        layer = launch.kernel
        assert isinstance(layer, ProductKernel)
        names = {}
        for name, pointer in zip(layer.pointers, launch.pointers, strict=False):
            if layers and name == layer.left.name:
                names[name] = "here"
            else:
                names[name] = f"x{len(pointers)}"
                pointers.append(pointer)
        layers.append(_renamed(layer, names, values))
        values += 1 + len(layer.body)
    taken = tuple(f"x{n}" for n in range(len(pointers)))
    last = layers[-1]
    assert last.block is not None
    block = BlockTile(rows, QUAD, last.block.panel, rows, QUAD, 1, slices=threads)
    kernel = replace(last, name="net", before=tuple(layers[:-1]), pointers=taken, block=block)
    work = sum(launch.work for launch in launches)
    return replace(launches[-1], kernel=kernel, pointers=(*pointers, launches[-1].pointers[-1]), work=work)


def _renamed(layer: ProductKernel, names: dict[str, str], values: int) -> ProductKernel:
    """The layer over pointers of these names; its values are counted on from ``values``."""

    def text(expression: str) -> str:
        counted = re.sub(r"\bt(\d+)\b", lambda m: f"t{int(m[1]) + values}", expression)
        return re.sub(r"\bx\d+\b", lambda m: names[m[0]], counted)

    def access(old: Access) -> Access:
        return replace(old, name=names[old.name])

    return replace(
        layer,
        left=access(layer.left),
        right=access(layer.right),
        bias=access(layer.bias) if layer.bias else None,
        loads=tuple(map(access, layer.loads)),
        body=tuple(Statement(text(s.name), s.dtype, text(s.expression)) for s in layer.body),
        accumulator=text(layer.accumulator),
        result=text(layer.result),
    )


# -- the source ----------------------------------------------------------------------------------------------


def whole_net(kernel: ProductKernel, block: BlockTile, wide: bool) -> list[str]:
    """See NOTE [whole nets]."""
    layers = (*kernel.before, kernel)
    columns = max(_slices(layer, block) * _columns(layer) for layer in layers)
    line = max(_columns(layer) for layer in kernel.before)
    body = [
        *arrays(kernel.dtype, block.rows, columns),
        f"here = cuda.shared.array({block.rows * line}, {kernel.dtype}, alignment=16)",
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
    where = place(("r", "k"), (*layer.left.strides, 1))
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
    return [f"for u in range({count}):", f"    a[u] = here[uint32(i * {line} + u) + k]"]


def _element(layer: ProductKernel, block: BlockTile, line: int, is_last: bool) -> list[str]:
    """One element of the layer; rows beyond the last one are computed like that one, and not stored."""
    columns, slices = _columns(layer), _slices(layer, block)
    kept = f"here[line * uint32({line}) + c] = {stored(layer)}"
    if is_last:
        kept = f"out[{place(('r', 'c'), layer.store.strides)}] = {stored(layer)}"
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
