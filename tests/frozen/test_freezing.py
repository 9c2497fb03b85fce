"""A frozen net gives, in a process that loads no compiler, what the hybridized one gave, to the bit, or says why not."""

import copy
import ctypes
import functools
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from frozen_nets import hybridized, mlp, normal, run, sum_of_two

import blockfuse
from blockfuse import frozen, nn, np
from blockfuse.frozen import file_format, freezing, machine
from blockfuse.ir.errors import FrozenFileError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "net.frozen")


def both(net: Callable[..., Any], path: str) -> tuple[Callable[..., Any], frozen.FrozenNet]:
    blockfuse.freeze(net, path)
    return net, frozen.load(path)


# -- the same results ------------------------------------------------------------------------------------------


@pytest.mark.long
def test_every_size_of_the_batch_gives_the_bits_of_the_hybridized_net(path: str) -> None:
    net, loaded = both(mlp(), path)
    for size in (1, 2, 3, 7, 31, 64, 100, 256):
        x = normal(size, 20)
        result = loaded(x)
        assert type(result) is numpy.ndarray
        numpy.testing.assert_array_equal(result, net(x))


def test_a_process_that_loads_it_needs_no_compiler(path: str) -> None:
    net = mlp()
    x = normal(3, 20)
    blockfuse.freeze(net, path)
    numpy.save(f"{path}.npy", x)
    program = """
        import sys, numpy
        from blockfuse import frozen
        net = frozen.load(sys.argv[1])
        numpy.save(sys.argv[1] + ".result.npy", net(numpy.load(sys.argv[1] + ".npy")))
        loaded = {name.split(".")[0] for name in sys.modules}
        print(sorted(loaded & {"numba", "llvmlite"}), "blockfuse.array" in sys.modules, "blockfuse.tracer" in sys.modules)
    """
    assert run(program, path) == "[] False False"
    numpy.testing.assert_array_equal(numpy.load(f"{path}.result.npy"), net(x))


def test_windows_norms_and_softmax(path: str) -> None:
    net = nn.Sequential(
        nn.Conv2D(4, 3, activation="relu", in_channels=3),
        nn.BatchNorm(in_channels=4),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(5),
        nn.LayerNorm(),
    )
    net, loaded = both(hybridized(net, ((2, 3, 10, 10),)), path)
    x = normal(2, 3, 10, 10)
    numpy.testing.assert_array_equal(loaded(x), net(x))


