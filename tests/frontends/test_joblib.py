"""Nets in tasks of joblib: what they give, from any worker, by one copy of the net in each process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from unpacked import Unpacked

import blockfuse
from blockfuse import frozen, hybridize, nn, np
from blockfuse.ir.errors import ShapeError

joblib = pytest.importorskip("joblib")

import blockfuse.joblib  # noqa: E402

ROWS = numpy.random.default_rng(5).normal(size=(96, 6)).astype("float32")
BLOCKS = numpy.split(ROWS, 16)
BACKENDS = ["threading", pytest.param("loky", marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers compile stays in the folder of the test."""
    monkeypatch.setenv("BLOCKFUSE_CACHE", str(tmp_path / "cache"))


def prepared(net: nn.Block) -> nn.Block:
    net.initialize()
    net.hybridize(threads=1)
    for size in (1, 2, 6):
        assert net.warm_up((size, 6)) == ()
    return net


def results(backend: str, model: Callable[..., Any], blocks: list[numpy.ndarray] = BLOCKS) -> list[Any]:
    """Of two workers, which end with the call."""
    try:
        with joblib.Parallel(n_jobs=2, backend=backend) as parallel:
            return list(parallel(joblib.delayed(model)(block) for block in blocks))
    finally:
        if backend == "loky":
            joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


def same(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert type(one) is numpy.ndarray
        numpy.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_net_is_unpacked_once_by_each_process(tmp_path: Path, backend: str) -> None:
    net = prepared(Unpacked(tmp_path / "log"))
    model = blockfuse.joblib.carried(net)
    same(results(backend, model), [net(block) for block in BLOCKS])
    here, *workers = (tmp_path / "log").read_text().split()
    assert here == str(os.getpid())  # as it was when it was packed
    assert len(workers) == len(set(workers)) <= 2
    assert bool(workers) is (backend == "loky")


@pytest.mark.parametrize("backend", BACKENDS)
def test_nets_travel_as_they_are_too(backend: str) -> None:
    net = prepared(nn.Sequential(nn.Dense(16, activation="relu", in_units=6), nn.Dense(3)))
    same(results(backend, net, BLOCKS[:2]), [net(block) for block in BLOCKS[:2]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frozen_net_gives_the_same_bits_from_every_worker(tmp_path: Path, backend: str) -> None:
    net = prepared(nn.Sequential(nn.Dense(16, activation="relu", in_units=6), nn.Dense(3)))
    loaded = frozen.load(blockfuse.freeze(net, tmp_path / "net"), threads=1)
    for model in (loaded, blockfuse.joblib.carried(loaded)):
        for one, block in zip(results(backend, model), BLOCKS, strict=True):
            numpy.testing.assert_array_equal(one, net(block))


def test_it_is_the_net_of_the_moment_it_was_packed() -> None:
    net = prepared(nn.Dense(3, in_units=6))
    before, model = net(ROWS), blockfuse.joblib.carried(net)
    net.weight.set_data(np.zeros((3, 6)))
    same([model(ROWS)], [before])
    same(results("threading", model, [ROWS]), [before])


def test_functions_are_carried() -> None:
    def doubled(x: Any) -> Any:
        return np.exp(x) * 2

    same(
        results("threading", blockfuse.joblib.carried(hybridize(doubled))), [numpy.exp(b) * 2 for b in BLOCKS]
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_task_raises_arrives(backend: str) -> None:
    model = blockfuse.joblib.carried(prepared(nn.Dense(3, in_units=6)))
    with pytest.raises(ShapeError, match="Dense"):
        results(backend, model, [ROWS[:, :5]])


def test_what_cannot_be_pickled_is_told_before_any_task() -> None:
    net = prepared(nn.Dense(3, in_units=6))
    net.lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        blockfuse.joblib.carried(net)
