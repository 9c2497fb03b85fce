"""Products of windows in NumPy: what tiles read where it is seen is copied, and multiplied as a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy

from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.codegen.meaning.expressions import computed
from blockfuse.codegen.meaning.memory import Address
from blockfuse.codegen.meaning.products import times_panels
from blockfuse.ir.operators.narrow import widened


def window_meaning(kernel: WindowKernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    """What a launch of rows ``begin`` to ``end`` does to memory."""
    shape = ((end - begin) * kernel.lines, kernel.height, kernel.columns)
    windows = addresses[kernel.left.name].read(
        kernel.dtype,
        (end - begin, *kernel.extents, kernel.height, kernel.channel_groups, *kernel.inner),
        (*kernel.left.strides, kernel.apart, *kernel.along),
        begin * kernel.left.strides[0],
    )
    steps = prod(kernel.inner)
    panels = addresses[kernel.right.name].read(
        kernel.right.dtype,
        (kernel.channel_groups, kernel.panels, steps, kernel.tile.panel),
        (kernel.panels * steps * kernel.tile.panel, steps * kernel.tile.panel, kernel.tile.panel, 1),
    )
    rows, numbers = windows.reshape(*shape[:2], kernel.channel_groups, steps), widened(panels)
    each = [
        times_panels(rows[..., g, :], numbers[g])[..., : kernel.units] for g in range(kernel.channel_groups)
    ]
    sums = numpy.concatenate(each, axis=-1)
    if kernel.bias is not None:
        sums = sums + addresses[kernel.bias.name].read(kernel.bias.dtype, (kernel.columns,), (1,))
    first = begin * kernel.lines
    values = {kernel.accumulator: sums}
    for load in kernel.loads:
        values[load.value] = addresses[load.name].read(
            load.dtype, shape, load.strides, first * load.strides[0]
        )
    computed(kernel.body, values)
    result = numpy.broadcast_to(values[kernel.result], shape)
    store = kernel.store
    addresses[store.name].write(store.dtype, store.strides, result, first * store.strides[0])