def test_functions_of_the_c_library(path: str) -> None:
    @blockfuse.hybridize
    def mixed(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.sin(x), np.arctan2(x, x + 1), np.cosh(x.astype("float64")), np.power(np.abs(x), 3.3)

    x = normal(40)
    mixed.warm_up(x)
    _, loaded = both(mixed, path)
    for result, expected in zip(loaded(x), mixed(x), strict=True):
        numpy.testing.assert_array_equal(result, expected)
        assert result.dtype == expected.dtype


def test_loops_and_branches_on_data_are_native(path: str) -> None:
    @blockfuse.hybridize
    def halved(x: np.ndarray) -> np.ndarray:
        while np.abs(x).sum() > 1:
            x = x / 2
        return x * 3 if x.sum() > 0 else x - 1

    calls = [numpy.full(6, value, "float32") for value in (40, -40, 0.01, -0.01)]
    for call in calls * 3:
        halved(call)
    _, loaded = both(halved, path)
    for x in [*calls, numpy.full(6, 1e20, "float32"), normal(6)]:
        numpy.testing.assert_array_equal(loaded(x), halved(x))


def test_a_way_that_no_call_had_taken_is_refused(path: str) -> None:
    @blockfuse.hybridize
    def branching(x: np.ndarray) -> np.ndarray:
        return x * 2 if x.sum() > 0 else x - 1

    x = numpy.ones(4, "float32")
    branching.warm_up(x)
    _, loaded = both(branching, path)
    numpy.testing.assert_array_equal(loaded(x), x * 2)
    with pytest.raises(UsageError, match="a way that no call had taken"):
        loaded(-x)


@pytest.mark.long
def test_large_results_and_threads(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKFUSE_THREADS", "2")
    net = hybridized(
        nn.Sequential(nn.Dense(512, in_units=256), nn.Dense(512)), *[((size, 256),) for size in (2, 3, 5)]
    )
    blockfuse.freeze(net, path, max_batch=600)
    x = normal(600, 256)
    expected = net(x)
    for threads in (1, 2):
        loaded = frozen.load(path, threads=threads)
        results = [loaded(x) for _ in range(3)]
        for result in results:
            numpy.testing.assert_array_equal(result, expected)
        results[0][:] = 0  # each result has memory of its own
        numpy.testing.assert_array_equal(results[1], expected)


def test_several_shapes_names_and_nested_results(path: str) -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(3, in_units=4, flatten=False)

        def forward(self, x: np.ndarray, *, scale: np.ndarray, twice: bool = False) -> dict[str, Any]:
            y = self.dense(x) * scale
            return {"y": y, "all": [y + 1, (y * 2 if twice else y, 5)]}

    net = hybridized(Net())
    scale = normal(3)
    for twice in (False, True):
        for shape in ((2, 4), (2, 3, 4)):
            assert net.warm_up(normal(*shape), scale=scale, twice=twice) == ()
    net, loaded = both(net, path)
    for twice in (False, True):
        x = normal(2, 3, 4)
        result, expected = (f(x, scale=scale, twice=twice) for f in (loaded, net))
        assert list(result) == ["y", "all"]
        assert result["all"][1][1] == 5
        numpy.testing.assert_array_equal(result["y"], expected["y"])
        numpy.testing.assert_array_equal(result["all"][1][0], expected["all"][1][0])


def test_parameters_are_those_of_the_moment_and_are_there_once(path: str) -> None:
    net = mlp()
    blockfuse.freeze(net, path)
    size = Path(path).stat().st_size
    x = normal(2, 20)
    before = net(x)
    net[0].weight.set_data(net[0].weight.data() * 2)
    loaded = frozen.load(path)
    numpy.testing.assert_array_equal(loaded(x), before)
    blockfuse.freeze(net, path)
    numpy.testing.assert_array_equal(frozen.load(path)(x), net(x))
    numpy.testing.assert_array_equal(loaded(x), before)  # who has the old file mapped keeps it
    assert size < 60_000  # two programs (for one item and for any) share 8 kB of parameters


@pytest.mark.parametrize("in_place", [True, False])
def test_parameters_that_change_while_they_are_written_are_refused(
    path: str, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    net = mlp()
    read = freezing._read

    def changing(program: Any) -> Iterator[numpy.ndarray]:
        arrays = read(program)
        yield next(arrays)
        for layer in net:  # as another thread may
            if in_place:
                layer.weight.data()[:] = 1
            else:
                layer.weight.set_data(np.ones_like(layer.weight.data()))
        yield from arrays

    with monkeypatch.context() as patched:
        patched.setattr(freezing, "_read", changing)
        with pytest.raises(UsageError, match="changed while it was frozen, in another thread"):
            blockfuse.freeze(net, path)
    assert not Path(path).exists()
    x = normal(2, 20)
    numpy.testing.assert_array_equal(frozen.load(blockfuse.freeze(net, path))(x), net(x))


def test_arrays_in_other_memory_layouts(path: str) -> None:
    net, loaded = both(mlp(), path)
    x = normal(6, 20)
    expected = net(x)
    memory = numpy.zeros(x.nbytes + 1, numpy.uint8)
    misaligned = memory[1:].view("float32").reshape(x.shape)
    misaligned[...] = x
    for given in (numpy.asfortranarray(x), x.astype(">f4"), numpy.repeat(x, 2, axis=1)[:, ::2], misaligned):
        numpy.testing.assert_array_equal(loaded(given), expected)
    numpy.testing.assert_array_equal(loaded(np.array(x)), expected)


def test_an_array_with_masked_values_is_refused(path: str) -> None:
    _, loaded = both(mlp(), path)
    for mask in (True, False):
        with pytest.raises(UsageError, match=r"a masked array .* pass x.filled"):
            loaded(numpy.ma.masked_array(normal(3, 20), mask=mask))


def test_many_python_threads_call_it_at_once(path: str) -> None:
    net, loaded = both(mlp(), path)
    inputs = [normal(n + 1, 20) for n in range(8)]
    expected = [numpy.array(net(x)) for x in inputs]
    wrong = []

    def call(number: int) -> None:
        for _ in range(300):
            if not (loaded(inputs[number]) == expected[number]).all():
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_sizes_that_share_a_slot_are_called_from_several_threads(path: str) -> None:
    net = mlp()
    blockfuse.freeze(net, path, max_batch=1100)
    loaded = frozen.load(path)
    inputs = [normal(n, 20) for n in (30, 30 + 1024)]
    expected = [numpy.array(net(x)) for x in inputs]
    found = []

    def call(number: int) -> None:
        results = [loaded(inputs[number]) for _ in range(200)]
        found.append(all((result == expected[number]).all() for result in results))

    threads = [threading.Thread(target=call, args=(n % 2,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_weights_that_are_narrow_stay_narrow(path: str, precision: str) -> None:
    net = nn.Dense(1024, in_units=1024)
    net.initialize()
    net.hybridize(precision=precision)
    assert net.warm_up((1, 1024)) == ()
    net, loaded = both(net, path)
    x = normal(1, 1024)
    numpy.testing.assert_array_equal(loaded(x), net(x))
    assert Path(path).stat().st_size < 0.6 * 4 * 1024 * 1024


def test_an_array_that_is_passed_twice_is_refused(path: str) -> None:
    x = normal(3)
    _, loaded = both(sum_of_two(), path)
    numpy.testing.assert_array_equal(loaded(x, x.copy()), x + x)
    with pytest.raises(UsageError, match="an array is passed twice"):
        loaded(x, x)


def test_it_travels_to_processes_that_fork_or_spawn(path: str) -> None:
    net, loaded = both(mlp(), path)
    x = normal(2, 20)
    numpy.testing.assert_array_equal(pickle.loads(pickle.dumps(loaded))(x), net(x))
    expected = loaded(x).tobytes()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, loaded(x).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1 << 16) == expected


def test_a_pickle_is_of_the_net_and_not_of_what_lies_in_its_place(path: str) -> None:
    net, loaded = both(mlp(), path)
    pickled = pickle.dumps(loaded)
    blockfuse.freeze(mlp(), path)
    with pytest.raises(FrozenFileError, match="another file lies there now"):
        pickle.loads(pickled)
    x = normal(2, 20)
    for copied in (copy.copy(loaded), copy.deepcopy([loaded])[0]):
        numpy.testing.assert_array_equal(copied(x), net(x))


def test_a_way_that_runs_in_python_is_refused_with_the_reason(path: str) -> None:
    @blockfuse.hybridize
    def given_back(x: np.ndarray) -> np.ndarray:
        return x * 2 if x.sum() > 0 else x

    x = numpy.ones(4, "float32")
    for _ in range(4):
        given_back(x)
        given_back(-x)
    _, loaded = both(given_back, path)
    numpy.testing.assert_array_equal(loaded(x), x * 2)
    with pytest.raises(UsageError, match="runs in Python because a result shares memory with an argument"):
        loaded(-x)


# -- what is not right -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            (normal(2, 21),),
            r"is for calls with .*\(float32\[any, 20\]\).*; this one has \(float32\[2, 21\]\)",
        ),
        ((normal(2, 20).astype("float64"),), r"this one has \(float64\[2, 20\]\)"),
        ((normal(20),), r"this one has \(float32\[20\]\)"),
        ((normal(2, 20), normal(2, 20)), "in another form"),
        ((), "in another form"),
        (([[1.0] * 20],), "in another form"),
        ((normal(257, 20),), r"a batch of 257: the file is for \d+ to 256; freeze\(net, path, max_batch"),
        ((object(),), "an argument is a object"),
    ],
    ids=["shape", "dtype", "rank", "more", "none", "list", "large", "object"],
)
def test_other_calls_are_refused(path: str, call: tuple[Any, ...], message: str) -> None:
    _, loaded = both(mlp(), path)
    with pytest.raises(UsageError, match=message):
        loaded(*call)


def test_an_empty_batch_is_refused_or_right(path: str) -> None:
    _, loaded = both(mlp(), path)
    with pytest.raises(UsageError, match="a batch of 0"):
        loaded(numpy.zeros((0, 20), "float32"))


def test_an_index_beyond_its_axis_is_refused(path: str) -> None:
    net, loaded = both(hybridized(nn.Embedding(10, 4), (numpy.zeros((2, 3), "int64"),)), path)
    numpy.testing.assert_array_equal(loaded(numpy.full((2, 3), 9)), net(numpy.full((2, 3), 9)))
    with pytest.raises(UsageError, match="an index is out of bounds"):
        loaded(numpy.full((2, 3), 10))


class Counting(nn.Block):
    """Its calls stay in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.calls.append(1)
        return x + len(self.calls)


class Drawing(nn.Block):
    def forward(self, x: np.ndarray) -> np.ndarray:
        return x + np.random.normal(size=(3,))


class Remembering(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.state: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.state = x * 2
        return x + 1


class Solving(nn.Block):
    """With a step that NumPy computes."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.linalg.svd(x.reshape((3, 1)))[1]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (Counting, "it runs in Python because"),
        (Drawing, "it draws random numbers: take them as an argument"),
        (Remembering, "it assigns or reads attributes"),
        (Solving, "NumPy computes steps of it|it runs in Python because"),
    ],
)
def test_what_is_not_native_is_refused_with_its_reason(path: str, block: type[nn.Block], reason: str) -> None:
    net = block()
    net.hybridize()
    for _ in range(4):
        net(numpy.ones(3, "float32"))
    with pytest.raises(UsageError, match=rf"a call with \(float32\[3\]\) cannot be frozen: .*({reason})"):
        blockfuse.freeze(net, path)
    assert not Path(path).exists()


