"""What native code reads of tensors of another library: where the fields lie that tell of one.

NOTE [tensors in native code]
A Python object points to the library's own object of the tensor, that to the memory it lies in, and where gradients were
ever asked of, to what is noted of them. Only who made the library promises where fields are; so they are looked for in
tensors made for it, and proven by others (``frontends/torch/tensor_layout.py``). Where that fails there is no layout, and
Python asks the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy

MAX_AXES = 5  # of tensors whose sizes lie in the tensor itself


@dataclass(frozen=True)
class TensorLayout:
    """Offsets in bytes, of words but where it says otherwise; ``plain`` is a value."""

    inner: int  # in a Python object, of the pointer to the tensor; those that follow are in the tensor
    kind: int  # of what tells of which kind a tensor is: where it lies, whether elements mean what they say
    axes: int  # of how many axes there are
    sizes: int  # of the first of their sizes
    strides: int  # of the first of their strides, in elements
    before: int  # of how many elements lie in its memory before the first
    dtype: int  # of 16 bits, which tell the dtype
    storage: int  # of the pointer to the memory's object
    data: int  # in that object, of the pointer to the memory
    meta: int  # of the pointer to what is noted of gradients, null where nothing is; those that follow are there
    gradient: int  # of a byte, whether they are wanted
    history: int  # of the pointer to what the tensor was computed by, null where nothing follows
    plain: int  # the kind of tensors that lie in the processor's memory as they say

    def words(self) -> list[int]:
        """In the order of ``LAYOUT_WORDS``."""
        return list(astuple(self))


LAYOUT_WORDS = tuple(field.name for field in fields(TensorLayout))
# behind those of a layout, what a tensor should be; then pairs of the offset and the value of more words
PLACE_WORDS = (*LAYOUT_WORDS, "known_data", "known_dtype", "known_gradient", "pairs")


@dataclass(frozen=True)
class TensorPlace:
    """Where a plain tensor lies, and how."""

    data: int  # address of the memory that it lies in
    before: int  # as in the layout, as those that follow
    dtype: int
    sizes: Sequence[int]
    strides: Sequence[int]
    wants_gradient: bool

    def words(self, layout: TensorLayout) -> numpy.ndarray:
        """For native code to compare with."""
        pairs = [(layout.kind, layout.plain), (layout.axes, len(self.sizes)), (layout.before, self.before)]
        for first, values in ((layout.sizes, self.sizes), (layout.strides, self.strides)):
            pairs += [(first + 8 * axis, value) for axis, value in enumerate(values)]
        known = [self.data, self.dtype, int(self.wants_gradient), len(pairs)]
        return numpy.array([*layout.words(), *known, *(w for pair in pairs for w in pair)], numpy.int64)
