"""Arrays that an ONNX file holds, taken only where the file holds as much as it claims."""

from __future__ import annotations

import math

import numpy
import onnx

from blockfuse.frontends.onnx.rules.values import ELEMENT_TYPES
from blockfuse.ir.errors import ModelFileError


def array_of(tensor: onnx.TensorProto) -> numpy.ndarray:
    """The array in ``tensor``; raises ModelFileError where its claims do not fit its data."""
    if tensor.data_type not in ELEMENT_TYPES:
        raise ModelFileError(
            f"tensor {tensor.name!r} has the element type {tensor.data_type}, which is not supported"
        )
    if any(size < 0 for size in tensor.dims):
        raise ModelFileError(f"tensor {tensor.name!r} has a negative size: {tuple(tensor.dims)}")
    claimed, found = math.prod(tensor.dims), _elements(tensor)
    if claimed != found:
        raise ModelFileError(
            f"tensor {tensor.name!r} claims the shape {tuple(tensor.dims)}, {claimed} elements, and holds {found:g}"
        )
    return onnx.numpy_helper.to_array(tensor)


def _elements(tensor: onnx.TensorProto) -> float:
    """How many elements there is data for."""
    size = numpy.dtype(ELEMENT_TYPES[tensor.data_type]).itemsize
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) / size
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    return max(map(len, fields))