def test_numbers_that_change_are_refused(path: str) -> None:
    @blockfuse.hybridize
    def scaled(x: np.ndarray, by: float) -> np.ndarray:
        return x * by

    for number in range(12):
        scaled(numpy.ones(3, "float32"), number + 0.5)
    with pytest.raises(UsageError, match="numbers that change from call to call: give them as arrays"):
        blockfuse.freeze(scaled, path)


def test_what_is_not_hybridized_or_not_called_is_told(path: str) -> None:
    net = nn.Dense(3, in_units=4)
    net.initialize()
    with pytest.raises(UsageError, match=r"Dense is not hybridized: call hybridize\(\)"):
        blockfuse.freeze(net, path)
    net.hybridize()
    with pytest.raises(UsageError, match="Dense was not called"):
        blockfuse.freeze(net, path)
    with pytest.raises(UsageError, match="not hybridized"):
        blockfuse.freeze(3, path)
    net.warm_up((2, 4))
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(UsageError, match="max_batch is"):
            blockfuse.freeze(net, path, max_batch=wrong)


def test_a_batch_for_which_there_is_no_memory_is_refused_at_once(path: str) -> None:
    for most in (10**9, 10**30):
        with pytest.raises(
            UsageError, match=rf"a batch of {most} takes [\d.e+]+ GiB, .* choose a smaller max_batch"
        ):
            blockfuse.freeze(mlp(), path, max_batch=most)
    assert not Path(path).exists()


