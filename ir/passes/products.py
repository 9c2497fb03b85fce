"""Products brought to the one form that tiles compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy

from blockfuse.ir.builder import expanded, node_of
from blockfuse.ir.graph import Graph, Node, is_changing_leaf, rewrite
from blockfuse.ir.lowering import Movement
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators.contractions import dense, matmul, pack, packed_product, window_product
from blockfuse.ir.operators.movement import broadcast_to, expand_dims, reshape, transpose
from blockfuse.ir.operators.narrow import (
    bfloat16_bits,
    int8_codes,
    int8_scales,
    interleave,
    pair_steps,
    rounded,
)
from blockfuse.ir.operators.pointwise import broadcast_shapes, cast
from blockfuse.ir.operators.reductions import sum_
from blockfuse.ir.operators.windows import sliding_windows
from blockfuse.ir.types import name_of

LINE = 4  # elements that a device fetches at once
# From what size on matrix registers pay: NOTE [matrix tiles].
MIN_PAIRED_ROWS, _MIN_PAIRED_INNER, _MIN_PAIRED_UNITS = 8, 64, 32


def pack_products(graph: Graph, vector_bytes: int, batch: int = 0, pairs: bool = False) -> Graph:
    """Every float ``dense`` and ``matmul`` is a ``packed_product`` of one dtype, its weight in panels of two vectors, or a
    sum.

    A weight that is hoisted, or whose last panel is not whole, is packed. Any other one is seen as panels where it lies: a
    tile may read it there. For a few rows these are panels of one column, so that nothing of a weight (units, inner) moves,
    nor of keys that a query is multiplied with.

    vector_bytes: width of the machine's vectors; a weight with fewer columns gets panels of one vector, one with few columns
    and a long inner axis panels of one column, so that vectors run along the inner axis. 0: a device, which
    reads whole lines: a weight is one panel, as libraries want it, its lines padded to ``LINE`` elements. batch: not 0 where
    nobody knows how many rows there are. pairs: whether matrix registers multiply bfloat16, see NOTE [narrow weights].
    """
    changing: set[Node] = set()  # what is computed and can be another value at the next call

    def changes(node: Node) -> bool:
        return is_changing_leaf(node) or node in changing

    def packed(node: Node) -> Node:
        result = product(node)
        if any(map(changes, (node, *node.operands))):
            changing.add(result)
        return result

    def product(node: Node) -> Node:
        if node.operator not in (dense, matmul) or not all(o.type.size for o in node.operands):
            return node
        if node.operator is matmul and vector_bytes and not batch:
            node = _of_vector(node, vector_bytes, changes)
        weight = node.operands[1]
        dtype = numpy.result_type(node.operands[0].dtype, weight.dtype)
        if dtype.name not in ("float32", "float64"):
            return node
        narrow = weight.attrs["form"] if weight.operator is rounded and vector_bytes else ""
        if narrow:
            node = node.over((node.operands[0], weight.operands[0], *node.operands[2:]))
        form = _Form(
            dtype=dtype,
            transposed=node.operator is dense,
            lanes=vector_bytes // dtype.itemsize,
            is_hoisted=not changes(weight),
            is_open=bool(batch),
            narrow=narrow,
            pairs=pairs and narrow == "bf16",
        )
        if (turned := _of_rows_seen_turned(node, form)) is not None:
            return expanded(partial(_promoted_product, form=replace(form, transposed=True)), turned)
        if form.lanes and all(o.dtype == dtype for o in node.operands):
            if (windows := _windows_of(node)) is not None:
                return expanded(
                    partial(_of_windows, form=form.of_windows()), node.over((windows, *node.operands[1:]))
                )
            if (windows := _turned_windows_of(node)) is not None:
                return expanded(
                    partial(_over_items, form=form.of_windows()), node.over((windows, node.operands[1]))
                )
            if (windows := _windows_in_groups(node)) is not None:
                of_groups = partial(_of_groups, places=node.type.ndim - 3, form=form.of_windows())
                return expanded(of_groups, node.over((windows, node.operands[1])))
        return expanded(lambda *operands: _promoted_product(*operands, form=form), node)

    return rewrite(graph, packed)


def _of_vector(node: Node, vector_bytes: int, changes: Callable[[Node], bool]) -> Node:
    """A product of a matrix and a vector, as the vector times a weight of rows or of columns, whichever lies in memory.

    As it is where rows are apart from each other in memory, or shorter than a vector register.
    """
    left, right = node.operands
    if left.dtype != right.dtype or {left.type.ndim, right.type.ndim} != {1, 2}:
        return node
    vector, matrix = (left, right) if left.type.ndim == 1 else (right, left)
    as_columns, as_rows = (matmul, dense) if vector is left else (dense, matmul)
    if matrix.operator is transpose and tuple(matrix.attrs["axes"]) == (1, 0):
        return node_of(as_rows, (vector, matrix.operands[0]), {}, node.source)
    is_short = matrix.shape[-1] * matrix.dtype.itemsize < vector_bytes
    if vector is left or isinstance(matrix.operator.lowering, Movement) or (is_short and changes(matrix)):
        return node
    return node_of(as_columns, (vector, matrix), {}, node.source)


def _of_rows_seen_turned(node: Node, form: _Form) -> Node | None:
    """A product with rows that are seen as columns, over the rows, if read where they lie: a query times keys.

    For half as many rows as ``reads_columns`` allows: 4 x 32 times 128 x 32, which stay near, take a fifth longer so.
    """
    x, weight = node.operands[:2]
    if node.operator is not matmul or weight.operator is not transpose:
        return None
    (rows,) = weight.operands
    *stack, columns, inner = range(rows.type.ndim)
    if tuple(weight.attrs["axes"]) != (*stack, inner, columns) or not 1 < x.type.ndim <= rows.type.ndim:
        return None
    reads = replace(form, transposed=True).reads_columns(2 * x.shape[-2], x.shape[-1])
    return node.over((x, rows)) if reads else None


@dataclass(frozen=True)
class _Form:
    """What a product is brought from and to."""

    dtype: numpy.dtype  # in which it is computed
    transposed: bool  # whether the weight is (units, inner)
    lanes: int  # of a vector; 0: a device
    is_hoisted: bool  # whether the panels of the weight are made in a prologue
    is_open: bool  # whether the number of rows may become another one
    narrow: str  # in which form the panels are kept; "": in that of the product
    pairs: bool = False  # whether steps of the inner axis are kept in pairs where that pays

    def of_windows(self) -> _Form:
        """The same for products whose rows are only seen."""
        return replace(self, pairs=False)

    def reads_pairs(self, rows: int, inner: int, units: int) -> bool:
        """Whether matrix registers compute a product, where there are enough rows."""
        enough = (
            (rows >= MIN_PAIRED_ROWS or self.is_open)
            and inner >= _MIN_PAIRED_INNER
            and units >= _MIN_PAIRED_UNITS
        )
        return self.pairs and enough

    @property
    def adds_up_rows(self) -> bool:
        """Whether a vector times a matrix is a sum of rows of that: nothing of it is read at strides, or packed."""
        return bool(self.lanes) and not (self.transposed or self.is_hoisted or self.is_open)

    def reads_columns(self, rows: int, inner: int) -> bool:
        """Whether a weight of rows along the inner axis is read where it lies, one column at a time.

        Turning it takes 0.2 ns an element (AVX2), and adding up the lanes of its sums 1.3 ns for each row and inner step.
        """
        may = self.transposed and self.lanes and not (self.is_hoisted or self.is_open)
        return bool(may) and rows * self.lanes <= inner


def _promoted_product(x: Any, weight: Any, *bias: Any, form: _Form) -> Any:
    """As NumPy promotes: both matrices to the dtype of their product, a bias and the product to that of their sum."""
    x, weight = (_cast(value, form.dtype) for value in (x, weight))
    if bias and numpy.result_type(form.dtype, bias[0].dtype) != form.dtype:
        return _product(x, weight, form=form) + bias[0]
    return _product(x, weight, *(_cast(b, form.dtype) for b in bias), form=form)


def _cast(value: Any, dtype: numpy.dtype) -> Any:
    return value if value.dtype == dtype else cast(value, dtype=name_of(dtype))


def _product(x: Any, weight: Any, *bias: Any, form: _Form) -> Any:
    if weight.ndim == 1:
        return sum_(x * weight, axis=(x.ndim - 1,), keepdims=False)
    if x.ndim == 1 and form.adds_up_rows and weight.ndim == 2:
        return sum_(expand_dims(x, axis=(1,)) * weight, axis=(0,), keepdims=False)
    if x.ndim == 1:
        wide = _product(expand_dims(x, axis=(0,)), weight, *bias, form=form)
        return reshape(wide, shape=(*wide.shape[:-2], wide.shape[-1]))
    units = weight.shape[-2] if form.transposed else weight.shape[-1]
    rows_of_weight = x.shape[-2] if weight.ndim > 2 else prod(x.shape[:-1])
    reads_columns = form.reads_columns(rows_of_weight, x.shape[-1])
    panel = 1 if reads_columns else _panel(units, x.shape[-1], form)
    pairs = weight.ndim == 2 and form.reads_pairs(rows_of_weight, x.shape[-1], units)
    packed = _packed(weight, units, panel, replace(form, pairs=pairs))
    if weight.ndim > 2:
        if not form.is_open and _are_rows_of_matrices(x, weight):
            return _each_matrix(x, weight, form)
        batch = broadcast_shapes(x.shape[:-2], weight.shape[:-2])
        found = packed.over(batch).times(packed_product, _stacked(x, batch, 2), *bias, units=units)
        return reshape(found, shape=(*batch, x.shape[-2], units))
    rows = reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1]))
    found = packed.times(packed_product, rows, *bias, units=units)
    return reshape(found, shape=(*x.shape[:-1], units))


def _are_rows_of_matrices(x: Any, weight: Any) -> bool:
    """Whether each row of a stack belongs to one of fewer matrices."""
    is_deeper = x.ndim > weight.ndim and x.shape[-2] == 1
    return bool(is_deeper and x.shape[-weight.ndim : -2] == weight.shape[:-2])


def _each_matrix(x: Any, weight: Any, form: _Form) -> Any:
    """One product for each matrix, of all its rows."""
    rows, stack = x.shape[: -weight.ndim], weight.shape[:-2]
    n = len(stack)
    apart = reshape(x, shape=(prod(rows), *stack, x.shape[-1]))
    product = _product(transpose(apart, axes=(*range(1, n + 1), 0, n + 1)), weight, form=form)
    turned = transpose(product, axes=(n, *range(n), n + 1))
    return reshape(turned, shape=(*rows, *stack, 1, turned.shape[-1]))


def _windows_of(node: Node) -> Node | None:
    """The windows that a product takes as rows, if they are many: a tile may read them where they are seen."""
    rows = node.operands[0]
    if node.operator is not dense or rows.operator is not reshape:
        return None
    (windows,) = rows.operands
    places = rows.shape[1:-1]
    fits = windows.operator is sliding_windows and windows.shape[: len(places) + 1] == rows.shape[:-1]
    return windows if fits and prod(places) > 1 else None


def _turned_windows_of(node: Node) -> Node | None:
    """The windows whose rows a product of the turned rows sums over: that of a gradient by the weight."""
    turned = node.operands[0]
    if node.operator is not matmul or turned.operator is not transpose or turned.attrs["axes"] != (1, 0):
        return None
    (rows,) = (windows,) = turned.operands
    while windows.operator is reshape:
        (windows,) = windows.operands
    if windows.operator is not sliding_windows:
        return None
    places = windows.type.ndim // 2
    items, steps = prod(windows.shape[:places]), prod(windows.shape[places:])
    return windows if rows.shape == (items, steps) and items > 1 and steps > 1 else None


def _windows_in_groups(node: Node) -> Node | None:
    """The windows (batch, *windows, groups, ...) that a product takes as single rows, of each group with another matrix."""
    rows, matrices = node.operands[:2]
    if node.operator is not matmul or rows.operator is not reshape or matrices.type.ndim != 3:
        return None
    if rows.type.ndim < 3:  # a row for all matrices
        return None
    (windows,) = (origin,) = rows.operands
    while origin.operator is not sliding_windows and isinstance(origin.operator.lowering, Movement):
        origin = origin.operands[0]
    *places, groups, row, _ = rows.shape
    fits = (
        origin.operator is sliding_windows
        and windows.shape[: len(places) + 1] == (*places, groups)
        and (groups, 1) == (matrices.shape[0], row)
    )
    return windows if fits and prod(places[1:]) > 1 else None


def _of_groups(windows: Any, matrices: Any, places: int, form: _Form) -> Any:
    """Rows of each group times its matrix: (batch, *windows, groups, 1, units). places: axes before the groups."""
    groups, _, units = matrices.shape
    packed = _packed(matrices, units, _wide_panel(units, form), form).in_one_row()
    found = packed.times(window_product, windows, units=units, axes=windows.ndim - places - 1)
    return reshape(found, shape=(*found.shape[:-1], groups, 1, units))


def _over_items(windows: Any, grad: Any, form: _Form) -> Any:
    """All windows of all items, turned, times what belongs to each: (taps x channels, units)."""
    ndim, units = windows.ndim, grad.shape[1]
    places = ndim // 2
    turned = transpose(windows, axes=(*range(places, ndim), *range(places)))
    packed = _packed(grad, units, _wide_panel(units, form), form)
    found = packed.times(window_product, turned, units=units, axes=places)
    return reshape(found, shape=(prod(found.shape[:-1]), units))


def _of_windows(windows: Any, weight: Any, *bias: Any, form: _Form) -> Any:
    units = weight.shape[0]
    packed = _packed(weight, units, _wide_panel(units, form), form)
    return packed.times(window_product, windows, *bias, units=units, axes=windows.ndim // 2)


@dataclass(frozen=True)
class _Packed:
    """A weight as tiles read it."""

    panels: Any
    scales: Any = None  # what the sums over it are multiplied by, if they are

    def over(self, batch: tuple[int, ...]) -> _Packed:
        """A stack of weights broadcast to ``batch``, whose axes become one."""
        scales = None if self.scales is None else _stacked(self.scales, batch, 2)
        return _Packed(_stacked(self.panels, batch, 3), scales)

    def in_one_row(self) -> _Packed:
        """A stack of weights whose columns stand side by side in the result."""
        scales = None if self.scales is None else reshape(self.scales, shape=(prod(self.scales.shape),))
        return replace(self, scales=scales)

    def times(self, product: Operator, rows: Any, *bias: Any, **attrs: Any) -> Any:
        if self.scales is None:
            return product(rows, self.panels, *bias, **attrs)
        found = product(rows, self.panels, **attrs) * self.scales
        return found + bias[0] if bias else found


def _packed(weight: Any, units: int, panel: int, form: _Form) -> _Packed:
    """See NOTE [narrow weights]."""
    if not form.narrow:
        return _Packed(_panels(weight, units, panel, form))
    if form.narrow == "bf16":
        in_memory = pair_steps if form.pairs else interleave
        return _Packed(in_memory(_panels(bfloat16_bits(weight), units, panel, form)))
    inner = weight.ndim - (1 if form.transposed else 2)
    scales = int8_scales(weight, axis=inner)
    of_stack = expand_dims(scales, axis=(scales.ndim - 1,)) if weight.ndim > 2 else scales
    return _Packed(_panels(int8_codes(weight, axis=inner), units, panel, form), of_stack)


def _panels(weight: Any, units: int, panel: int, form: _Form) -> Any:
    if form.is_hoisted or not form.lanes or units % panel:
        return pack(weight, panel=panel, transposed=form.transposed)
    *stack, rows, columns = weight.shape
    ndim = len(stack)
    if form.transposed:
        split = reshape(weight, shape=(*stack, units // panel, panel, columns))
        axes = (ndim, ndim + 2, ndim + 1)
    else:
        split = reshape(weight, shape=(*stack, rows, units // panel, panel))
        axes = (ndim + 1, ndim, ndim + 2)
    return transpose(split, axes=(*range(ndim), *axes))


def has_few_columns(units: int, lanes: int) -> bool:
    """Whether a vector of columns would be empty by more than a quarter."""
    return 4 * units <= 3 * lanes


def _panel(units: int, inner: int, form: _Form) -> int:
    """Columns of a panel."""
    if not form.lanes:
        return -(-units // LINE) * LINE
    if has_few_columns(units, form.lanes) and inner >= 4 * form.lanes:
        return 1
    return _wide_panel(units, form)


def _wide_panel(units: int, form: _Form) -> int:
    """Two vectors, or one where they are enough and no halves are interleaved."""
    return 2 * form.lanes if units > form.lanes or form.narrow == "bf16" else form.lanes


def _stacked(x: Any, batch: tuple[int, ...], kept: int) -> Any:
    """``x`` broadcast to ``batch``, whose axes become one."""
    last = x.shape[-kept:]
    return reshape(broadcast_to(x, shape=(*batch, *last)), shape=(prod(batch), *last))
