"""Weights of products in fewer bits: how they are rounded, and what the bits mean.

NOTE [narrow weights]
Where memory is the limit, a product takes as long as its weight is read. So weights that are packed ahead may be held in
fewer bits; what reads them widens them to float32 in registers, and all else, also each sum, stays float32.

bf16: the upper half of a float32, as uint16 (NumPy has no such dtype), rounded to the nearest, from the middle to the even
one. It has the exponents of float32: only what lies within half a step of the largest float32 becomes infinite; infinities
and nan stay what they are. A normal number is off by 2^-8 of itself at most.

int8: whole numbers from -127 to 127, times one scale for each column of the product, a 127th of its largest weight. So each
weight is off by half a scale at most, 1/254 of the largest one of its column. The sum of products with these numbers is
multiplied by the scale. A column of zeros is exact. One that holds an infinity or nan has no scale: this is nan, and so is
all that it gives.

Panels of bfloat16 of more than one column have their two halves interleaved, as ``interleaved`` says: a processor then
needs one load for two vectors, and moves nothing between lanes. Where it multiplies matrices (NOTE [matrix tiles]) two steps
of the inner axis are one word instead, as ``paired`` says.
"""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.ir.lowering import Host
from blockfuse.ir.operator import Example, row
from blockfuse.ir.types import TensorType

PAIRED_STEPS = 32  # of the inner axis that a processor's matrix registers take at a time
_PREPARED = Host("prepares a weight, once for each version of it")
_QUIET = 0x40  # the bit of the upper half that keeps a nan from looking like an infinity
_STEPS = 127  # of int8 on either side of 0
_SMALLEST = numpy.finfo("float32").tiny  # a scale below has lost bits of its own


def interleaved(panels: numpy.ndarray) -> numpy.ndarray:
    """The columns of each panel in the order 0, n, 1, n + 1, ..., where n is half of them."""
    return _halves_exchanged(panels, 2)


