"""Programs on the driver of ``driver.cpp``: right although every action comes as late as it may."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from played import LIBRARY, PlayedDevice, Tensor, faults, resident
from threads import together

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.array.functions import random
from blockfuse.codegen.cuda.device.driver import StridedMemoryView
from blockfuse.codegen.cuda.program.call_memory import _MAX_SIZES
from blockfuse.ir.errors import DeviceMemoryError, UsageError
from blockfuse.runtime.programs import backend as backends

DEVICE = PlayedDevice()  # one for the process, as in production


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedDevice]:
    """The device; afterwards nothing may have touched memory that was not there."""
    monkeypatch.setattr(backends, "cuda_device", lambda: DEVICE)
    DEVICE.refused = ()
    DEVICE.entries.clear()
    yield DEVICE
    gc.collect()
    DEVICE.finish()
    assert faults() == ""


def mlp() -> Any:
    """Too wide for one launch, so that its launches are captured."""
    random.seed(0)
    net = nn.Sequential()
    net.add(nn.Dense(160, activation="relu"), nn.Dense(4))
    net.initialize()
    net(np.zeros((1, 6)))
    return net


def meant(net: Any, x: numpy.ndarray) -> numpy.ndarray:
    """What the net gives by NumPy, for its present parameters."""
    for layer in net:
        x = x @ layer.weight.data().asnumpy().T + layer.bias.data().asnumpy()
        x = numpy.maximum(x, 0) if layer is net[0] else x
    return x


def values(*shape: int, seed: int = 1) -> numpy.ndarray:
    return numpy.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def close(found: Any, wanted: Any) -> bool:
    return numpy.allclose(found.asnumpy(), wanted, rtol=1e-5, atol=1e-6)


def test_calls_with_arrays_of_the_host(device: PlayedDevice) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    for seed in range(6):
        x = values(3, 6, seed=seed)
        assert close(net(np.array(x)), meant(net, x))
    # The first call was recorded, and its program checked.
    assert device.entries.count("kernel_dense_relu") == 6
    assert "one by one" not in net.explain()


@pytest.mark.parametrize("own_stream", [False, True])
def test_calls_with_arrays_of_the_device_wait_for_nothing_and_are_right(
    device: PlayedDevice, own_stream: bool
) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    given = [values(3, 6, seed=seed) for seed in range(8)]
    net(np.array(given[0]))
    net(np.array(given[0]))
    before, found = len(device.entries), []
    for x in given:
        stream = device.core.create_stream() if own_stream else None
        found.append(net(Tensor(x, device, stream)))  # its memory goes back at once
    assert len(device.entries) <= before + 2 * len(given) - 2  # the last calls have not run
    assert all(close(f, meant(net, x)) for f, x in zip(found, given, strict=True))


def test_parameters_change_between_calls_that_have_not_run(device: PlayedDevice) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    net(np.array(values(3, 6)))
    found, wanted = [], []
    for seed in range(4):
        x = values(3, 6, seed=seed)
        found += [net(Tensor(x, device)), net(np.array(-x)), net(Tensor(x * 2, device))]
        wanted += [meant(net, x), meant(net, -x), meant(net, x * 2)]
        net[0].weight.set_data(net[0].weight.data() * 1.5)
    assert all(close(f, w) for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("foreign", [False, True], ids=["host", "device"])
def test_an_index_beyond_its_axis_is_seen_by_its_call_alone(device: PlayedDevice, foreign: bool) -> None:
    compiled = blockfuse.hybridize(lambda w, i: w[i] * 2 + 1, backend="cuda")
    table, good, bad = values(6, 4), numpy.array([1, -6, 2]), numpy.array([1, 6, 2])
    for index in (good, good, good, good, bad, good, bad, bad, good):
        given = [Tensor(a, device) if foreign else np.array(a) for a in (table, index)]
        if index is bad:
            with pytest.raises(IndexError, match="index 6 is out of bounds for axis 0 with size 6"):
                compiled(*given)
        else:
            assert close(compiled(*given), table[index] * 2 + 1)
    (case,) = compiled._hybrid.cases.values()
    assert (case.attempts, case.eager_calls) == (1, 3)


def test_what_is_staged_is_not_overwritten_before_it_is_read(device: PlayedDevice) -> None:
    """A call with one array of each kind uploads from pinned memory, and nobody waits for it."""
    compiled = blockfuse.hybridize(lambda a, b: (a * 2 + b).tanh() * 3, backend="cuda")
    a, found, wanted = values(4, 5), [], []
    for seed in range(6):
        b = values(4, 5, seed=seed)
        found.append(compiled(Tensor(a, device), np.array(b)))
        wanted.append(numpy.tanh(a * 2 + b) * 3)
    assert all(close(f, w) for f, w in zip(found, wanted, strict=True))


CONSTRUCTS: dict[str, Callable[[Any], Any]] = {
    "chain": lambda x: (x * 2 + 1).tanh() - x.abs(),
    "softmax": lambda x: npx.softmax(x),
    "sums": lambda x: x.sum(0) + x.mean(),
    "stages": lambda x: (x * x).sum(),
    "by NumPy": lambda x: np.sort(x, axis=1) * 2 + np.sort(x, axis=0),
    "product": lambda x: np.dot(x, x.T),
    "loop": lambda x: halved(x),
    "loop of large values": lambda x: halved(np.concatenate([x] * 2000)),
    "loop with two results": lambda x: swapped(x),
    "two results": lambda x: (x + 1, x * 2),
}


def halved(x: Any) -> Any:
    while x.abs().sum() > 1:
        x = x / 2
    return x


def swapped(x: Any) -> Any:
    y = x * 0.5
    while x.abs().sum() > 1:
        x, y = y, x * 0.5
    return x + 1, y * 2


@pytest.mark.parametrize("name", CONSTRUCTS)
@pytest.mark.parametrize("refused", [(), ("",)], ids=["kernels", "no kernels"])
def test_constructs(device: PlayedDevice, name: str, refused: tuple[str, ...]) -> None:
    device.refused = refused
    construct = CONSTRUCTS[name]
    compiled = blockfuse.hybridize(construct, backend="cuda")
    given = [values(6, 4, seed=seed) for seed in range(5)]
    found = [f for x in given for f in (compiled(np.array(x)), compiled(Tensor(x, device)))]
    wanted = [w for x in given for w in [construct(np.array(x))] * 2]
    for one, other in zip(found, wanted, strict=True):
        pairs = zip(one, other, strict=True) if isinstance(other, tuple) else [(one, other)]
        assert all(close(f, w.asnumpy()) for f, w in pairs)


def test_programs_take_results_of_others(device: PlayedDevice) -> None:
    first = blockfuse.hybridize(lambda x: x * 2 + 1, backend="cuda")
    second = blockfuse.hybridize(lambda x: x.tanh() - 3, backend="cuda")
    x, found, wanted = values(5, 7), None, values(5, 7)
    for _ in range(6):
        found = second(first(Tensor(x, device) if found is None else found))
        wanted = numpy.tanh(wanted * 2 + 1) - 3
    assert close(found, wanted)


def test_results_outlive_their_program(device: PlayedDevice) -> None:
    """Also what the program has pinned, while an upload may still read it."""
    compiled = blockfuse.hybridize(lambda a, b: (a * 2 + b).tanh() * 3, backend="cuda")
    a, b = values(4, 5), values(4, 5, seed=2)
    compiled(np.array(a), np.array(b))
    found = compiled(Tensor(a, device), np.array(b))
    del compiled
    gc.collect()
    assert close(found, numpy.tanh(a * 2 + b) * 3)


def test_more_sizes_than_are_kept(device: PlayedDevice) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    sizes = [*range(2, _MAX_SIZES + 5), *range(2, _MAX_SIZES + 5)]
    found = [net(Tensor(values(n, 6, seed=n), device)) for n in sizes]
    assert all(close(f, meant(net, values(n, 6, seed=n))) for f, n in zip(found, sizes, strict=True))


def test_two_threads_call_two_nets_that_share_arrays(device: PlayedDevice) -> None:
    nets, x = [mlp(), mlp()], values(3, 6)
    for net in nets:
        net.hybridize(backend="cuda")
        net(np.array(x))
    shared = Tensor(x, device)

    def call(number: int) -> None:
        net = nets[number % 2]
        for n in range(30):
            assert close(net(shared if n % 2 else np.array(x)), meant(net, x))

    together(call)


def test_too_little_memory_is_an_error_and_the_net_goes_on() -> None:
    net, x = mlp(), values(3, 6)
    net.hybridize(backend="cuda")
    for n in (3, 4):
        net(np.array(values(n, 6)))  # recorded, the second for every size
    assert close(net(np.array(x)), meant(net, x))
    LIBRARY.played_capacity(LIBRARY.played_bytes() + 100_000)
    try:
        with pytest.raises(DeviceMemoryError, match="too little memory left"):
            net(np.array(values(100_000, 6)))
    finally:
        LIBRARY.played_capacity(1 << 30)
    assert close(net(np.array(x)), meant(net, x))


def test_memory_comes_back_when_a_program_goes(device: PlayedDevice) -> None:
    def used() -> int:
        gc.collect()
        device.finish()
        return int(LIBRARY.played_bytes())

    before = used()
    net = mlp()
    net.hybridize(backend="cuda")
    for n in (2, 3, 4):
        net(Tensor(values(n, 6), device))
    assert used() > before
    del net
    assert used() == before


def test_arrays_go_out_and_come_in_by_dlpack(device: PlayedDevice) -> None:
    x = values(3, 4)
    array = resident(device, x)

    class Exported:
        def __dlpack__(self, **options: Any) -> Any:
            return device.exported(array, **options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    view = StridedMemoryView.from_dlpack(Exported(), stream_ptr=device.copies.stream)
    assert (view.ptr, view.shape, view.dtype) == (array.address, (3, 4), x.dtype)
    compiled = blockfuse.hybridize(lambda x: x * 2 + 1, backend="cuda")
    compiled(np.array(x))
    assert close(compiled(Exported()), x * 2 + 1)


def test_a_transposed_array_by_dlpack_is_refused(device: PlayedDevice) -> None:
    array = resident(device, values(3, 4))

    class Transposed:
        def __dlpack__(self, **_: Any) -> Any:
            memory = array.owner[0].buffer
            view = StridedMemoryView.from_buffer(memory, (4, 3), (1, 4), dtype=array.dtype)
            return view.__dlpack__(stream=-1)

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    compiled = blockfuse.hybridize(lambda x: x * 2, backend="cuda")
    with pytest.raises(UsageError, match="does not lie in C order"):
        compiled(Transposed())
