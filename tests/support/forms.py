"""The forms that a line of a random program can take, together calls of every operator that a user reaches.

``{0}``, ``{1}`` ... are operands, and a form says what they must be like (``FITS``); other names in braces are parameters,
drawn to suit the first operand (``PARAMETERS``).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse import np
from blockfuse.ir.lowering import Pointwise
from blockfuse.ir.operator import TABLE, Operator

Value = numpy.ndarray
WIDE = ("float32", "float64")
DTYPES = (
    *("float32",) * 8,
    *("float64",) * 3,
    *("int32", "int64", "bool", "float16", "uint8", "int8", "uint32"),
)


@dataclass(frozen=True)
class Form:
    """``text`` of an expression, or of a statement about the fresh array ``{0}``. fits: for each operand, from ``FITS``."""

    group: str
    text: str
    fits: tuple[str, ...] = ("any",)

    @property
    def writes(self) -> bool:
        return self.group == "writes"


# How often a line is of each group.
SHARES: dict[str, float] = {
    "pointwise1": 7,
    "pointwise2": 14,
    "pointwise3": 2,
    "numbers": 3,
    "reductions": 15,
    "along": 3,
    "rows": 7,
    "activations": 3,
    "movement": 14,
    "matrices": 2,
    "constants": 2,
    "joined": 3,
    "beside": 6,
    "products": 13,
    "picked": 5,
    "draws": 1,
    "solved": 0.5,
    "writes": 4,
}

# A line at the margin: a group, and what its operands must be like. Below: its forms.
_TABLE = """
numbers any
    {0} * {number}
    {number} - {0}
    {0} + {number}
    {0} > {number}
    {0} + {number} > {0}
    {0} / 4
    1 / (1 + {0} * {0})
    np.abs({0}) ** 0.5
    (np.abs({0}) + 1.0) ** -1
    np.maximum({0}, {number})
numbers powers
    {0} ** 2
    {0} ** 3
reductions any
    np.sum({0}, axis={axes}, keepdims={keep})
    np.max({0}, axis={axes}, keepdims={keep})
    np.min({0}, axis={axes}, keepdims={keep})
    np.any({0}, axis={axes}, keepdims={keep})
    np.all({0}, axis={axes}, keepdims={keep})
    np.mean({0}, axis={axes}, keepdims={keep})
    np.var({0}, axis={axes}, ddof={ddof}, keepdims={keep})
    np.std({0}, axis={axes}, keepdims={keep})
    np.sum({0}, axis={axes}, dtype='{dtype}')
    np.prod({0}, axis={axes}, dtype='{wide}')
    np.prod(np.clip({0}, 0, 2), axis={axes}, keepdims={keep})
    np.count_nonzero({0}, axis={axes})
    np.count_nonzero({0} > 0, axis={axes}, keepdims={keep})
    {0}.std()
reductions axes
    {0}.sum(axis={axis}, keepdims={keep})
    {0}.sum(axis={axis})
    {0}.mean(axis={axis}, keepdims={keep})
    {0}.max(axis={axis})
    {0}.min(axis={axis}, keepdims=True)
along axes
    np.argmax({0}, axis={axis})
    np.argmin({0}, axis={axis}, keepdims={keep})
    np.argmax({0})
    np.argmin({0}, axis=None)
    np.cumsum({0}, axis={axis})
    np.cumsum({0})
    np.cumprod(np.clip({0}, 0, 1), axis={axis})
    np.diff({0}, axis={axis})
    np.ediff1d({0})
    np.sort({0}, axis={axis})
    np.sort({0}, axis={axis}, kind='heapsort')
    np.argsort({0}, axis={axis})
    np.average({0}, axis={axis})
along numbers
    np.median({0}, axis={axis})
    np.ptp({0}, axis={axes})
rows axes
    npx.softmax({0})
    npx.softmax({0}, axis={axis})
    npx.softmax({0}, axis={axis}, temperature=2.0)
    npx.log_softmax({0}, axis={axis})
    np.linalg.norm({0}, axis={axis}, keepdims={keep})
    npx.norm({0}, axis={axis})
    {0} / (np.abs({0}).sum(axis={axis}, keepdims=True) + 1)