def test_a_large_batch_is_proven_by_few_calls(path: str) -> None:
    net = hybridized(nn.Dense(3, in_units=2), *[((size, 2),) for size in (1, 2, 5)])
    frozen.load(blockfuse.freeze(net, path, max_batch=300_000))
    x = normal(300_000, 2)
    numpy.testing.assert_array_equal(frozen.load(path)(x), net(x))


@pytest.mark.parametrize("threads", [0, -1, True, False, 2.5, "2", numpy.int64(2)])
def test_what_is_no_number_of_threads_is_refused(whole: Path, threads: Any) -> None:
    with pytest.raises(UsageError, match=r"threads is .*; it must be a whole number from 1 on"):
        frozen.load(whole, threads=threads)
    with pytest.raises(UsageError, match=r"threads is .*; it must be a whole number from 1 on"):
        frozen.load(whole, threads)


def test_more_threads_than_the_code_is_for_are_as_many_as_it_is_for(whole: Path) -> None:
    program = """
        import sys, threading, numpy
        from pathlib import Path
        from blockfuse import frozen
        net = frozen.load(sys.argv[1], threads=100_000)
        net(numpy.ones((256, 20), "float32"))
        print(len(list(Path("/proc/self/task").iterdir())) < 100)
    """
    assert run(program, str(whole)) == "True"


