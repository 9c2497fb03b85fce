"""Fused groups with a product: which tile, which strides, which epilogue."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from blockfuse.codegen.kernels.cost import AWAKE_WORK, time_of_tiles, work_of_product
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall, names_of_body
from blockfuse.codegen.kernels.machine import Machine, ProductShape
from blockfuse.codegen.kernels.product_cuts import (
    MATRIX_ROWS,
    MAX_FETCH,
    NEAR_WEIGHT_BYTES,
    BlockTile,
    ProductTile,
    RegisterTiles,
    steps_of_sums,
)
from blockfuse.codegen.kernels.product_kernels import OperandSteps, ProductKernel, tiles_load
from blockfuse.codegen.kernels.statements import statement
from blockfuse.ir import layout as layouts
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.layout import Layout
from blockfuse.ir.lowering import Contraction
from blockfuse.ir.passes.products import MIN_PAIRED_ROWS, has_few_columns

_PAGE_BYTES = 4096  # lines so far apart share one set of a first-level cache
_NEAR_PAGES = 64  # whose addresses a processor finds without a delay
_NEAR_ROWS = 5 / 16  # of a second-level cache for rows that stay there, beside two panels and what is written
_LONGEST_PANEL = 1 / 8  # of it for a panel that stays there, beside the next one: NOTE [long inner axes]
_FEW_PANELS = 4  # for which turning an operand costs as much as reading it across
_LATENCY = 4  # cycles of a multiply-add
_CACHE_WAYS = 8  # lines that a set holds, or 12; 1024^3 takes 5% longer with tiles of more rows


def choose_tile(
    height: int,
    panels: int,
    vectors: int,
    panel: int,
    accumulators: int,
    threads: int = 1,
    work: float = 0.0,
    conflicts: bool = False,
) -> ProductTile:
    """Rows, panels and unrolling of a tile.

    It fills the registers, wastes few rows, gives each thread the same number of tiles (of few rows, where there is enough
    ``work`` for several threads), and hides the latency of a few accumulators. conflicts: rows lie so that a cache has
    few lines for them.
    """
    max_rows = max(1, accumulators // vectors)
    if height >= max_rows:
        max_rows = min(max_rows, _CACHE_WAYS) if conflicts else max_rows
        rows = min(range(max_rows // 2 + 1, max_rows + 1), key=lambda r: time_of_tiles(r, height, threads))
        return ProductTile(rows, 1, panel, 1)
    wide = max(1, accumulators // (height * vectors))
    each = -(-panels // threads) if work > AWAKE_WORK else panels
    across = min(range(1, min(wide, each) + 1), key=lambda p: (-(-panels // p) * p, -p))
    unroll = 1
    while height * across * vectors * unroll < 8 and height * across * vectors * unroll * 2 <= accumulators:
        unroll *= 2
    return ProductTile(height, across, panel, unroll)


def open_tiles(panels: int, vectors: int, panel: int, accumulators: int) -> tuple[ProductTile, ...]:
    """Tiles for any number of rows: the tallest, one for what it leaves over, some for a few rows."""
    tallest = max(1, accumulators // vectors)
    heights = [tallest, *(h for h in (4, 2, 1) if h < tallest)]
    return tuple(choose_tile(h, panels, vectors, panel, accumulators) for h in heights)


def few_columns_tiles(height: int, units: int, accumulators: int) -> tuple[ProductTile, ...]:
    """Tiles whose vectors run along the inner axis: all columns of as many rows as the registers hold."""
    max_rows = max(1, accumulators // units)
    if height:
        rows = min(range(1, max_rows + 1), key=lambda r: (-(-height // r) * (r + 1), -r))
        return (ProductTile(min(rows, height), units, 1, 1),)
    return tuple(ProductTile(rows, units, 1, 1) for rows in dict.fromkeys((max_rows, 1)))


def column_tile(height: int, units: int, inner: int, lanes: int, accumulators: int) -> ProductTile:
    """A tile of some rows and some columns, whose vectors run along the inner axis: see NOTE [weights where they lie]."""
    widths = [width for width in (1, 2, 4, 8, 16) if width <= min(lanes, units)]
    sizes = [(r, w) for w in widths for r in range(1, height + 1) if r * w + min(r, w) < accumulators + 4]

    def cycles(size: tuple[int, int]) -> float:
        rows, width = size
        step = max(rows * width, rows + width, 2 * _LATENCY) / 2  # two multiply-adds, or two loads, a cycle
        return -(-height // rows) * -(-units // width) * (step * inner / lanes + rows * (width + 4))

    rows, width = min(sizes, key=cycles)
    return ProductTile(rows, width, 1, 1)


def product_kernel(
    node: Node, body: Graph, operands: list[Layout], machine: Machine, batch: int = 0
) -> KernelCall | CopyFirst:
    """The kernel of a group with a product.

    batch: where this is not 0, a multiple of ``batch`` rows stands for any number.
    """
    product = next(n for n in body.nodes if isinstance(n.operator.lowering, Contraction))
    left, right, *bias = product.operands
    batched = left.type.ndim == 3
    height, inner, units = left.shape[-2], left.shape[-1], product.shape[-1]
    names = names_of_body(body)
    epilogue = [n for n in body.nodes if n.operator is not constant and n is not product]
    found = _accesses(body, operands, product, {o for n in epilogue for o in n.operands}, machine)
    if isinstance(found, CopyFirst):
        return found
    accesses, loads, steps = found
    work = work_of_product(product, machine)
    if batch and not batched and height % batch == 0:
        height = 0
    kernel = ProductKernel(
        name=node.attrs["name"],
        dtype=str(product.dtype),
        height=height,
        inner=inner,
        units=units,
        left=accesses[left],
        right=accesses[right],
        bias=accesses[bias[0]] if bias else None,
        accumulator=names[product],
        loads=loads,
        operands=tuple(accesses[leaf].name for leaf in body.inputs),
        body=tuple(statement(n, names) for n in epilogue),
        store=Access("out", str(node.dtype), (height * units, units, 1) if batched else (units, 1)),
        result=names[body.outputs[0]],
        cut=_cut(product, height, accesses[left], machine, work),
        lies=None if machine.block_tile or steps == OperandSteps.packed(inner, right.shape[-1]) else steps,
    )
    if kernel.by_panels:
        return KernelCall(kernel, -(-right.shape[-3] // kernel.tiles[0].panels), work)
    return KernelCall(
        kernel, left.shape[0], work, kernel.tiles[0].rows if kernel.tiles and not batched else 1
    )


# -- how it is cut -----------------------------------------------------------------------------------------------


def _cut(
    product: Node, height: int, left: Access, machine: Machine, work: float
) -> RegisterTiles | BlockTile:
    if machine.block_tile:
        return _block(product, height, machine)
    tiles = _register_tiles(product, height, left, machine, work)
    if _is_paired(product):
        return RegisterTiles(tiles)
    stacked = product.operands[0].type.ndim == 3
    near = int(_NEAR_ROWS * machine.second_level_bytes)
    block = _block_rows(tiles[0], near // (product.operands[0].shape[-1] * product.dtype.itemsize))
    block = block if not height or height > block else 0
    by_panels = not stacked and height == tiles[0].rows
    sliced = 0 if stacked or by_panels else _sliced_rows(product, tiles[0], machine)
    weight = product.operands[1]
    if prod(weight.shape[-3:]) * weight.dtype.itemsize > NEAR_WEIGHT_BYTES:
        threads = machine.threads if work > AWAKE_WORK and not (by_panels or stacked) else 1
        tallest, *rest = tiles
        passing = (sliced or block or height or MAX_FETCH * tallest.rows) // (tallest.rows * threads)
        tiles = (_fetching(tallest, passing), *(_fetching(tile, 1) for tile in rest))
    return RegisterTiles(tiles, by_panels, block, sliced)


def _fetching(tile: ProductTile, passing: int) -> ProductTile:
    """The tile, fetching ahead if it is of one panel. passing: how many tiles pass it before the next one."""
    if tile.panel == 1 or tile.panels > 1 or tile.unroll > 1:
        return tile
    return replace(tile, fetch=1 << (min(max(passing, 1), MAX_FETCH).bit_length() - 1))


def _block_rows(tile: ProductTile, near: int) -> int:
    """How many rows of the left operand pass all panels at a time, in whole tiles; ``near`` of them stay near.

    0 where so many are no more than the columns of a panel: then panels that stay near are passed by all rows.
    """
    rows = near // tile.rows * tile.rows
    return rows if rows > tile.panel else 0


def _sliced_rows(product: Node, tile: ProductTile, machine: Machine) -> int:
    """How many rows pass all panels with the steps of one sum: see NOTE [long inner axes]; 0: tiles take all steps."""
    inner, itemsize = product.operands[0].shape[-1], product.dtype.itemsize
    if tile.panel == 1 or tile.panels > 1 or tile.unroll > 1:
        return 0
    if inner * tile.panel * itemsize <= _LONGEST_PANEL * machine.second_level_bytes:
        return 0
    near = int(_NEAR_ROWS * machine.second_level_bytes)
    return near // (steps_of_sums(inner) * itemsize) // tile.rows * tile.rows


def _block(product: Node, height: int, machine: Machine) -> BlockTile:
    """What a block of threads of a device does."""
    left, right, *_ = product.operands
    assert machine.block_tile is not None
    matrices = left.shape[0] if left.type.ndim == 3 else 1
    shape = ProductShape(
        matrices, height, left.shape[-1], product.shape[-1], right.shape[-1], str(product.dtype)
    )
    return machine.block_tile(shape)


def _register_tiles(
    product: Node, height: int, left: Access, machine: Machine, work: float
) -> tuple[ProductTile, ...]:
    """One tile, or several for any number of rows (``height`` 0)."""
    panels, panel = product.operands[1].shape[-3], product.operands[1].shape[-1]
    if _is_paired(product):
        return _matrix_tiles(height, panels, panel, machine)
    lanes = machine.lanes(product.dtype.itemsize)
    if panel == 1 and has_few_columns(panels, lanes):
        return few_columns_tiles(height, panels, machine.accumulators)
    if panel == 1:
        assert height, "a product of any number of rows has panels"
        return (column_tile(height, panels, product.operands[0].shape[-1], lanes, machine.accumulators),)
    vectors = panel // lanes
    if not height:
        return open_tiles(panels, vectors, panel, machine.accumulators)
    conflicts = left.strides[-1] * product.dtype.itemsize % _PAGE_BYTES == 0
    tile = choose_tile(height, panels, vectors, panel, machine.accumulators, machine.threads, work, conflicts)
    return (tile,)


def _matrix_tiles(height: int, panels: int, panel: int, machine: Machine) -> tuple[ProductTile, ...]:
    """One of registers of matrices, and for a few of any number of rows some of vectors, which read two steps at once."""
    if height:
        return (ProductTile(min(height, MATRIX_ROWS), 1, panel, 1),)
    _, *lower = open_tiles(panels, 2, panel, machine.accumulators // 2)
    few = (replace(tile, unroll=max(2, tile.unroll)) for tile in lower)
    return ProductTile(MIN_PAIRED_ROWS, 1, panel, 1), *few


def _is_paired(product: Node) -> bool:
    """Whether registers of matrices compute it: NOTE [matrix tiles]."""
    return product.operands[1].dtype.name == "uint32"


# -- what it reads -----------------------------------------------------------------------------------------------


def _accesses(
    body: Graph, operands: list[Layout], product: Node, read_after: set[Node], machine: Machine
) -> tuple[dict[Node, Access], tuple[Access, ...], OperandSteps] | CopyFirst:
    """How the product reads each operand, and how the epilogue reads those in ``read_after``; or what to copy first."""
    names, accesses, loads = names_of_body(body), {}, []
    left, right, *_ = product.operands
    given = dict(zip(body.inputs, operands, strict=True))
    for number, (leaf, where) in enumerate(given.items()):
        in_product = _operand_strides(leaf, where, product, machine) if leaf in product.operands else ()
        in_epilogue = _epilogue_strides(where, product) if leaf in read_after else ()
        if in_product is None or in_epilogue is None:
            return CopyFirst(number, leaf.shape)
        accesses[leaf] = Access(names[leaf], str(leaf.dtype), in_product)
        if leaf in read_after:
            loads.append(Access(names[leaf], str(leaf.dtype), in_epilogue))
    panel, step, _ = given[right].strides[-3:]
    along = given[left].strides[-1] if left.shape[-1] > 1 else 1
    return accesses, tuple(loads), OperandSteps(along, step, panel)


def _operand_strides(leaf: Node, where: Layout, product: Node, machine: Machine) -> tuple[int, ...] | None:
    """Strides of an operand of the product up to those of ``OperandSteps``, or None where only a copy has them."""
    left, right, *_ = product.operands
    if leaf is right:
        batched = left.type.ndim == 3
        return (where.strides[0],) * batched if _reads_panels(where, product, machine) else None
    is_dense = where.strides[-1] == 1 or leaf.shape[-1] == 1
    if leaf is not left:  # elements of the bias are neighbours
        return () if is_dense else None
    return where.strides[:-1] if is_dense or _reads_across(where, product, machine) else None


def _reads_across(where: Layout, product: Node, machine: Machine) -> bool:
    """Whether tiles read rows of the left operand whose elements are apart, rather than a copy of them.

    Each step of the inner axis is another line, which next rows have elements in: they find it in the cache if that holds
    all of them.
    """
    panels, inner, panel = product.operands[1].shape[-3:]
    if machine.block_tile or panel == 1 or _is_paired(product):
        return False
    return (
        panels <= _FEW_PANELS
        or inner * abs(where.strides[-1]) * product.dtype.itemsize <= _NEAR_PAGES * _PAGE_BYTES
    )


def _reads_panels(where: Layout, product: Node, machine: Machine) -> bool:
    """Whether tiles read the panels of the right operand where they lie, rather than a copy of them.

    Lines of a panel that are far apart are many pages, and may share a set of the cache: a copy pays where several tiles of
    rows read them.
    """
    *_, panels, inner, panel = where.shape
    if replace(where, shape=(panels, inner, panel), strides=where.strides[-3:], offset=0).dense:
        return True
    _, step, column = where.strides[-3:]
    if machine.block_tile:
        return False
    if panel == 1 or column != 1:
        return panel == step == 1
    stride = step * product.dtype.itemsize
    few_tiles = product.shape[-2] <= 2 * machine.accumulators * machine.lanes(product.dtype.itemsize) // panel
    return few_tiles or (stride % _PAGE_BYTES > 0 and inner * stride <= _NEAR_PAGES * _PAGE_BYTES)


def _epilogue_strides(where: Layout, product: Node) -> tuple[int, ...] | None:
    """Strides of a value that the epilogue reads, or None where only a copy has such that tiles load."""
    seen = layouts.broadcast(where, product.shape)
    return seen.strides if tiles_load(seen.strides) else None