rows numbers
    {0} - {0}.max(axis=-1, keepdims=True)
    {0} - np.mean({0}, axis=0)
rows axes
    npx.logsumexp({0}, axis={axes}, keepdims={keep})
rows floats vector vector
    npx.layer_norm({0}, {1}, {2}, axis=-1, eps=1e-3)
    npx.batch_norm({0}, {1}, {2}, {2}, np.abs({1}), eps=0.5, fix_gamma=False, axis=-1)
    npx.batch_norm({0}, {1}, {2}, {1}, np.square({2}), eps=0.25, axis=-1)
rows floats vector
    npx.rms_norm({0}, {1}, eps=1e-3)
rows table vector
    npx.group_norm({0}, {1}, {1}, 1, eps=0.5)
rows volume vector
    npx.instance_norm({0}, {1}, {1}, eps=0.5, axis=2)
rows floats into
    npx.masked_softmax({0}, {1} > 0)
    npx.masked_log_softmax({0}, {1} <= 1)
activations any
    npx.gelu({0})
    npx.gelu({0}, approximation='tanh')
    npx.silu({0})
    npx.mish({0})
    npx.digamma(np.abs({0}) + 2.5)
    npx.erfinv(np.clip({0}, -0.75, 0.5))
    npx.softsign({0})
    npx.leaky_relu({0})
    npx.leaky_relu({0}, act_type='elu', slope=1.0)
    npx.leaky_relu({0}, act_type='selu')
    npx.activation({0}, 'softrelu')
    npx.stop_gradient({0})
    npx.cast({0}, '{dtype}')
    np.clip({0}, -0.5, 0.5)
    {0}.clip(min=0)
    {0} == None
    npx.log_sigmoid({0})
    npx.smooth_l1({0})
activations numbers
    np.round({0}, 1)
    np.fix({0})
movement any
    np.asarray({0}, dtype='{dtype}')
    np.array({0}, dtype='{dtype}')
    {0}.T
    {0}.transpose({order})
    {0}[{index}]
    {0}[{index}]
    {0}[{index}]
    {0}.reshape({shape})
    {0}.reshape({shape})
    np.reshape({0}, {shape}, order='F')
    np.ravel({0})
    np.expand_dims({0}, {new})
    np.squeeze({0})
    np.flip({0}, {axes})
    np.broadcast_to({0}, {wider})
    np.broadcast_to({0}, {wider})
    np.tile({0}, {count})
    np.tile({0}, (2, {count}))
    np.atleast_2d({0})
    np.atleast_3d({0})
    {0}.flatten()
    np.copy({0})
    np.ascontiguousarray({0})
    np.pad({0}, {widths})
    np.stack([{0}] * {count}, axis={new})
movement axes
    np.swapaxes({0}, 0, {axis})
    np.moveaxis({0}, {axis}, {axis})
    np.moveaxis({0}, 0, -1)
    np.roll({0}, {shift}, axis={axis})
    np.roll({0}, {shift})
    np.repeat({0}, {count}, axis={axis})
    np.flipud({0})
    np.split({0}, [1], axis={axis})[0]
    np.array_split({0}, 2, axis={axis})[1]
    np.pad({0}, {widths}, mode='{side}')
    {0}[{place}]
    np.delete({0}, 0, axis={axis})
matrices matrix
    np.tril({0}, {k})
    np.triu({0}, {k})
    np.diagonal({0})
    np.diagonal({0}, {k})
    np.trace({0})
    np.diag({0}, {k})
    np.fliplr({0})
    {0} * np.eye({first}, {last}, dtype='{wide}')
matrices line
    np.diag({0}, {k})
    np.tril(np.outer({0}, {0}))
constants axes
    np.zeros_like({0})
    np.ones_like({0})
    np.full_like({0}, 3)
    npx.arange_like({0})
    npx.arange_like({0}, axis={axis})
    np.arange({last}, dtype='{wide}') + {0}
    {0} * np.linspace(0, 1, {last}, dtype='{wide}')
    {0} + np.ones(({last},), dtype='{wide}')
    {0} + np.full((1, {last}), 2, dtype='int32')
    np.tri({last}, {last}, {k}, dtype='{wide}') + {0}