# -- names of arguments ----------------------------------------------------------------------------------------


@blockfuse.hybridize
def weighted(x: np.ndarray, /, y: np.ndarray, *, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return x + 2 * y + 4 * a + 8 * b


@blockfuse.hybridize
def in_order(**named: np.ndarray) -> np.ndarray:
    total = np.array(0.0)
    for number, value in enumerate(named.values()):
        total = total + value * number
    return total


class Named(nn.Block):
    def forward(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return x * scale


ONE, TWO, THREE, FOUR = (numpy.full(3, value, "float32") for value in (1, 2, 3, 4))


@pytest.fixture(scope="module")
def frozen_weighted(tmp_path_factory: pytest.TempPathFactory) -> frozen.FrozenNet:
    for _ in range(4):
        weighted(ONE, TWO, a=THREE, b=FOUR)
    return frozen.load(blockfuse.freeze(weighted, tmp_path_factory.mktemp("names") / "weighted"))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((ONE, TWO), {"a": THREE, "b": FOUR}),
        ((ONE, TWO), {"b": FOUR, "a": THREE}),
        ((ONE,), {"b": FOUR, "y": TWO, "a": THREE}),
    ],
    ids=["as recorded", "other order", "by name"],
)
def test_arguments_by_name_mean_what_they_mean_to_the_net(
    frozen_weighted: frozen.FrozenNet, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    numpy.testing.assert_array_equal(frozen_weighted(*args, **kwargs), weighted(*args, **kwargs))


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [
        ((ONE, TWO), {"a": THREE}, "(float32[3], float32[3], a=float32[3])"),
        ((ONE, TWO), {"a": THREE, "b": FOUR, "c": ONE}, "c=float32[3])"),
        ((ONE, TWO, THREE), {"b": FOUR}, "(float32[3], float32[3], float32[3], b=float32[3])"),
        ((ONE, TWO), {"y": TWO, "a": THREE, "b": FOUR}, "(float32[3], float32[3], y=float32[3], a="),
        ((), {"x": ONE, "y": TWO, "a": THREE, "b": FOUR}, "(x=float32[3], y="),
        ((ONE, TWO), {"a": THREE, "b": 4.0}, "b=4.0)"),
        ((ONE, TWO), {"a": [THREE], "b": {"c": FOUR}}, "a=[float32[3]], b={'c': float32[3]})"),
        ((ONE, TWO), {"a": THREE, "": FOUR}, "a=float32[3], =float32[3])"),
    ],
    ids=["missing", "unknown", "by position", "twice", "position only", "number", "containers", "empty"],
)
def test_other_names_are_refused_with_the_call_as_it_was_given(
    frozen_weighted: frozen.FrozenNet, args: tuple[Any, ...], kwargs: dict[str, Any], found: str
) -> None:
    with pytest.raises(UsageError, match="in another form") as raised:
        frozen_weighted(*args, **kwargs)
    assert "is for calls with (float32[3], float32[3], a=float32[3], b=float32[3]); this one has (" in str(
        raised.value
    )
    assert found in str(raised.value)


def test_the_order_of_names_that_a_net_sees_in_order_counts(path: str) -> None:
    for _ in range(4):
        in_order(a=ONE, b=TWO)
    _, loaded = both(in_order, path)
    numpy.testing.assert_array_equal(loaded(a=ONE, b=TWO), TWO)
    with pytest.raises(UsageError, match=r"this one has \(b=float32\[3\], a=float32\[3\]\), in another form"):
        loaded(b=TWO, a=ONE)


