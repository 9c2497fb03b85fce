"""Gradients of NumPy's less frequent functions are those of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from tolerances import assert_close

from blockfuse import autograd, np
from blockfuse.array.ndarray import ndarray

torch = pytest.importorskip("torch")

RNG = numpy.random.default_rng(7)
Q, R, S = (RNG.normal(size=shape) for shape in ((3, 4), (4, 4), (2, 3, 3)))
HOLES = numpy.where(numpy.abs(Q) > 1.0, numpy.nan, Q)
CHOSEN = Q > -0.5


def tensor(values: Any) -> Any:
    return torch.from_numpy(numpy.asarray(values).copy())


GRADIENTS: list[tuple[numpy.ndarray, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (HOLES, lambda x: np.nan_to_num(x, nan=2.0) ** 2, lambda x: torch.nan_to_num(x, nan=2.0) ** 2),
    (HOLES, lambda x: np.nansum(x, 1) ** 2, lambda x: torch.nansum(x, 1) ** 2),
    (HOLES, lambda x: np.nanmean(x, 0) ** 2, lambda x: torch.nanmean(x, 0) ** 2),
    (Q, lambda x: np.quantile(x, [0.3, 0.9], axis=1), lambda x: torch.quantile(x, tensor([0.3, 0.9]), dim=1)),
    (Q, lambda x: np.quantile(x, 0.35) ** 2, lambda x: torch.quantile(x, 0.35) ** 2),
    (Q[:, :3], lambda x: np.median(x, 1) ** 2, lambda x: torch.median(x, 1).values ** 2),
    (Q, lambda x: np.sum(x * x, 1, where=ndarray(CHOSEN)), lambda x: (x * x * tensor(CHOSEN)).sum(1)),
    (
        Q,
        lambda x: np.mean(x * x, where=ndarray(CHOSEN)),
        lambda x: (x * x * tensor(CHOSEN)).sum() / int(CHOSEN.sum()),
    ),
    (
        Q,
        lambda x: np.max(x, 1, initial=0.3, where=ndarray(CHOSEN)),
        lambda x: torch.where(tensor(CHOSEN), x, 0.3).amax(1).clamp(min=0.3),
    ),
    (Q, lambda x: np.std(x, 1, correction=1), lambda x: torch.std(x, 1, correction=1)),
    (
        Q,
        lambda x: np.diff(x, 2, prepend=x, append=1.0) ** 2,
        lambda x: torch.diff(x, 2, prepend=x, append=torch.ones(3, 1, dtype=x.dtype)) ** 2,
    ),
    (Q, lambda x: np.rot90(x, 3) * np.arange(3), lambda x: torch.rot90(x, 3) * torch.arange(3)),
    (R, lambda x: np.trace(x, -1) * 2, lambda x: torch.diagonal(x, -1).sum() * 2),
    (S, lambda x: np.diagonal(x, 1, 2, 0) ** 2, lambda x: torch.diagonal(x, 1, 2, 0) ** 2),
    (
        S,
        lambda x: np.cross(x, x * x, axisa=1, axisb=2),
        lambda x: torch.cross(x.transpose(1, 2), x * x, dim=2),
    ),
    (Q, lambda x: np.sinc(x), torch.sinc),
    (Q, lambda x: np.copysign(x, -1.0), lambda x: torch.copysign(x, tensor(-1.0))),
    (Q, lambda x: np.trapezoid(x * x, dx=0.5, axis=0), lambda x: torch.trapezoid(x * x, dx=0.5, dim=0)),
    (Q, lambda x: np.cumulative_sum(x, axis=1, include_initial=True) ** 2, lambda x: torch.cumsum(x, 1) ** 2),
    (Q, lambda x: np.vecdot(x, x * x), lambda x: torch.linalg.vecdot(x, x * x)),
    (
        Q,
        lambda x: np.sort(x, 1, descending=True) * np.arange(4),
        lambda x: torch.sort(x, 1, descending=True).values * torch.arange(4),
    ),
    (
        S,
        lambda x: np.linalg.vector_norm(x, axis=(0, 2), ord=3),
        lambda x: torch.linalg.vector_norm(x, 3, (0, 2)),
    ),
    (S, lambda x: np.linalg.matrix_norm(x), torch.linalg.matrix_norm),
    (
        R,
        lambda x: np.linalg.tensorinv(x.reshape(2, 2, 4)),
        lambda x: torch.linalg.tensorinv(x.reshape(2, 2, 4)),
    ),
    (
        R,
        lambda x: np.linalg.tensorsolve(x.reshape(4, 2, 2), x[0]),
        lambda x: torch.linalg.tensorsolve(x.reshape(4, 2, 2), x[0]),
    ),
    (Q, lambda x: np.einsum(x, [0, 1], x, [0, 2], [1, 2]), lambda x: torch.einsum("ab,ac->bc", x, x)),
    (Q, lambda x: np.block([[x, x * x]]) ** 2, lambda x: torch.cat([x, x * x], 1) ** 2),
]


@pytest.mark.parametrize("number", range(len(GRADIENTS)))
def test_gradients_are_those_of_torch(number: int) -> None:
    values, call, theirs = GRADIENTS[number]
    x, y = ndarray(values.copy()), tensor(values).requires_grad_()
    x.attach_grad()
    with autograd.record():
        total = call(x).sum()
    total.backward()
    theirs(y).sum().backward()
    assert y.grad is not None
    assert_close(x.grad.asnumpy(), y.grad.numpy())


def test_gradients_between_points() -> None:
    at, heights = ndarray(numpy.array([0.25, 1.5, 3.0])), ndarray(numpy.array([1.0, 2.0, 5.0]))
    at.attach_grad()
    heights.attach_grad()
    with autograd.record():
        total = np.interp(at, ndarray(numpy.array([0.0, 1.0, 2.0])), heights).sum()
    total.backward()
    assert at.grad.tolist() == [1.0, 3.0, 0.0]
    assert heights.grad.tolist() == [0.75, 0.75, 1.5]


def test_gradients_of_what_is_inserted() -> None:
    x, values = ndarray(Q.copy()), ndarray(numpy.array([2.0, 3.0]))
    x.attach_grad()
    values.attach_grad()
    with autograd.record():
        total = (np.insert(x, [1, 3], values, axis=1) ** 2).sum()
    total.backward()
    assert_close(x.grad.asnumpy(), Q * 2)
    assert values.grad.tolist() == [12.0, 18.0]
