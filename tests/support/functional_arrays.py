"""Arrays that write in place and share memory, over torch tensors that do neither: what gradients of such programs are.

A memory is a flat tensor that is replaced by each write; an array is where its elements stand in it.
"""

from __future__ import annotations

from typing import Any

import numpy
import torch


class Memory:
    def __init__(self, flat: torch.Tensor) -> None:
        self.flat = flat


class Functional:
    """An array. constant: no gradient goes through it."""

    def __init__(self, memory: Memory, places: numpy.ndarray, constant: bool = False) -> None:
        self.memory, self.places, self.constant = memory, places, constant

    @staticmethod
    def of(value: torch.Tensor) -> Functional:
        return Functional(Memory(value.reshape(-1)), numpy.arange(value.numel()).reshape(tuple(value.shape)))

    @property
    def value(self) -> torch.Tensor:
        found = self.memory.flat[torch.from_numpy(self.places.ravel())].reshape(self.places.shape)
        return found.detach() if self.constant else found

    def _view(self, places: numpy.ndarray) -> Functional:
        if not places.size or (
            places.ndim and numpy.shares_memory(places, self.places)
        ):  # an element is a copy
            return Functional(self.memory, places, self.constant)
        found = self.memory.flat[torch.from_numpy(places.ravel())].reshape(places.shape)
        return Functional.of(found.detach() if self.constant else found)

    # -- what programs do ------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Functional:
        return self._view(numpy.asarray(self.places[index]))

    @property
    def T(self) -> Functional:  # noqa: N802 - NumPy's name
        return self._view(self.places.T)

    def reshape(self, *shape: int) -> Functional:
        return self._view(self.places.reshape(*shape))

    def detach(self) -> Functional:
        return Functional(self.memory, self.places, constant=True)

    def copy(self) -> Functional:
        return Functional.of(self.value * 1)

    def sum(self, axis: int | None = None) -> Functional:
        return Functional.of(self.value.sum() if axis is None else self.value.sum(axis))

    def tanh(self) -> Functional:
        return Functional.of(torch.tanh(self.value))

    def __setitem__(self, index: Any, value: Any) -> None:
        places = numpy.asarray(self.places[index])
        last = {
            int(place): number for number, place in enumerate(places.ravel())
        }  # of several, the last one stays
        values = torch.broadcast_to(_tensor(value), places.shape).reshape(-1)
        where, which = (
            torch.tensor(list(last), dtype=torch.int64),
            torch.tensor(list(last.values()), dtype=torch.int64),
        )
        self.memory.flat = self.memory.flat.index_put((where,), values[which])

    def __add__(self, other: Any) -> Functional:
        return Functional.of(self.value + _tensor(other))

    def __sub__(self, other: Any) -> Functional:
        return Functional.of(self.value - _tensor(other))

    def __mul__(self, other: Any) -> Functional:
        return Functional.of(self.value * _tensor(other))

    def __matmul__(self, other: Any) -> Functional:
        return Functional.of(self.value @ _tensor(other))

    def __iadd__(self, other: Any) -> Functional:
        self[...] = self + other
        return self

    def __isub__(self, other: Any) -> Functional:
        self[...] = self - other
        return self

    def __imul__(self, other: Any) -> Functional:
        self[...] = self * other
        return self


def _tensor(value: Any) -> torch.Tensor:
    if isinstance(value, Functional):
        return value.value
    return torch.as_tensor(value, dtype=torch.float64)
