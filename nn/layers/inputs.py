"""What layers say of an input that is no array."""

from __future__ import annotations

from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.nn.block import Block


def array_for(block: Block, x: Any) -> ndarray:
    """``x``, which must be an array. Raises TypeError with the layer, its place in the net and what was found."""
    if not isinstance(x, ndarray):
        kind = type(x).__name__
        raise TypeError(f"{block._label} expects an array; found {kind}: write {_CURES.get(kind, _CURE)}")
    return x


_CURE = "np.array(values)"
_CURES = {  # type of the input -> what to write
    "DataFrame": "np.array(frame.to_numpy())",
    "Series": "np.array(series.to_numpy())",
    "Tensor": "np.array(tensor.detach().cpu().numpy())",
}