def test_a_block_takes_its_arguments_by_name(path: str) -> None:
    net, loaded = both(hybridized(Named(), (ONE, TWO)), path)
    for args, kwargs in (((), {"scale": TWO, "x": ONE}), ((ONE,), {"scale": TWO})):
        numpy.testing.assert_array_equal(loaded(*args, **kwargs), net(*args, **kwargs))
    with pytest.raises(UsageError, match="in another form"):
        loaded(ONE, TWO, self=ONE)


def test_names_that_only_a_wrapper_knows_are_not_guessed(path: str) -> None:
    @functools.wraps(Named.forward)
    def turned(*args: np.ndarray, **kwargs: np.ndarray) -> np.ndarray:
        return args[0] - next(iter(kwargs.values()))

    wrapped = blockfuse.hybridize(turned)
    for _ in range(4):
        wrapped(ONE, scale=TWO)
    _, loaded = both(wrapped, path)
    numpy.testing.assert_array_equal(loaded(ONE, scale=TWO), ONE - TWO)
    with pytest.raises(UsageError, match="in another form"):
        loaded(x=ONE, scale=TWO)


def test_calls_in_train_mode_are_left_out(path: str) -> None:
    net = hybridized(nn.Sequential(nn.Dense(3, in_units=4), nn.Dropout(0.5)), ((2, 4),))
    with blockfuse.autograd.train_mode():
        for _ in range(3):
            net(normal(2, 4))
    net, loaded = both(net, path)
    x = normal(2, 4)
    numpy.testing.assert_array_equal(loaded(x), net(x))


# -- files -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(blockfuse.freeze(mlp(), tmp_path_factory.mktemp("frozen") / "net.frozen"))


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.5, 0.98, 0.9999])
def test_a_file_that_is_cut_is_refused_before_it_is_mapped(whole: Path, tmp_path: Path, share: float) -> None:
    content = whole.read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FrozenFileError, match=r"cut: it is no file that blockfuse.freeze wrote, or is cut"):
        frozen.load(tmp_path / "cut")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95])
def test_one_changed_bit_is_found(whole: Path, tmp_path: Path, share: float) -> None:
    content = bytearray(whole.read_bytes())
    content[int(len(content) * share)] ^= 4
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(FrozenFileError, match="it is damaged"):
        frozen.load(tmp_path / "damaged")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello" * 100)
    with pytest.raises(FrozenFileError, match=r"it is no file that blockfuse\.freeze wrote"):
        frozen.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        frozen.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        frozen.load(tmp_path)