joined axes alike
    np.concatenate([{0}, {1}], axis={axis})
    np.concatenate([{0}, {1}, {0}], axis={axis})
    np.stack([{0}, {1}], axis={new})
    np.hstack([{0}, {1}])
    np.vstack([{0}, {1}])
    np.dstack([{0}, {1}])
    np.column_stack([{0}, {1}])
    np.append({0}, {1}, {axis})
    npx.reshape_like({0}, {1})
beside any broadcasts
    np.broadcast_arrays({0}, {1})[0]
    np.isclose({0}, {1})
    np.where({0} > {1}, {0}, {1})
    {0} * {1} + {0}
    {0} + {1} * {1}
beside axes broadcasts
    ({0} * {1}).sum(axis=-1) + {1}
    ({0} + {1}).sum(axis=-1, keepdims=True) * {1}
    np.max({0} * {1}, axis=0) + {0}
products axes right
    {0} @ {1}
    {0} @ {1}
    {0} @ {1}
    np.matmul({0}, {1})
    np.dot({0}, {1})
    {0} @ {1} + {1}
    {0} @ {1} * {0}
    npx.relu({0} @ {1})
    np.tensordot({0}, {1}, 1)
products line
    np.eye(1, dtype='{wide}') @ {0}[None]
    np.dot({0}[:, None], np.array([[2.0]], dtype='{wide}'))
    np.tensordot(np.array([3.0], dtype='{wide}'), {0}[None], 1)
products axes stacked
    np.dot({0}, {1})
products floats
    {0} @ np.swapaxes({0}, -1, -2)
    np.swapaxes({0}, -1, -2) @ {0}
    np.matmul({0}, {0})
    np.matmul({0}, {0}.T)
    np.einsum('{spec}', {0})
    np.inner({0}, {0})
    np.vdot({0}, {0})
    np.dot({0}, {0}.T)
    np.tensordot({0}, {0}, axes=([-1], [-1]))
    np.kron({0}, np.eye(2, dtype='float32'))
    np.einsum('...i,...i->...', {0}, {0})
products matrix
    np.einsum('ij,ij,ij->j', {0}, {0} > 0, {0}.astype('{dtype}'))
    np.einsum('ij,ij->i', {0}, {0})
    np.einsum('ij,kj->ik', {0}, {0})
    np.einsum('ij,j->i', {0}, {0}[0])
    np.einsum('ij,ik->jk', {0}, {0})
products stack stack
    npx.batch_dot({0}, {0}, transpose_b=True)
    np.einsum('bij,bkj->bik', {0}, {1})
products floats weight
    npx.fully_connected({0}, {1}, flatten=False)
    npx.relu(npx.fully_connected({0}, {1}, flatten=False))
products matrix weight units
    npx.fully_connected({1}, {0}, {2})
products line line
    np.outer({0}, {1})
picked axes any
    {0}[({1} > 0).astype('{whole}')]
    {0}[..., ({1} > 0).astype('int64')]
    {0}[:, ({1} > 0).astype('int64')]
    {0}[({1} > 0).astype('int64'), ({1} <= 0).astype('int64')]
    {0}[({1} > 0).astype('int64'), None, ..., ({1} <= 0).astype('int64')]
    {0}[({1} > 0).astype('{whole}'), np.int64(0)]
    {0}[np.uint8(0), ({1} > 0).astype('int8')]
    np.take({0}, ({1} > 0).astype('{whole}') - 1, axis={axis}, mode='{mode}')
    np.take({0}, {1}, mode='{mode}')
    np.take({0}, {1}, axis={axis}, mode='{mode}')
    {0}[np.argmax({1}, axis=-1)]
picked axes
    {0}[np.array([0, -1], dtype='int64')]
    {0}[np.arange({first}, dtype='int64')[::-1]]
    np.take_along_axis({0}, np.argsort({0}, axis={axis}), {axis})
    np.take_along_axis({0}, np.argmax({0}, axis=0, keepdims=True), 0)
    npx.pick({0}, ({0} > 0).sum(axis=0), axis=0)
    npx.pick({0}, ({0} > 0).sum(axis=-1), keepdims={keep})
    npx.one_hot({0} > 0, {count})
    npx.one_hot(np.argmax({0}, axis=-1), {last})
    npx.topk({0}, k={count})
    npx.topk({0}, k={count}, ret_typ='value', axis={axis})
    npx.topk({0}, k=1, ret_typ='mask')
