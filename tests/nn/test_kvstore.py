"""Workers that train one net together: every worker has the same bits, and an error is everybody's."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockfuse import autograd, gluon, kvstore, nn, np, train_step
from blockfuse.ir.errors import StaleGradientError, UsageError
from blockfuse.nn.kvstore import KVStore

ROOT = Path(__file__).resolve().parents[2]


class Table:
    """Where threads that stand for processes put what they send."""

    def __init__(self, size: int) -> None:
        self.size, self.sent, self.barrier = size, [None] * size, threading.Barrier(size, timeout=20)


class Communicator:
    """What of MPI's is used, between threads."""

    def __init__(self, table: Table, rank: int) -> None:
        self.table, self.rank, self.size = table, rank, table.size

    def _everyones(self, array: Any) -> list[Any]:
        self.table.sent[self.rank] = array.copy()
        self.table.barrier.wait()
        found = list(self.table.sent)
        self.table.barrier.wait()
        return found

    def Barrier(self) -> None:  # noqa: N802 - MPI's name
        self.table.barrier.wait()

    def Allgather(self, mine: Any, everyones: Any) -> None:  # noqa: N802 - MPI's name
        everyones.reshape(-1)[:] = numpy.concatenate([one.reshape(-1) for one in self._everyones(mine)])

    def Alltoall(self, mine: Any, everyones: Any) -> None:  # noqa: N802 - MPI's name
        slices = [one.reshape(self.size, -1)[self.rank] for one in self._everyones(mine)]
        everyones.reshape(-1)[:] = numpy.concatenate(slices)

    def Bcast(self, array: Any, root: int) -> None:  # noqa: N802 - MPI's name
        array[...] = self._everyones(array)[root]


def workers(count: int, work: Callable[[KVStore], Any]) -> list[Any]:
    """What ``work`` gives, or raises, for each of so many workers."""
    table, found = Table(count), [None] * count

    def run(rank: int) -> None:
        try:
            found[rank] = work(KVStore("dist_sync", Communicator(table, rank)))
        except Exception as error:
            found[rank] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


# -- sums ----------------------------------------------------------------------------------------------------------


@given(
    st.integers(2, 5),
    st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["float32", "float64", "int64"])), max_size=4),
    st.integers(0, 99),
)
def test_sums_are_taken_in_the_order_of_the_workers(
    count: int, sizes: list[tuple[int, str]], seed: int
) -> None:
    rng = numpy.random.default_rng(seed)
    values = [[(rng.normal(size=n) * 1e4).astype(dtype) for n, dtype in sizes] for _ in range(count)]
    found = workers(count, lambda store: store.summed(values[store.rank], "values"))
    for summed in found:
        assert len(summed) == len(sizes)
        for number, total in enumerate(summed):
            wanted = values[0][number].copy()
            for other in values[1:]:
                wanted += other[number]
            assert total.dtype == wanted.dtype
            assert total.tobytes() == wanted.tobytes()


def test_pushpull_and_broadcast_take_arrays_and_lists() -> None:
    def work(store: KVStore) -> Any:
        one, pair = np.ones((2, 3)) * (store.rank + 1), [np.array([store.rank]), np.ones(3)]
        out = np.zeros((2, 3))
        store.pushpull("one", one, out=out)
        store.broadcast("pair", pair, pair)
        store.barrier()
        return out.tolist(), pair[0].tolist(), one.tolist()

    assert workers(3, work) == [([[6.0] * 3] * 2, [0], [[n + 1.0] * 3] * 2) for n in range(3)]


@pytest.mark.parametrize(
    "of",
    [
        lambda n: [numpy.ones(2 + n)],
        lambda n: [numpy.ones(2)] * (n + 1),
        lambda n: [numpy.ones(2, f"f{4 * (n + 1)}")],
    ],
)
def test_arrays_that_differ_are_an_error_for_all(of: Callable[[int], Any]) -> None:
    found = workers(2, lambda store: store.summed(of(store.rank), "values"))
    for rank, error in enumerate(found):
        assert isinstance(error, UsageError)
        assert f"worker {rank} of 2: the values differ between worker 0 and workers [1]; here: [(" in str(
            error
        )


