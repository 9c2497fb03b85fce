"""Gradients of random programs that write in place through views, against the same programs without memory."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy
import pytest
from sampling import rounds
from writing_programs import program

from blockfuse import autograd
from blockfuse.array.ndarray import ndarray

torch = pytest.importorskip("torch")

from functional_arrays import Functional  # noqa: E402 - needs torch


def values() -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(4)
    return {"x": rng.normal(size=(3, 4)), "w": rng.normal(size=4), "p": rng.normal(size=(3, 4))}


def ours(lines: list[str]) -> tuple[Any, ...]:
    names: dict[str, Any] = {name: ndarray(value) for name, value in values().items()}
    x, w = names["x"], names["w"]
    x.attach_grad()
    w.attach_grad()
    with autograd.record():
        exec("\n".join(lines), names)
    names["loss"].backward()
    return names["loss"].asnumpy(), x.grad.asnumpy(), w.grad.asnumpy()


def theirs(lines: list[str]) -> tuple[Any, ...]:
    tensors = {name: torch.tensor(value) for name, value in values().items()}
    leaves = [tensors[name].requires_grad_() for name in ("x", "w")]
    names: dict[str, Any] = {name: Functional.of(tensor) for name, tensor in tensors.items()}
    exec("\n".join(lines), names)
    loss = names["loss"].value
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return loss.detach().numpy(), *(g.numpy() for g in grads)


@pytest.mark.sampled
@pytest.mark.parametrize("steps", [4, 10, 25])
@pytest.mark.filterwarnings("ignore:overflow")
def test_gradients_through_writes_and_views_are_those_of_values(steps: int) -> None:
    for seed in range(rounds(60, 3000)):
        lines = program(Random(seed * 100 + steps), steps)
        try:
            wanted = theirs(lines)
        except IndexError:  # views of views have become too short for an index
            continue
        with numpy.errstate(all="ignore"):
            found = ours(lines)
        told = f"seed {seed}\n" + "\n".join(lines)
        for mine, other in zip(found, wanted, strict=True):
            numpy.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9, err_msg=told)
