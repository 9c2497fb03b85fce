"""An entry that writes tells everyone who must know, natively where nobody has anything to do, else by way of Python."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, gluon, nn, np
from blockfuse.array import stamps
from blockfuse.array.memory import memory_of
from blockfuse.array.ndarray import ndarray


class Training:
    """A step of one layer, compiled, and what it writes."""

    def __init__(self) -> None:
        self.net = nn.Dense(3, in_units=4)
        self.net.initialize()
        trainer = gluon.Trainer(self.net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9})
        self.step = blockfuse.train_step(self.net, gluon.loss.L2Loss(), trainer)
        rng = numpy.random.default_rng(0)
        self.batch = tuple(np.array(rng.normal(size=s).astype("float32")) for s in ((5, 4), (5, 3)))
        for _ in range(4):
            self.step(*self.batch)

    @property
    def program(self) -> Any:
        (program,) = [case.program for case in self.step._hybrid.cases.values()]
        return program

    @property
    def weight(self) -> ndarray:
        return self.net.weight.data()

    def python_frames(self) -> list[str]:
        """The functions of Python that a call runs."""
        names: list[str] = []
        sys.setprofile(lambda f, event, _: names.append(f.f_code.co_name) if event == "call" else None)
        try:
            self.step(*self.batch)
        finally:
            sys.setprofile(None)
        return names


@pytest.fixture(scope="module")
def training() -> Training:
    return Training()


class Told:
    def __init__(self) -> None:
        self.times = 0

    def invalidate(self) -> None:
        self.times += 1


def test_a_step_runs_no_python_and_counts_its_writes(training: Training) -> None:
    memory, before = memory_of(training.weight), training.weight.asnumpy()
    version = memory.version
    assert training.python_frames() == []
    assert memory.version == version + 1
    assert (training.weight.asnumpy() != before).all()


def test_watchers_are_told_before_the_write_and_after_it(training: Training) -> None:
    class Reading(Told):
        found: tuple[numpy.ndarray, ...] = ()

        def invalidate(self) -> None:
            self.found = (*self.found, training.weight.asnumpy())

    watcher = Reading()
    stamps.watch_buffer(training.weight._data, watcher)
    before = training.weight.asnumpy()
    training.step(*training.batch)
    first, second = watcher.found
    numpy.testing.assert_array_equal(first, before)
    assert (second != before).all()
    numpy.testing.assert_array_equal(second, training.weight.asnumpy())
    del watcher
    training.step(*training.batch)  # forgets the one that is gone
    assert training.python_frames() == []


def test_who_was_told_and_does_not_wait_costs_no_python(training: Training) -> None:
    """As a net that was evaluated between two epochs."""
    layer, x = training.net, np.ones((2, 4))
    net = blockfuse.hybridize(lambda x: layer(x) * 2)
    for _ in range(4):
        net(x)
    assert net._entry is not None, net.explain()
    assert "notify" in training.python_frames()
    assert training.python_frames() == []
    for _ in range(2):
        numpy.testing.assert_allclose(net(x).asnumpy(), layer(x).asnumpy() * 2, rtol=1e-5)
        training.step(*training.batch)


@pytest.mark.parametrize("times", [1, 2])
def test_what_a_watcher_raises_is_raised_with_all_written_or_nothing(training: Training, times: int) -> None:
    class Raising(Told):
        def invalidate(self) -> None:
            super().invalidate()
            if self.times == times:
                raise KeyError("told")

    watcher = Raising()
    stamps.watch_buffer(training.weight._data, watcher)
    before = training.weight.asnumpy()
    with pytest.raises(KeyError, match="told"):
        training.step(*training.batch)
    assert (training.weight.asnumpy() != before).all() == (times == 2)


def test_values_that_a_history_needs_are_kept(training: Training) -> None:
    x = np.array(numpy.ones((2, 4), "float32"))
    with autograd.record():
        y = (np.dot(x, training.weight.T) ** 2).sum()
    weight = training.weight.asnumpy()
    version = memory_of(training.weight).version
    training.step(*training.batch)
    assert memory_of(training.weight).version == version + 1
    y.backward()
    grad = (2 * x.asnumpy() @ weight.T).T @ x.asnumpy()
    numpy.testing.assert_allclose(training.net.weight.grad().asnumpy(), grad, rtol=1e-5)


def test_other_readers_read_before_the_write(training: Training) -> None:
    class Reader:
        def read(self, owners: Any) -> None:
            held = [owner for owner in owners if owner is training.weight._data]
            self.found = held[0].copy()

    reader = Reader()
    reference = weakref.ref(reader)
    stamps.readers.add(reference)
    before = training.weight.asnumpy()
    try:
        training.step(*training.batch)
    finally:
        stamps.readers.discard(reference)
    numpy.testing.assert_array_equal(reader.found, before)


def test_parameters_that_moved_are_those_that_are_counted() -> None:
    training = Training()
    old = memory_of(training.weight)
    training.net.weight._adopt(training.weight.copy())
    for _ in range(3):
        training.step(*training.batch)
    version, before = old.version, memory_of(training.weight).version
    assert training.python_frames() == []
    assert old.version == version
    assert memory_of(training.weight).version == before + 1


def test_references_stay_as_many_and_nothing_is_left() -> None:
    training = Training()
    weight = training.weight
    objects = (weight, weight._data, *training.batch, None)
    training.step(*training.batch)
    table = training.program.updates._entry._holder[0]
    before = [*map(sys.getrefcount, (*objects[:-1], table))]
    for _ in range(200):
        training.step(*training.batch)
    assert [*map(sys.getrefcount, (*objects[:-1], table))] == before
    gone = weakref.ref(training.program)
    del table, training
    gc.collect()
    assert gone() is None
