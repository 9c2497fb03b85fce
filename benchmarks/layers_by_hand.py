"""Layers of the steps of training: as formulas of a vocabulary, and with gradients by hand, in NumPy of any float type."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy
from numpy.lib.stride_tricks import sliding_window_view

Shape = tuple[int, ...]
Kept = tuple[Any, Any, Any]  # what a layer gives, and what its gradients take besides


@dataclass(frozen=True)
class DenseLayer:
    """Dense, with ReLU where another layer follows."""

    units: int
    relu: bool = True

    def shapes(self, before: Shape) -> tuple[Shape, Shape]:
        """Of the weight, and of an item of the result."""
        return (self.units, prod(before)), (self.units,)

    def forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        y = F.dense(x if x.ndim == 2 else F.flat(x), weight, bias)
        return F.relu(y) if self.relu else y

    def kept(self, x: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray) -> Kept:
        """The result, then what ``backward`` takes."""
        flat = x.reshape(len(x), -1)
        y = flat @ weight.T + bias
        return (numpy.maximum(y, 0) if self.relu else y), flat, x.shape

    def backward(self, grad: Any, y: Any, x: Any, shape: Shape, weight: Any, first: bool) -> tuple[Any, ...]:
        """Gradients of the weight, of the bias and, but for the first layer, of the input. grad: may be written."""
        if self.relu:
            grad *= y > 0
        return grad.T @ x, grad.sum(axis=0), None if first else (grad @ weight).reshape(shape)


@dataclass(frozen=True)
class PooledConvolution:
    """Convolution of images (batch, channels, height, width), ReLU, and the maximum of each two by two."""

    channels: int
    kernel: int
    padding: int

    def shapes(self, before: Shape) -> tuple[Shape, Shape]:
        channels, height, width = before
        less = self.kernel - 1 - 2 * self.padding
        after = self.channels, (height - less) // 2, (width - less) // 2
        return (self.channels, channels, self.kernel, self.kernel), after

    def forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        return F.max_pool(F.relu(F.convolution(x, weight, bias, self.padding)))

    def kept(self, x: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray) -> Kept:
        windows = self._windows(x, self.padding)
        y = numpy.maximum(numpy.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))) + bias, 0)
        n, height, width, channels = y.shape
        squares = y.reshape(n, height // 2, 2, width // 2, 2, channels)
        pooled = squares.max(axis=(2, 4))
        return pooled.transpose(0, 3, 1, 2), windows, squares

    def backward(self, grad: Any, y: Any, x: Any, squares: Any, weight: Any, first: bool) -> tuple[Any, ...]:
        largest = squares == y.transpose(0, 2, 3, 1)[:, :, None, :, None]
        largest &= squares > 0  # where all are zero ReLU has no slope
        spread = (largest * grad.transpose(0, 2, 3, 1)[:, :, None, :, None]).astype(y.dtype)
        grad = spread.reshape(len(y), squares.shape[1] * 2, -1, self.channels)
        of_weight = numpy.tensordot(grad, x, ((0, 1, 2), (0, 2, 3)))
        of_bias = grad.sum(axis=(0, 1, 2))
        if first:
            return of_weight, of_bias, None
        windows = self._windows(grad.transpose(0, 3, 1, 2), self.kernel - 1 - self.padding)
        of_input = numpy.tensordot(windows, weight[:, :, ::-1, ::-1], ((1, 4, 5), (0, 2, 3)))
        return of_weight, of_bias, of_input.transpose(0, 3, 1, 2)

    def _windows(self, x: numpy.ndarray, padding: int) -> numpy.ndarray:
        border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        return sliding_window_view(numpy.pad(x, border), (self.kernel, self.kernel), axis=(2, 3))


Layer = DenseLayer | PooledConvolution


def gradients(
    layers: tuple[Layer, ...], x: numpy.ndarray, labels: numpy.ndarray, parameters: list[Any]
) -> list[numpy.ndarray]:
    """Of the mean cross entropy of softmax, for the weight and the bias of each layer."""
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    kept: list[Kept] = []
    for layer, (weight, bias) in zip(layers, pairs, strict=True):
        kept.append(layer.kept(x, weight, bias))
        x = kept[-1][0]
    grad = x - x.max(axis=1, keepdims=True)
    numpy.exp(grad, out=grad)
    grad /= grad.sum(axis=1, keepdims=True)
    grad[numpy.arange(len(x)), labels] -= 1
    grad /= len(x)
    found: list[numpy.ndarray] = []
    for number in range(len(layers) - 1, -1, -1):
        *own, grad = layers[number].backward(grad, *kept[number], pairs[number][0], first=not number)
        found[:0] = own
    return found
