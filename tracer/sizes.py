"""What a recorded call learned of the sizes of arrays in Python.

NOTE [sizes that Python saw]
A program for every batch size stands for calls that were never recorded, so nothing in Python may have looked at the
size. The witness sees every Python function that starts, those of ``ndarray`` that tell a size among them. User code
that calls one has *measured* the array. So has library code, unless it is in ``AGNOSTIC``: functions that were read for
this, and that give for all sizes from 2 on the same operators with the same attributes, but for leading sizes in
``shape`` and for ``Extent``. An error that depends on the size could be caught, so a function that handles exceptions
counts as having looked as well.
"""

from __future__ import annotations

import dis
import types
from functools import lru_cache

from blockfuse.array.ndarray import ndarray

MEASURES = frozenset(
    [vars(ndarray)[name].fget.__code__ for name in ("shape", "size", "nbytes")]
    + [f.__code__ for f in (ndarray.__len__, ndarray.__iter__)]
)

AGNOSTIC: dict[str, frozenset[str]] = {  # file -> its functions
    "array/creation.py": frozenset({"full_like"}),
    "array/indexing.py": frozenset({"get"}),
    # What these tell is measured where they are called; the number of axes is none of it.
    "array/ndarray.py": frozenset(
        {f"ndarray.{n}" for n in ("ndim", "size", "nbytes", "__len__", "__iter__")}
    ),
    "array/npx.py": frozenset(
        {"fully_connected", "batch_flatten", "layer_norm", "softmax", "batch_dot", "pick"}
    ),
    "array/products.py": frozenset({"_check_inner", "einsum"}),
    "array/selecting.py": frozenset({"take"}),
    "array/shaping.py": frozenset(
        {
            *("reshape", "squeeze", "concatenate", "stack", "split", "array_split", "_part"),
            *("broadcast_to", "repeat"),
        }
    ),
    "nn/basic.py": frozenset(
        {
            *("Dense.infer_shape", "Dense._features", "Dense.forward"),
            *("LayerNorm.infer_shape", "LayerNorm.forward", "Flatten.forward"),
        }
    ),
    "tracer/recorder.py": frozenset({"Recorder.assign"}),
}


@lru_cache(maxsize=4096)
def is_agnostic(code: types.CodeType) -> bool:
    """Whether ``code``, which is the library's, may look at sizes (a set comprehension may be a frame of its own)."""
    file = "/".join(code.co_filename.rsplit("/", 2)[1:])
    return code.co_qualname.partition(".<locals>")[0] in AGNOSTIC.get(file, ())


@lru_cache(maxsize=4096)
def handles_exceptions(code: types.CodeType) -> bool:
    """Whether a function has an ``except``, ``finally`` or ``with``."""
    return any(i.opname == "PUSH_EXC_INFO" for i in dis.get_instructions(code))