picked matrix any
    npx.embedding(({1} > 0).astype('{whole}'), {0})
picked table
    npx.sequence_mask({0}, ({0} > 0).sum(axis=0), True)
    npx.sequence_reverse({0}, ({0} > 0).sum(axis=0), True)
    npx.sequence_last({0}, ({0} > 0).sum(axis=0), True)
draws any
    {0} + np.random.uniform(-1, 1, {sizes})
    np.random.uniform(size={sizes}, dtype='{wide}') > 0.5
    {0} * np.random.normal(0, 1, {sizes})
    {0} - np.random.exponential(1.0, {sizes}, dtype='{wide}')
    {0} + np.random.randint(0, 5, {sizes})
    np.random.bernoulli(0.5, size={sizes}) * {0}
    np.random.gamma(2.0, 1.0, {sizes}) + {0}
    np.random.poisson(2.0, {sizes}) + {0}
    np.random.binomial(4, 0.5, {sizes}) - {0}
    np.random.multinomial(5, [0.5, 0.25, 0.25], {sizes})
    npx.dropout({0}, 0.4, mode='always')
draws axes
    np.random.choice({last}, {sizes}) + {0}
    {0} + np.random.permutation({last})
    {0}[np.random.permutation({first})]
    npx.dropout({0}, 0.5, mode='always', axes=(0,))
solved square
    np.linalg.det({0} + np.eye({last}, dtype='{wide}') * 9)
    np.linalg.inv({0} / 9 + np.eye({last}, dtype='{wide}'))
    np.linalg.cholesky({0} / 9 @ np.swapaxes({0} / 9, -1, -2) + np.eye({last}, dtype='{wide}'))
    np.linalg.qr({0} / 9 + np.eye({last}, dtype='{wide}'))[0]
    np.linalg.qr({0} / 9 + np.eye({last}, dtype='{wide}'), 'r')
    np.linalg.eigvalsh({0} / 9 + np.swapaxes({0} / 9, -1, -2))
    np.linalg.eigh({0} / 9 + np.swapaxes({0} / 9, -1, -2))[0]
solved square solved
    np.linalg.solve({0} / 9 + np.eye({last}, dtype='{wide}'), {1})
    npx.solve_triangular({0} / 9 + np.eye({last}, dtype='{wide}') * 2, {1}, lower=True)
    npx.solve_triangular({0} / 9 + np.eye({last}, dtype='{wide}') * 2, {1})
writes any
    {0}[{index}] = {number}
    {0}[...] = {number}
    {0} += {number}
    {0} *= 2
    {0}[{index}] += 1
    {0}[{index}] *= {number}
writes axes
    {0}[{place}] = 1
    {0}[:1] -= 1
    {0}[[{place}]] = {number}
    {0}[np.array([{place}, {place}])] *= {number}
    {0}[{0} > 1] = {number}
writes any into
    {0} += {1}
    {0} -= {1}
    {0} *= {1}
    {0}[...] = {1}
    np.add({0}, {1}, out={0})
    np.maximum({0}, {1}, out={0})
writes axes into
    {0}[:] = {1}
    {0}[::-1] = {1}
    {0}[-1:] = {1}
    {0}[0] = {1}
