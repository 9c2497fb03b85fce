"""Nets over arrays and data frames of Dask: what one call gives for all rows, from any worker, by one copy of the net."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from unpacked import Unpacked

from blockfuse import compile, hybridize, nn, np
from blockfuse.ir.errors import ShapeError, UsageError

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")

import dask.array as da  # noqa: E402
from dask.distributed import Client, LocalCluster  # noqa: E402

import blockfuse.dask  # noqa: E402
from blockfuse.frontends import carried as carrying  # noqa: E402

ROWS = numpy.random.default_rng(5).normal(size=(100, 6)).astype("float32")


def layers() -> Any:
    net = nn.Sequential()
    net.add(nn.Dense(16, activation="relu", in_units=6), nn.Dense(3, in_units=16))
    net.initialize()
    net.hybridize()
    return net


def same(found: Any, wanted: Any) -> None:
    assert type(found) is numpy.ndarray
    assert found.dtype == wanted.dtype
    numpy.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [100, 32, 7, 1])
def test_blocks_give_what_one_call_gives(rows: int) -> None:
    net, X = layers(), da.from_array(ROWS, chunks=(rows, 6))
    y = blockfuse.dask.map_blocks(net, X)
    assert y.chunks == (X.chunks[0], (3,))
    assert y.dtype == "float32"
    same(y.compute(scheduler="threads", num_workers=4), net(ROWS))


@hybridize
def halved(x: Any) -> Any:
    while np.abs(x).sum() > 1:
        x = x / 2
    return x


FUNCTIONS: dict[str, Any] = {
    "scalars of rows": lambda x: x.sum(axis=1),
    "more axes": lambda x: np.stack([x, x * 2], axis=1),
    "other dtype": lambda x: (x > 0).astype("int32"),
    "as many columns as rows in a block": lambda x: np.concatenate([x, x[:, :1]], axis=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_of_any_shape(name: str) -> None:
    function = hybridize(FUNCTIONS[name])
    y = blockfuse.dask.map_blocks(function, da.from_array(ROWS, chunks=(7, 6)))
    wanted = function(ROWS)
    assert y.shape == wanted.shape
    same(y.compute(scheduler="threads"), wanted)


def test_several_arrays_with_more_axes_and_blocks_along_them() -> None:
    pictures = numpy.random.default_rng(1).normal(size=(20, 4, 5)).astype("float32")
    weight = numpy.arange(20.0, dtype="float32")
    X, w = da.from_array(pictures, chunks=(6, 2, 3)), da.from_array(weight, chunks=6)
    function = hybridize(lambda x, w: x.sum(axis=2) * w.reshape(-1, 1))
    y = blockfuse.dask.map_blocks(function, X, w)
    assert y.chunks == ((6, 6, 6, 2), (4,))
    same(y.compute(scheduler="threads"), pictures.sum(axis=2) * weight[:, None])


def test_a_loop_sees_the_rows_of_its_block() -> None:
    y = blockfuse.dask.map_blocks(halved, da.from_array(ROWS, chunks=(50, 6)))
    same(y.compute(scheduler="threads"), numpy.concatenate([halved(ROWS[:50]), halved(ROWS[50:])]))


def test_the_net_is_taken_as_it_is_when_the_tasks_are_made() -> None:
    net, X = layers(), da.from_array(ROWS, chunks=(25, 6))
    before, wanted = blockfuse.dask.map_blocks(net, X), net(ROWS)
    net[0].weight.set_data(net[0].weight.data() * 2)
    same(before.compute(scheduler="threads"), wanted)
    after = blockfuse.dask.map_blocks(net, X)
    same(after.compute(scheduler="threads"), net(ROWS))
    both = dask.compute(before, after, scheduler="threads")
    same(both[0], wanted)


def test_estimators_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model").LinearRegression().fit(ROWS, ROWS[:, 0])
    rows = ROWS.astype("float64")
    y = blockfuse.dask.map_blocks(compile(linear).predict, da.from_array(rows, chunks=(30, 6)))
    same(y.compute(scheduler="threads"), linear.predict(rows))


def test_frozen_nets(tmp_path: Path) -> None:
    net = layers()
    for rows in (1, 2, 3, 30):
        net.warm_up((rows, 6))
    frozen = blockfuse.frozen.load(blockfuse.freeze(net, tmp_path / "net.frozen"))
    y = blockfuse.dask.map_blocks(frozen, da.from_array(ROWS, chunks=(30, 6)))
    same(y.compute(scheduler="threads"), net(ROWS))


# -- processes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    settings = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}
    with LocalCluster(**settings) as cluster, Client(cluster):
        yield


@pytest.mark.long
@pytest.mark.usefixtures("_cluster")
def test_a_net_travels_to_each_worker_once(tmp_path: Path) -> None:
    net = Unpacked(tmp_path / "log")
    net.initialize()
    net.hybridize()
    y = blockfuse.dask.map_blocks(net, da.from_array(ROWS, chunks=(4, 6)))
    (tmp_path / "log").write_text("")  # of here
    for _ in range(2):
        same(y.compute(), net(ROWS))
    unpacked = (tmp_path / "log").read_text().split()
    elsewhere = [process for process in unpacked if process != str(os.getpid())]
    assert 1 <= len(elsewhere) == len(set(elsewhere)) <= 2


@pytest.mark.long
@pytest.mark.usefixtures("_cluster")
def test_a_worker_says_which_block_is_otherwise() -> None:
    function = blockfuse.dask.map_blocks(_fewer_rows_of_many, da.from_array(ROWS, chunks=(50, 6)))
    with pytest.raises(ShapeError, match=r"for a block of 50 rows the model gives float32\[49, 6\]"):
        function.compute()


def _fewer_rows_of_many(x: numpy.ndarray) -> numpy.ndarray:
    return x[1:] if len(x) > 1 else x


def test_one_process_unpacks_a_model_once_and_keeps_few() -> None:
    first = carrying.carried(hybridize(lambda x: x + 1))
    again = [carrying.unpacked(first.token, first.content) for _ in range(3)]
    assert all(one is again[0] for one in again)
    for number in range(20):
        other = carrying.carried(number)  # type: ignore[arg-type]
        assert carrying.unpacked(other.token, other.content).model == number
    assert len(carrying._unpacked) <= 8
    assert carrying.unpacked(first.token, first.content) is not again[0]


# -- data frames ---------------------------------------------------------------------------------------------------


def _frame(partitions: int) -> Any:
    dd, pandas = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
    whole = pandas.DataFrame(ROWS, columns=list("abcdef"), index=numpy.arange(100) * 3)
    whole["name"] = "text"
    return whole, dd.from_pandas(whole, npartitions=partitions)


def test_frames_keep_their_index() -> None:
    whole, frame = _frame(7)
    net = layers()
    found = blockfuse.dask.map_partitions(net, frame, list("abcdef"), names=["x", "y", "z"])
    assert list(found.columns) == ["x", "y", "z"]
    result = found.compute(scheduler="threads")
    assert list(result.index) == list(whole.index)
    same(result.to_numpy(), net(ROWS))


def test_columns_are_taken_by_name_and_in_order() -> None:
    _, frame = _frame(3)
    found = blockfuse.dask.map_partitions(hybridize(lambda x: x[:, 0] - x[:, 1]), frame, ["c", "a"])
    assert list(found.columns) == ["0"]
    same(found.compute(scheduler="threads").to_numpy()[:, 0], ROWS[:, 2] - ROWS[:, 0])


def test_what_does_not_fit_a_frame_is_told() -> None:
    _, frame = _frame(3)
    net = layers()
    with pytest.raises(UsageError, match=r"no columns \['q'\]"):
        blockfuse.dask.map_partitions(net, frame, ["q"])
    with pytest.raises(UsageError, match=r"gives 3 columns; names= has 1"):
        blockfuse.dask.map_partitions(net, frame, list("abcdef"), names=["one"])


# -- errors --------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_told_before_anything_is_computed() -> None:
    net, X = layers(), da.from_array(ROWS, chunks=(25, 6))
    with pytest.raises(UsageError, match="takes Dask arrays with an axis of rows; found ndarray"):
        blockfuse.dask.map_blocks(net, ROWS)
    with pytest.raises(UsageError, match="found nothing"):
        blockfuse.dask.map_blocks(net)
    with pytest.raises(UsageError, match=r"different blocks of rows: \(25, 25, 25, 25\), \(50, 50\)"):
        blockfuse.dask.map_blocks(net, X, da.from_array(ROWS, chunks=(50, 6)))
    with pytest.raises(ShapeError, match=r"for one row the model gives an array of shape \(6,\)"):
        blockfuse.dask.map_blocks(lambda x: x.sum(axis=0), X)
    with pytest.raises(UsageError, match="gives tuple for NumPy's arrays"):
        blockfuse.dask.map_blocks(lambda x: (x, x), X)
    with pytest.raises(ShapeError, match="Dense"):
        blockfuse.dask.map_blocks(net, da.from_array(ROWS[:, :5], chunks=(25, 5)))


def test_sizes_of_rows_that_nobody_knows_are_told() -> None:
    known, mask = da.from_array(ROWS, chunks=(25, 3)), da.from_array(numpy.arange(6) < 6, chunks=3)
    unknown = known[:, mask]
    with pytest.raises(
        UsageError, match=r"array 2 has blocks of unknown sizes along axis 1: call compute_chunk_sizes"
    ):
        blockfuse.dask.map_blocks(lambda x, y: x + y, known, unknown)
    y = blockfuse.dask.map_blocks(layers(), unknown.compute_chunk_sizes())
    assert y.compute(scheduler="threads").shape == (100, 3)


def test_empty_blocks_are_empty_results() -> None:
    net, X = layers(), da.from_array(ROWS, chunks=(25, 6))
    y = blockfuse.dask.map_blocks(net, X[X[:, 0].compute() > 100])
    assert y.compute(scheduler="threads").shape == (0, 3)


class Buffered:
    """Gives each time the same memory."""

    def __init__(self) -> None:
        self.buffer = numpy.zeros((100, 6), "float32")

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        found = self.buffer[: len(x)]
        found[...] = x * 2
        return found


def test_blocks_of_a_result_do_not_share_the_memory_that_a_model_writes_to() -> None:
    X = da.from_array(ROWS, chunks=(30, -1))
    found = blockfuse.dask.map_blocks(Buffered(), X).compute(scheduler="sync")
    numpy.testing.assert_array_equal(found, ROWS * 2)


def test_blocks_of_unknown_numbers_of_rows_must_belong_together() -> None:
    one = da.from_array(numpy.ones((4, 6), "float32"), chunks=(4, -1))
    pair = one[da.from_array(numpy.array([True, True, True, False]), chunks=4)]
    single = one[da.from_array(numpy.array([True, False, False, False]), chunks=4)]
    together = blockfuse.dask.map_blocks(lambda a, b: a + b, pair, single)
    with pytest.raises(ShapeError, match=r"different numbers of rows: \[3, 1\]"):
        together.compute(scheduler="sync")