def test_one_process_is_all_there_is() -> None:
    store = kvstore.create("device")
    values = [numpy.ones(3)]
    assert (store.rank, store.num_workers, store.type) == (0, 1, "device")
    assert store.summed(values, "values")[0] is values[0]
    store.require_same("anything", "what")
    store.barrier()


def test_names_that_are_no_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError, match=r"there is no kvstore 'dist_async': write 'local' .* or 'dist_sync'"
    ):
        kvstore.create("dist_async")
    with pytest.raises(UsageError, match="there is no kvstore 'x'"):
        gluon.Trainer({}, "sgd", kvstore="x")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UsageError, match=r"needs MPI: pip install 'blockfuse\[mpi\]'"):
        gluon.Trainer({}, "sgd", kvstore="dist_sync")


# -- training ------------------------------------------------------------------------------------------------------

RNG = numpy.random.default_rng(0)
INPUTS, LABELS = RNG.normal(size=(6, 24, 5)).astype("float32"), RNG.integers(0, 3, size=(6, 24))
LOSS = gluon.loss.SoftmaxCrossEntropyLoss()


def begun(value: float) -> Any:
    net = nn.Sequential(nn.Dense(8, activation="tanh", in_units=5), nn.Dense(3, in_units=8))
    net.initialize()
    for number, parameter in enumerate(net.collect_params().values()):
        shape = parameter.shape
        parameter.set_data(
            np.array(numpy.linspace(-value, number * value, int(numpy.prod(shape))).reshape(shape))
        )
    return net


def trained(store: KVStore, net: Any, optimizer: str = "sgd") -> bytes:
    trainer = gluon.Trainer(net.collect_params(), optimizer, kvstore=store)
    own = slice(store.rank, None, store.num_workers)
    for x, label in zip(INPUTS, LABELS, strict=True):
        with autograd.record():
            loss = LOSS(net(np.array(x[own])), np.array(label[own]))
        loss.backward()
        trainer.step(len(x))
    return bits(net)


def bits(net: Any) -> bytes:
    return b"".join(p.data().asnumpy().tobytes() for p in net.collect_params().values())


def near(found: bytes, wanted: bytes) -> None:
    numpy.testing.assert_allclose(
        numpy.frombuffer(found, "float32"), numpy.frombuffer(wanted, "float32"), rtol=2e-4, atol=2e-5
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("count", [2, 3])
def test_workers_train_as_one_process_would(count: int, optimizer: str) -> None:
    runs = [workers(count, lambda s: trained(s, begun(0.3 + s.rank), optimizer)) for _ in range(2)]
    assert (
        len(set(runs[0] + runs[1])) == 1
    )  # also where they began differently: the first worker's values count
    near(runs[0][0], trained(kvstore.create(), begun(0.3), optimizer))


def test_parameters_of_a_later_shape_must_be_the_same() -> None:
    def work(store: KVStore) -> bytes:
        net = nn.Dense(3)
        net.initialize(init=nn_constant(0.1 + store.rank))
        return trained(store, net)

    for error in workers(2, work):
        assert isinstance(error, UsageError)
        assert "before the first step (call the net once before its trainer is made)" in str(error)


def nn_constant(value: float) -> Any:
    import blockfuse

    return blockfuse.init.Constant(value)


def test_a_worker_without_a_gradient_is_an_error_for_all() -> None:
    def work(store: KVStore) -> None:
        net = begun(0.3)
        trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore=store)
        with autograd.record():
            loss = LOSS(
                net(np.array(INPUTS[0])) if store.rank else net[0](np.array(INPUTS[0])), np.array(LABELS[0])
            )
        loss.backward()
        trainer.step(24, ignore_stale_grad=True)

    for error in workers(2, work):
        assert isinstance(error, UsageError)
        assert "the parameters with new gradients, by their index, differ" in str(error)