def made_for(whole: Path, target: Path, **changes: Any) -> Path:
    """The same file for another machine."""
    description = file_format.read(str(whole))
    content = whole.read_bytes()
    image = content[: content.rindex(b'{"machine"')]
    description["machine"] |= changes
    target.write_bytes(file_format.sealed(image, description))
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"python": "cpython-309"},
            "it is for the interpreter cpython-309, and this is cpython-.*freeze the net again",
        ),
        ({"numpy": "1"}, "it is for NumPy 1"),
        ({"system": "Linux riscv64"}, "it is for the system Linux riscv64"),
        ({"layouts": "00000000"}, "a blockfuse whose native code has the layouts 00000000"),
        (
            {"instructions": ["avx2", "avx4096f"]},
            r"instructions that this processor lacks \(avx4096f\).*BLOCKFUSE_ISA=avx2",
        ),
    ],
    ids=["python", "numpy", "system", "layouts", "instructions"],
)
def test_files_for_others_are_refused_before_they_are_mapped(
    whole: Path, tmp_path: Path, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = made_for(whole, tmp_path / "other", **changes)
    monkeypatch.setattr(ctypes, "CDLL", None)
    with pytest.raises(FrozenFileError, match=f"other: .*{message}"):
        frozen.load(target)


def test_a_file_of_another_version_of_the_format_is_refused(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_format, "VERSION", 3)
    target = made_for_version_three(whole, tmp_path)
    monkeypatch.undo()
    with pytest.raises(
        FrozenFileError, match="it is of version 3 of the format; this blockfuse reads version 2"
    ):
        frozen.load(target)


def made_for_version_three(whole: Path, folder: Path) -> Path:
    (folder / "three").write_bytes(file_format.sealed(whole.read_bytes()[:4096], {}))
    return folder / "three"


def test_the_instructions_that_code_may_use_are_named_as_linux_names_them(whole: Path) -> None:
    description = file_format.read(str(whole))["machine"]
    assert set(description["instructions"]) <= machine.processor_flags()
    if description["level"] != "baseline":
        assert {"avx2", "fma", "bmi1", "abm"} <= set(description["instructions"])


def test_code_for_several_processors_asks_for_the_instructions_of_all(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = []
    for level in ("baseline", "avx2"), ("avx2", "baseline"), ("avx2",):
        net = blockfuse.hybridize(lambda x: np.tanh(x))
        for size, isa in enumerate(level, 3):
            monkeypatch.setenv("BLOCKFUSE_ISA", isa)
            assert net.warm_up((size,) * size) == ()
        description = file_format.read(blockfuse.freeze(net, path))["machine"]
        assert description["level"] == " and ".join(level)
        needed.append(description["instructions"])
    assert needed[0] == needed[1] == needed[2]


def test_a_file_below_another_name_or_loaded_twice_is_the_same_net(whole: Path, tmp_path: Path) -> None:
    x = normal(3, 20)
    expected = frozen.load(whole)(x)
    shutil.copy(whole, tmp_path / "ü name $ORIGIN.so")
    for path in (whole, tmp_path / "ü name $ORIGIN.so"):
        numpy.testing.assert_array_equal(frozen.load(path)(x), expected)


def test_a_file_that_is_written_over_where_it_lies_is_refused(tmp_path: Path) -> None:
    one, other = mlp(), mlp()
    target = Path(blockfuse.freeze(one, tmp_path / "one"))
    blockfuse.freeze(other, tmp_path / "other")
    x = normal(2, 20)
    program = """
        import sys
        from pathlib import Path
        from blockfuse import frozen
        from blockfuse.ir.errors import FrozenFileError
        target, other = map(Path, sys.argv[1:])
        frozen.load(target)
        with target.open("r+b") as file:
            file.write(other.read_bytes())
            file.truncate()
        try:
            frozen.load(target)
        except FrozenFileError as error:
            print(error)
    """
    assert "it was written over while this process had it mapped" in run(
        program, str(target), str(tmp_path / "other")
    )
    numpy.testing.assert_array_equal(frozen.load(target)(x), other(x))


def test_a_file_that_is_replaced_while_it_is_loaded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = mlp(), mlp()
    target = Path(blockfuse.freeze(one, tmp_path / "one"))
    blockfuse.freeze(other, tmp_path / "other")
    read = file_format.read

    def replacing(path: str) -> Any:
        description = read(path)
        os.replace(tmp_path / "other", target)
        return description

    with monkeypatch.context() as patched:
        patched.setattr(file_format, "read", replacing)
        with pytest.raises(FrozenFileError, match="another file was put in its place while it was loaded"):
            frozen.load(target)
    x = normal(2, 20)
    numpy.testing.assert_array_equal(frozen.load(target)(x), other(x))


def test_a_new_file_is_found_by_a_relative_path_after_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    x = normal(2, 20)
    for path in (tmp_path / "net", "net", tmp_path / "net"):
        net = mlp()
        blockfuse.freeze(net, path)
        numpy.testing.assert_array_equal(frozen.load(path)(x), net(x))


def test_debuggers_find_the_kernels_by_name(whole: Path) -> None:
    library = ctypes.CDLL(str(whole))
    names = [name for name in file_names(whole) if name.endswith(".kernel")]
    assert any("dense_tanh" in name for name in names)
    assert all(getattr(library, name) for name in names)


def file_names(path: Path) -> list[str]:
    """The texts of the file that are names of symbols."""
    return [word.decode() for word in path.read_bytes().split(b"\0") if word.isascii() and b"." in word]


def test_nothing_grows_with_calls(whole: Path) -> None:
    loaded = frozen.load(whole)
    x = normal(5, 20)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(20_000):
        loaded(x)
    before = resident()
    for _ in range(50_000):
        loaded(x)
    assert resident() - before < 2 << 20
