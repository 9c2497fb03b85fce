"""Images made larger by whole factors."""

from __future__ import annotations

from typing import Any

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.joining import concatenate
from blockfuse.array.functions.shaping import broadcast_to, reshape
from blockfuse.array.functions.windows import deconvolution
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import pointwise
from blockfuse.ir.operators.windows import added

_SAMPLE_TYPES = ("nearest", "bilinear")
_MODES = ("concat", "sum")


@size_agnostic
def upsampling(
    *data: ArrayLike,
    scale: int,
    sample_type: str = "nearest",
    num_filter: int = 0,
    multi_input_mode: str = "concat",
    **_hints: Any,
) -> ndarray:
    """Images with both axes ``scale`` times as long.

    data: (batch, channels, height, width), one or several.
    sample_type: 'nearest' repeats elements. Several images become as large as the first one does, and stand side by
    side along the channels ('concat'), or are added ('sum'). 'bilinear' takes an image and a weight (channels, 1, k, k)
    with ``k = 2 * scale - scale % 2``, and is a transposed convolution of each channel; with the weight of
    ``init.Bilinear()`` (Long, Shelhamer and Darrell 2015, section 3.3) it interpolates.
    num_filter: the channels; checked.
    multi_input_mode: 'concat' or 'sum', for several images.

    Returns (batch, channels, height * scale, width * scale) in the dtype that all promote to. Raises ShapeError where
    shapes do not fit, UsageError for other words.

    >>> from blockfuse import np, npx
    >>> npx.upsampling(np.array([[[[1, 2]]]]), scale=2)
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """
    if sample_type not in _SAMPLE_TYPES or multi_input_mode not in _MODES or scale < 1:
        raise UsageError(
            f"upsampling by scale={scale!r}, sample_type={sample_type!r}, multi_input_mode={multi_input_mode!r}; there are "
            f"scales from 1 on, {' and '.join(_SAMPLE_TYPES)}, {' and '.join(_MODES)}"
        )
    arrays = [asarray(x) for x in data]
    if not arrays or any(x.ndim != 4 for x in arrays):
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ShapeError(f"upsampling expects images of 4 axes, NCHW; found {shapes or 'none'}")
    if sample_type == "bilinear":
        return _bilinear(arrays, scale, num_filter)
    sizes = tuple(n * scale for n in arrays[0].shape[2:])
    large = [_repeated(x, sizes) for x in arrays]
    return added(large) if multi_input_mode == "sum" else concatenate(large, axis=1)


@size_agnostic
def _bilinear(arrays: list[ndarray], scale: int, num_filter: int) -> ndarray:
    if len(arrays) != 2:
        raise UsageError(f"bilinear upsampling takes an image and a weight; found {len(arrays)} arrays")
    x, weight = arrays
    channels, k = x.shape[1], 2 * scale - scale % 2
    if weight.shape != (channels, 1, k, k) or num_filter not in (0, channels):
        raise ShapeError(
            f"bilinear upsampling of {channels} channels by {scale} takes a weight of shape {(channels, 1, k, k)}; found "
            f"{weight.shape}, num_filter={num_filter}"
        )
    return deconvolution(x, weight, stride=scale, pad=scale // 2, num_group=channels)


@size_agnostic
def _repeated(x: ndarray, sizes: tuple[int, ...]) -> ndarray:
    """Each element as often along both axes as makes them ``sizes``."""
    batch, channels, height, width = x.shape
    if 0 in (height, width) or any(n % m for n, m in zip(sizes, (height, width), strict=True)):
        raise ShapeError(
            f"upsampling brings all images to {sizes}, which is no multiple of {(height, width)}"
        )
    down, across = sizes[0] // height, sizes[1] // width
    apart = reshape(x, (batch, channels, height, 1, width, 1))
    wide = broadcast_to(apart, (batch, channels, height, down, width, across))
    result: ndarray = pointwise.cast(
        reshape(wide, (batch, channels, *sizes)), dtype=str(x.dtype)
    )  # own memory
    return result
