"""What rounding may explain: which operators round differently when compiled, and how far that carries.

NOTE [rounding]
A compiled sum may be taken in another order, and a compiled ``exp`` is not NumPy's: such results agree to a few units
in the last place. What becomes of these units depends on the computation. So a call is repeated eagerly with noise:
operands and results of these operators are disturbed in their last bits. A difference is a fault if it is far outside
of the spread of a few such calls; if one of them takes another way, rounding decides the way, and nothing can be said.
"""

from __future__ import annotations

import re
from typing import Any

import numpy

from blockfuse.array.eager import Eager, data_of
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.lowering import Composite, Contraction, Elimination, Pointwise, Reduction
from blockfuse.ir.operator import Operator

NOISES = 6  # noisy calls before a difference is called a fault
SPREADS = 32.0  # how far outside of their spread it must be
NOISE_ULPS = 2.0  # units in the last place
# calls in expressions
_ROUNDED = re.compile(r"\b(?!select|absolute|abs|sqrt|floor|ceil|trunc|rint)[a-z]\w*\(")
_EXACT = ("max", "min", "any", "all", "count_nonzero", "full", "argmax", "argmin")
_INEXACT = ("power", "remainder", "fmod", "floor_divide")


def rounds_alike(operator: Operator, operands: tuple[Any, ...]) -> bool:
    """Whether the compiled operator gives the very bits that NumPy gives."""
    lowering = operator.lowering
    if not isinstance(lowering, Pointwise | Reduction | Contraction | Elimination | Composite):
        return True
    if operator.random or operator.name in _EXACT:
        return True
    if isinstance(lowering, Pointwise):
        return operator.name not in _INEXACT and not _ROUNDED.search(lowering.expression)
    arrays = [numpy.asarray(data_of(o)) for o in operands]
    if all(a.dtype.kind in "biu" for a in arrays):
        return not isinstance(lowering, Composite | Elimination)  # which compute with floats
    return operator.name == "sum" and all(_sums_exactly(a) for a in arrays)


def _sums_exactly(values: numpy.ndarray) -> bool:
    """Whether float32 holds every partial sum of ``values``, in any order."""
    with numpy.errstate(all="ignore"):
        scaled = values.astype("float64") * 256
        whole = bool(numpy.all(scaled == numpy.rint(scaled)))
        return values.dtype != "float16" and whole and bool(numpy.abs(scaled).sum() < 2**23)


class Repeating(Eager):
    """Computes as eager does, and lets no block inside of the call run compiled."""

    recording = True


class Noisy(Repeating):
    """Computes with operands and results disturbed wherever a compiled operator may round differently."""

    def __init__(self, seed: int) -> None:
        self._signs = numpy.random.default_rng(seed)

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        if rounds_alike(operator, operands):
            return super().apply(operator, operands, attrs)
        result = super().apply(operator, tuple(self._disturbed(o) for o in operands), attrs)
        return self._disturbed(result) if result._data.base is None else result

    def _disturbed(self, value: Any) -> Any:
        data = value._data if isinstance(value, ndarray) else value
        if not isinstance(data, numpy.ndarray) or data.dtype.kind != "f":
            return value
        width = NOISE_ULPS * float(numpy.finfo(data.dtype).eps)
        noise = self._signs.choice([-width, width], data.shape)
        with numpy.errstate(all="ignore"):
            moved = numpy.asarray(data + data * noise).astype(data.dtype)
        return ndarray(
            numpy.where(numpy.isfinite(moved), moved, data)
        )  # infinities, and the largest numbers, stay


PIECE_ELEMENTS = 1 << 18  # compared at a time: large results must not be copied whole


def distance(found: numpy.ndarray, wanted: numpy.ndarray) -> float:
    """The largest difference of two arrays of one type; infinite where truths or whole numbers differ, or one is nan."""
    if wanted.dtype.kind != "f":
        return 0.0 if numpy.array_equal(found, wanted) else float("inf")
    a, b = found.reshape(-1), wanted.reshape(-1)
    pieces = (slice(n, n + PIECE_ELEMENTS) for n in range(0, b.size, PIECE_ELEMENTS))
    return max((_distance(a[piece], b[piece]) for piece in pieces), default=0.0)


def _distance(found: numpy.ndarray, wanted: numpy.ndarray) -> float:
    with numpy.errstate(all="ignore"):
        x, y = found.astype("float64"), wanted.astype("float64")
        apart = numpy.where((x == y) | (numpy.isnan(x) & numpy.isnan(y)), 0.0, numpy.abs(x - y))
    return float(numpy.where(numpy.isnan(apart), numpy.inf, apart).max(initial=0.0))


def largest(value: numpy.ndarray) -> float:
    """The largest finite element, without its sign."""
    flat = value.reshape(-1)
    pieces = (flat[n : n + PIECE_ELEMENTS] for n in range(0, flat.size, PIECE_ELEMENTS))
    return max((float(numpy.abs(p[numpy.isfinite(p)]).max(initial=0.0)) for p in pieces), default=0.0)
