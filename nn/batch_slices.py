"""A batch in slices, one for each device, as Gluon's training loops write it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from blockfuse.array.arguments import one_axis
from blockfuse.array.devices import Device, check_device
from blockfuse.array.functions.creation import asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError, UsageError


def split_data(data: Any, num_slice: int, batch_axis: int = 0, even_split: bool = True) -> list[ndarray]:
    """The array in ``num_slice`` slices along an axis, which share its memory and keep its dtype.

    data: an array of blockfuse or NumPy, or lists of numbers. batch_axis: the axis that is cut.
    even_split: raise ShapeError where sizes would differ; otherwise the first slices are larger by one.

    >>> from blockfuse import gluon, np
    >>> [part.shape for part in gluon.utils.split_data(np.zeros((5, 2)), 2, even_split=False)]
    [(3, 2), (2, 2)]
    """
    x = asarray(data)
    if num_slice < 1:
        raise UsageError(f"split_data needs one slice or more; found num_slice={num_slice}")
    axis = one_axis(batch_axis, x.ndim)
    least, larger = divmod(x.shape[axis], num_slice)
    if even_split and larger:
        raise ShapeError(
            f"axis {axis} of shape {x.shape} cannot be split into {num_slice} equal slices: take a batch size "
            f"that {num_slice} divides, or write even_split=False"
        )
    if not least:
        raise ShapeError(f"axis {axis} of shape {x.shape} is too small for {num_slice} slices")
    starts = [least * n + min(n, larger) for n in range(num_slice + 1)]
    before = (slice(None),) * axis
    return [x[(*before, slice(*ends))] for ends in pairwise(starts)]


def split_and_load(
    data: Any,
    ctx_list: Sequence[Device] | None = None,
    batch_axis: int = 0,
    even_split: bool = True,
    device_list: Sequence[Device] | None = None,
) -> list[ndarray]:
    """A slice of the array for each device; devices are labels, and all slices lie in the machine's memory.

    data, batch_axis, even_split: as of ``split_data``. ctx_list, device_list: the devices, under Gluon's old and new name.

    >>> from blockfuse import gluon, np, npx
    >>> [part.shape for part in gluon.utils.split_and_load(np.zeros((4, 2)), [npx.cpu(0), npx.cpu(1)])]
    [(2, 2), (2, 2)]
    """
    devices = list(device_list or ctx_list or ())
    if not devices:
        raise UsageError("split_and_load needs a list of one device or more, such as [npx.cpu()]")
    check_device(*devices)
    return split_data(data, len(devices), batch_axis, even_split) if len(devices) > 1 else [asarray(data)]