def _halves_exchanged(panels: numpy.ndarray, rows: int) -> numpy.ndarray:
    """The last axis, seen as ``rows`` rows, read by columns."""
    *rest, panel = panels.shape
    if panel == 1:
        return panels
    turned = numpy.swapaxes(panels.reshape(*rest, rows, panel // rows), -1, -2)
    return numpy.ascontiguousarray(turned).reshape(panels.shape)


interleave = row(
    "interleave",
    interleaved,
    _PREPARED,
    type_rule=lambda panels: panels,
    examples=(Example(((2, 3, 4),)), Example(((2, 3, 1),))),
)

# -- bfloat16 --------------------------------------------------------------------------------------------------


def paired(panels: numpy.ndarray) -> numpy.ndarray:
    """Panels (..., inner, panel) of bfloat16 as words: the lower half is an even step, the upper half the next one.

    Steps beyond the inner axis, up to a multiple of ``PAIRED_STEPS``, are zeros.
    """
    *rest, inner, panel = panels.shape
    whole = numpy.zeros((*rest, 2 * paired_words(inner), panel), "uint32")
    whole[..., :inner, :] = panels
    words: numpy.ndarray = whole[..., ::2, :] | whole[..., 1::2, :] << 16
    return words


def paired_words(inner: int) -> int:
    """Words of one column of ``paired``."""
    return -(-inner // PAIRED_STEPS) * (PAIRED_STEPS // 2)


def _paired_type(panels: TensorType) -> TensorType:
    *rest, inner, panel = panels.shape
    return TensorType((*rest, paired_words(inner), panel), numpy.dtype("uint32"))


pair_steps = row(
    "pair_steps",
    paired,
    _PREPARED,
    type_rule=_paired_type,
    examples=tuple(Example(((2, inner, 4),), high=1 << 16, integers=(0,)) for inner in (3, 33)),
)


def _bits(weight: numpy.ndarray) -> numpy.ndarray:
    value = numpy.ascontiguousarray(weight, "float32").reshape(weight.shape)
    bits = value.view("uint32")
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return numpy.where(numpy.isnan(value), (bits >> 16) | _QUIET, rounded).astype("uint16")


bfloat16_bits = row(
    "bfloat16_bits",
    _bits,
    _PREPARED,
    type_rule=lambda weight: TensorType(weight.shape, numpy.dtype("uint16")),
    examples=(Example(((3, 4),)),),
)


def _from_bits(bits: numpy.ndarray) -> numpy.ndarray:
    return (bits.astype("uint32") << 16).view("float32")


def widened(panels: numpy.ndarray) -> numpy.ndarray:
    """The numbers that panels stand for, in the order of columns. Those in pairs may have more steps, of zeros."""
    if panels.dtype == numpy.uint32:
        *rest, words, panel = panels.shape
        halves = numpy.stack((panels & 0xFFFF, panels >> 16), axis=-2)
        return _from_bits(halves.reshape(*rest, 2 * words, panel))
    if panels.dtype != numpy.uint16:
        return panels
    return _from_bits(_halves_exchanged(panels, max(1, panels.shape[-1] // 2)))


def widened_dtype(dtype: numpy.dtype) -> numpy.dtype:
    """Of ``widened``."""
    return numpy.dtype("float32") if dtype in (numpy.uint16, numpy.uint32) else dtype


def lines_of_panel(inner: int, dtype: str) -> int:
    """How many rows of columns a panel has in memory."""
    return paired_words(inner) if dtype == "uint32" else inner


# -- int8 ------------------------------------------------------------------------------------------------------
# axis: the one that a product sums over.


def _scales(weight: numpy.ndarray, axis: int) -> numpy.ndarray:
    largest = numpy.abs(weight.astype("float32")).max(axis=axis, initial=0.0)
    scales = numpy.maximum(largest / numpy.float32(_STEPS), _SMALLEST)
    return numpy.where(numpy.isfinite(scales), scales, numpy.float32("nan")).astype("float32")


def _codes(weight: numpy.ndarray, axis: int) -> numpy.ndarray:
    scales = numpy.expand_dims(_scales(weight, axis), axis)
    steps = numpy.rint(weight.astype("float32") / scales)
    return numpy.where(numpy.isnan(scales), 0, numpy.clip(steps, -_STEPS, _STEPS)).astype("int8")


def _scales_type(weight: TensorType, axis: int) -> TensorType:
    rest = list(weight.shape)
    del rest[axis]
    return TensorType(tuple(rest), numpy.dtype("float32"))


int8_scales = row(
    "int8_scales",
    _scales,
    _PREPARED,
    type_rule=_scales_type,
    examples=(Example(((3, 4),), {"axis": 1}), Example(((2, 3, 4),), {"axis": 1})),
)
int8_codes = row(
    "int8_codes",
    _codes,
    _PREPARED,
    type_rule=lambda weight, axis: TensorType(weight.shape, numpy.dtype("int8")),
    examples=(Example(((3, 4),), {"axis": 1}), Example(((2, 3, 4),), {"axis": 1})),
)

# -- what they amount to ---------------------------------------------------------------------------------------

NARROW = ("bf16", "int8")  # the forms of a weight that is not float32


def _rounded(weight: numpy.ndarray, form: str, axis: int) -> numpy.ndarray:
    if form == "bf16":
        return _from_bits(_bits(weight))
    scales: numpy.ndarray = numpy.expand_dims(_scales(weight, axis), axis)
    return _codes(weight, axis) * scales


def _rounded_type(weight: TensorType, form: str, axis: int) -> TensorType:
    return TensorType(weight.shape, numpy.dtype("float32"))


# A weight, as float32, with the values that it has in a form of ``NARROW``. Products of it read that form.
rounded: Any = row(
    "rounded",
    _rounded,
    _PREPARED,
    type_rule=_rounded_type,
    examples=(
        Example(((3, 4),), {"form": "bf16", "axis": 1}),
        Example(((3, 4),), {"form": "int8", "axis": 1}),
    ),
)
