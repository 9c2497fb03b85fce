"""``warm_up``: after it calls are native, or it has said why they are not."""

import sys

import numpy
import pytest

import blockfuse
from blockfuse import nn, np
from blockfuse.ir.errors import UsageError


class Pair(nn.Block):
    def forward(self, x: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.log(x) * scale, x / scale


class Printing(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(3, in_units=4)

    def forward(self, x: np.ndarray) -> np.ndarray:
        sys.stdout.write("called")
        return self.dense(x)


def hybridized(net: nn.Block) -> nn.Block:
    net.initialize()
    net.hybridize()
    return net


def recordings(net: nn.Block) -> int:
    assert net._hybrid is not None
    return sum(case.attempts for case in net._hybrid.cases.values())


def test_calls_of_the_shape_are_native_afterwards() -> None:
    net = hybridized(nn.Sequential(nn.Dense(8, activation="relu"), nn.Dense(3)))
    assert net.warm_up((2, 5)) == ()
    before = recordings(net)
    assert net._entry is not None
    assert net._entry(numpy.ones((2, 5), "float32")) is not NotImplemented
    assert recordings(net) == before


def test_each_size_of_a_service_is_native_afterwards() -> None:
    net = hybridized(nn.Dense(3, in_units=5))
    assert [net.warm_up((size, 5)) for size in (1, 2, 7, 64)] == [()] * 4
    before = recordings(net)
    for size in (1, 2, 7, 64):
        net(numpy.ones((size, 5), "float32"))
    assert recordings(net) == before


def test_several_arguments_by_name_and_as_arrays() -> None:
    net = hybridized(Pair())
    assert net.warm_up((3, 4), scale=numpy.full(4, 2.0, "float32")) == ()
    logs, quotients = net(numpy.full((3, 4), 0.5, "float32"), scale=numpy.full(4, 2.0, "float32"))
    numpy.testing.assert_allclose(logs, numpy.log(0.5) * 2, rtol=1e-6)
    numpy.testing.assert_allclose(quotients, 0.25)


def test_shapes_are_of_the_dtype_that_was_named() -> None:
    net = hybridized(nn.Embedding(10, 4))
    assert net.warm_up((2, 3), dtype="int64") == ()
    assert net._entry is not None
    assert net._entry(numpy.ones((2, 3), "int64")) is not NotImplemented


def test_a_call_that_runs_in_python_is_told_with_the_reason_and_the_cure() -> None:
    (text,) = hybridized(Printing()).warm_up((2, 4))
    assert "run in Python" in text
    assert "write" in text
    assert len(text.splitlines()) > 2  # the cure


def test_a_function_is_warmed_up_like_a_block() -> None:
    @blockfuse.hybridize
    def halved(x: np.ndarray) -> np.ndarray:
        while np.abs(x).sum() > 1:
            x = x / 2
        return x

    assert halved.warm_up((2, 20)) == ()
    assert halved._entry is not None
    result = halved._entry(numpy.full((2, 20), 3.0, "float32"))
    assert result is not NotImplemented


def test_training_goes_on_as_before() -> None:
    net = hybridized(nn.Sequential(nn.Dense(3, in_units=4), nn.BatchNorm(in_channels=3)))
    with blockfuse.autograd.record():
        assert net.warm_up((2, 4)) == ()
        assert blockfuse.autograd.is_recording()
    assert float(numpy.abs(net[1].running_mean.data().asnumpy()).sum()) == 0


def test_before_hybridize_it_says_what_to_call() -> None:
    net = nn.Dense(3, in_units=4)
    net.initialize()
    with pytest.raises(UsageError, match=r"call hybridize\(\), then warm_up\(\)"):
        net.warm_up((2, 4))


def test_what_the_call_raises_is_raised() -> None:
    net = hybridized(nn.Dense(3, in_units=4))
    with pytest.raises(blockfuse.ir.errors.ShapeError):
        net.warm_up((2, 5))
    with pytest.raises(ValueError, match="negative"):
        net.warm_up((-2, 4))
