"""Whether what a rule gives is what torch gives, in this call."""

from __future__ import annotations

import numpy
import torch

from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.closeness import is_close
from blockfuse.frontends.torch.tensors import plain_data

# dtype -> how far an element may be off, relative to itself and to the largest one of the result: two sums of many numbers
# in different orders
TOLERANCES = {"float16": (4e-3, 2e-3), "float32": (1e-4, 1e-5), "float64": (1e-10, 1e-12)}


def disagreement(tensor: torch.Tensor, array: object, may_follow: bool) -> str:
    """What differs, or an empty text; then the tensor holds the array's elements.

    may_follow: whether they may be written into the tensor, where they are equal but for rounding.
    """
    if not isinstance(array, ndarray):
        return f"a {type(array).__name__}"
    try:
        theirs = plain_data(tensor)
    except (TypeError, RuntimeError) as error:
        return str(error)
    ours = array._data
    if ours.dtype != theirs.dtype:
        return f"dtype {ours.dtype}, not {theirs.dtype}"
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, not {theirs.shape}"
    if numpy.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
        return ""
    if not may_follow or not is_close(ours, theirs, TOLERANCES):
        return "elements"
    numpy.copyto(theirs, ours)
    return ""