def test_nets_that_differ_are_an_error_before_anything_is_sent() -> None:
    def work(store: KVStore) -> Any:
        net = nn.Dense(3, in_units=4 + store.rank)
        net.initialize()
        return gluon.Trainer(net.collect_params(), "sgd", kvstore=store)

    for error in workers(2, work):
        assert isinstance(error, UsageError)
        assert "parameters differ" in str(error)


# -- processes -----------------------------------------------------------------------------------------------------

SCRIPT = textwrap.dedent(
    """
    import sys
    sys.path[:0] = ["{tests}", "{support}"]
    import blockfuse
    from test_kvstore import INPUTS, LABELS, LOSS, begun, bits, trained
    from blockfuse import gluon, kvstore, np, train_step

    store = kvstore.create("dist_sync")
    out = open(f"{folder}/{{store.rank}}", "w")
    print("eager", trained(store, begun(0.3 + store.rank)).hex(), file=out)
    net = begun(0.3)
    net.hybridize()
    print("pieces", trained(store, net).hex(), file=out)
    net = begun(0.3)
    step = train_step(net, LOSS, gluon.Trainer(net.collect_params(), "sgd", kvstore=store))
    own = slice(store.rank, None, store.num_workers)
    for x, label in zip(INPUTS, LABELS):
        step(np.array(x[own]), np.array(label[own]))
    print("step", bits(net).hex(), file=out)
    out.close()
    """
)


def _starts(mpiexec: Path) -> bool:
    """Whether MPI works on this machine at all, which is not ours."""
    if not mpiexec.exists():
        return False
    greeting = "from mpi4py import MPI; MPI.COMM_WORLD.Barrier()"
    command = [str(mpiexec), "-n", "2", sys.executable, "-P", "-c", greeting]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.mark.parametrize("count", [pytest.param(n, marks=pytest.mark.long) for n in (2, 3)])
def test_processes_of_mpi_train_as_one_would(count: int, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not _starts(mpiexec):
        pytest.skip("no mpiexec beside this Python that starts two processes")
    script = tmp_path / "script.py"
    folders = {"tests": ROOT / "tests" / "nn", "support": ROOT / "tests" / "support", "folder": tmp_path}
    script.write_text(SCRIPT.format(**{name: str(path) for name, path in folders.items()}))
    command = [mpiexec, "-n", count, sys.executable, "-P", script]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    told = [dict(line.split() for line in (tmp_path / str(n)).read_text().splitlines()) for n in range(count)]
    alone = trained(kvstore.create(), begun(0.3))
    for way in ("eager", "pieces", "step"):
        assert len({one[way] for one in told}) == 1, way
        near(bytes.fromhex(told[0][way]), alone)


def test_a_step_of_one_process_stays_one_program() -> None:
    net = begun(0.3)
    step = train_step(net, LOSS, gluon.Trainer(net.collect_params(), "sgd", kvstore="device"))
    for x, label in zip(INPUTS, LABELS, strict=True):
        step(np.array(x), np.array(label))
    assert "compiled" in step.explain()
    near(bits(net), trained(kvstore.create(), begun(0.3)))


def test_a_step_that_is_refused_has_not_added_up_gradients() -> None:
    def work(store: KVStore) -> list[float]:
        used, unused = begun(1.0), begun(1.0)
        parameters = [*used.collect_params().values(), *unused.collect_params().values()]
        trainer = gluon.Trainer(parameters, "sgd", {"learning_rate": 1.0}, kvstore=store)
        with autograd.record():
            loss = used(np.ones((1, 5))).sum()
        loss.backward()
        before = [p.grad().tolist() for p in used.collect_params().values()]
        with pytest.raises(StaleGradientError):
            trainer.step(1)
        assert [p.grad().tolist() for p in used.collect_params().values()] == before
        trainer.step(1, ignore_stale_grad=True)
        return [p.data().tolist() for p in used.collect_params().values()]

    one, *others = workers(2, work)
    assert isinstance(one, list), one
    assert all(other == one for other in others)
