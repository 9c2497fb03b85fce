"""Matrices that functions of linear algebra ask for, and how they vary."""

from __future__ import annotations

import numpy


def definite(drawn: numpy.ndarray) -> numpy.ndarray:
    """Symmetric matrices with positive eigenvalues, made of any."""
    return drawn @ numpy.swapaxes(drawn, -1, -2) + numpy.eye(drawn.shape[-1])


def moved(
    operands: tuple[numpy.ndarray, ...], position: int, index: tuple[int, ...], step: float, symmetric: bool
) -> tuple[numpy.ndarray, ...]:
    """Copies, one element of one changed by ``step``; in a symmetric matrix half of that, as its mirror image."""
    copies = tuple(x.copy() for x in operands)
    mirror = (*index[:-2], index[-1], index[-2]) if symmetric else index
    copies[position][index] += step / 2
    copies[position][mirror] += step / 2
    return copies