"""


# -- what operands must be like ------------------------------------------------------------------------------


def broadcasts(value: Value, first: Value) -> bool:
    """Whether two values can stand on the sides of an operator."""
    try:
        numpy.broadcast_shapes(value.shape, first.shape)
    except ValueError:
        return False
    return True


def _into(value: Value, first: Value) -> bool:
    return broadcasts(value, first) and numpy.broadcast_shapes(value.shape, first.shape) == first.shape


def _right(value: Value, first: Value) -> bool:
    return value.ndim > 0 and value.shape[-2 if value.ndim > 1 else 0] == first.shape[-1]


def _square(value: Value) -> bool:
    return value.ndim >= 2 and 0 < value.shape[-1] == value.shape[-2] <= 8 and value.dtype.name in WIDE


# name -> whether (an operand, the first operand) will do
FITS: dict[str, Callable[[Value, Value], bool]] = {
    "any": lambda value, first: True,
    "numbers": lambda value, first: value.ndim > 0 and value.dtype != bool,
    # NumPy's powers of a bool that is no array are int64, those of arrays of bools int8, also where they have no axes.
    "powers": lambda value, first: value.ndim > 0 or value.dtype != bool,
    "floats": lambda value, first: value.ndim > 0 and value.dtype.kind == "f",
    "axes": lambda value, first: value.ndim > 0,
    "line": lambda value, first: value.ndim == 1,
    "matrix": lambda value, first: value.ndim == 2,
    "stack": lambda value, first: value.ndim == 3,
    "table": lambda value, first: value.ndim == 2 and value.dtype.kind == "f",
    "volume": lambda value, first: value.ndim == 3 and value.dtype.kind == "f",
    "broadcasts": broadcasts,
    "into": _into,
    "alike": lambda value, first: value.shape == first.shape,
    "vector": lambda value, first: value.shape == first.shape[-1:],
    "right": _right,
    "stacked": lambda value, first: value.ndim > 2 and _right(value, first),
    "weight": lambda value, first: value.ndim == 2 and value.shape[1] == first.shape[-1],
    "units": lambda value, first: value.ndim == 1 and value.shape == first.shape[:1],
    "square": lambda value, first: _square(value),
    "solved": lambda value, first: 0 < value.ndim < 3 and value.shape[0] == first.shape[-1],
}


# -- parameters ----------------------------------------------------------------------------------------------


def _axis(pick: random.Random, value: Value) -> int:
    return pick.randrange(-value.ndim, value.ndim)


def _some_axes(pick: random.Random, value: Value) -> Any:
    if not value.ndim:
        return pick.choice((None, ()))
    some = tuple(n for n in range(value.ndim) if pick.random() < 0.5)
    return pick.choice((None, _axis(pick, value), _axis(pick, value), -1, some))


def _order(pick: random.Random, value: Value) -> tuple[int, ...]:
    return tuple(pick.sample(range(value.ndim), value.ndim))


_SLICES = (
    ":",
    ":",
    "::-1",
    "1:",
    ":-1",
    "::2",
    "1::2",
    "::-2",
    "-2::-1",
    "-9::-1",
    "9::-1",
    "9:",
    "0",
    "-1",
    ":1",
    "-1:",
    "None, :",
)


def _index(pick: random.Random, value: Value) -> str:
    items = [pick.choice(_SLICES) for _ in range(pick.randint(0, value.ndim))]
    if not items:
        return pick.choice(("...", "None", "..., None", "None, ..., None"))
    if len(items) < value.ndim and pick.random() < 0.4:
        items.insert(0, "...")
    return ", ".join([*items, "None"] if pick.random() < 0.15 else items)


def _shape(pick: random.Random, value: Value) -> tuple[int, ...]:
    """Another shape of as many elements."""
    shape = value.shape
    forms: list[tuple[int, ...]] = [shape[::-1], (1, *shape), (*shape, 1)]
    if value.size:
        forms += [(-1,), (1, -1), (-1, 1), *((n, -1) for n in (2, 4, 8) if value.size % n == 0)]
    if value.ndim > 1 and value.size:
        forms += [(shape[0], -1), (shape[0] * shape[1], *shape[2:]), (-1, shape[0])]
    return pick.choice(forms)


def _wider(pick: random.Random, value: Value) -> tuple[int, ...]:
    """A shape to which the value can be broadcast."""
    last = value.shape[-1] if value.ndim else 3
    spread = tuple(last if n == 1 and pick.random() < 0.7 else n for n in value.shape)
    return (pick.choice((1, 2, last)), *spread) if pick.random() < 0.6 else spread


def _spec(pick: random.Random, value: Value) -> str:
    letters = "ijkl"[: value.ndim]
    kept = pick.sample(letters, pick.randint(0, len(letters)))
    return f"{letters}->{''.join(kept)}"


# name -> a text that suits the first operand
PARAMETERS: dict[str, Callable[[random.Random, Value], Any]] = {
    "axis": _axis,
    "axes": _some_axes,
    "keep": lambda pick, value: pick.random() < 0.5,
    "order": _order,
    "index": _index,
    "shape": _shape,
    "wider": _wider,
    "spec": _spec,
    "widths": lambda pick, value: [(pick.choice((0, 0, 1)), pick.choice((0, 1))) for _ in value.shape],
    "place": lambda pick, value: pick.choice((0, -1, value.shape[0] // 2)),
    "dtype": lambda pick, value: pick.choice(DTYPES),
    "wide": lambda pick, value: pick.choice(WIDE),
    "whole": lambda pick, value: pick.choice(("int32", "int64", "int64", "uint8", "int8", "float32")),
    "count": lambda pick, value: pick.choice((1, 2, 3)),
    "shift": lambda pick, value: pick.choice((-2, -1, 1, 2, 5)),
    "number": lambda pick, value: pick.choice(("2", "3", "0.5", "-1", "1.5", "0")),
    "first": lambda pick, value: value.shape[0],
    "last": lambda pick, value: value.shape[-1],
    "new": lambda pick, value: pick.randrange(value.ndim + 1),
    "mode": lambda pick, value: pick.choice(("clip", "wrap")),
    "side": lambda pick, value: pick.choice(
        ("edge", "symmetric", "wrap", "reflect")[: 4 if 1 not in value.shape else 3]
    ),
    "sizes": lambda pick, value: value.shape if pick.random() < 0.7 else value.shape[-1:],
    "ddof": lambda pick, value: pick.choice((0, 0, 1)),
    "k": lambda pick, value: pick.choice((0, 0, 1, -1, 2)),
}


# -- all forms -----------------------------------------------------------------------------------------------


def _listed() -> list[Form]:
    forms: list[Form] = []
    group, fits = "", [""]
    for line in _TABLE.strip().splitlines():
        if line[0] != " ":
            group, *fits = line.split()
        else:
            forms.append(Form(group, line.strip(), tuple(fits)))
    return forms


_OPERATORS = ("+", "-", "*", "<", "<=", ">", ">=", "==", "!=", "&", "|", "^")
# Rows whose operands must be special, or that have no function of their name -> a call.
_OTHERWISE = {
    "left_shift": "{0} << (np.abs({1}) % 4)",
    "right_shift": "{0} >> (np.abs({1}) % 4)",
    "power": "np.power(np.abs({0}) + 0.5, {1})",
    "divide": "{0} / (np.abs({1}) + 0.5)",
    "floor_divide": "{0} // (np.abs({1}) + 1)",
    "remainder": "{0} % (np.abs({1}) + 1)",
    "fmod": "np.fmod({0}, np.abs({1}) + 1)",
    "cast": "{0}.astype('{dtype}')",
    "gammaln": "npx.gammaln(np.clip({0}, 2.5, 9.0))",  # beside a zero, rounding would decide
    "reciprocal": "np.reciprocal(np.abs({0}) + 0.5)",
    "relu": "npx.relu({0})",
}


def _call(row: Operator) -> Form:
    """A call of a pointwise row, its operand moved into the domain of the row's example."""
    example, count = row.examples[0], len(row.examples[0].shapes)
    operands = [f"{{{n}}}" for n in range(count)]
    if count == 1 and (example.low, example.high) != (-2.0, 2.0):
        operands = [f"np.clip({{0}}, {example.low}, {example.high})"]
    text = f"{'np' if hasattr(np, row.name) else 'npx'}.{row.name}({', '.join(operands)})"
    return Form(f"pointwise{count}", _OTHERWISE.get(row.name, text), ("any", *["broadcasts"] * (count - 1)))


FORMS: tuple[Form, ...] = (
    *(_call(r) for r in TABLE.values() if isinstance(r.lowering, Pointwise) and r.examples),
    *(Form("pointwise2", f"{{0}} {operator} {{1}}", ("any", "broadcasts")) for operator in _OPERATORS),
    *_listed(),
)
