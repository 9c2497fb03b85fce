"""Programs on a device: what they compute, what they ask of it, and what is left when it fails."""

import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from devices import FakeDevice, Tensor
from documents import ROOT
from threads import together

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.array.functions import random
from blockfuse.ir.errors import CudaError, DeviceLostError, DeviceMemoryError, DTypeError, UsageError
from blockfuse.ir.stream import STREAM
from blockfuse.runtime.arrays.foreign import DeviceArray
from blockfuse.runtime.cli.main import main
from blockfuse.runtime.programs import backend as backends
from blockfuse.runtime.programs import estimates

pytestmark = pytest.mark.spread(3)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    made = FakeDevice()
    monkeypatch.setattr(backends, "cuda_device", lambda: made)
    return made


def mlp() -> Any:
    random.seed(0)
    net = nn.Sequential()
    net.add(nn.Dense(160, activation="relu"), nn.Dense(4))  # too wide for one launch
    net.initialize()
    net(np.zeros((1, 6)))
    return net


def values(*shape: int, dtype: str = "float32") -> numpy.ndarray:
    return numpy.random.default_rng(1).uniform(-1, 1, shape).astype(dtype)


def program_of(net: Any) -> Any:
    return next(reversed(net._hybrid.cases.values())).program


def close(found: Any, wanted: Any) -> bool:
    return numpy.allclose(numpy.asarray(found), numpy.asarray(wanted), rtol=1e-5, atol=1e-6)


# -- what a call does ------------------------------------------------------------------------------------------


def test_a_net_gives_the_same_on_the_device(device: FakeDevice) -> None:
    net, x = mlp(), np.array(values(3, 6))
    wanted = net(x)
    net.hybridize(backend="cuda")
    assert all(close(net(x), wanted) for _ in range(4))
    assert program_of(net).executable.calls() == 3
    assert f"on {device.name}" in net.explain()


def test_launches_are_replayed_once_their_addresses_come_back(device: FakeDevice) -> None:
    net, x = mlp(), np.array(values(3, 6))
    net.hybridize(backend="cuda", check=False)
    net(x)
    calls = []
    for _ in range(3):
        device.taken()
        net(x)
        calls.append(device.taken())
    launches = ["launch", "launch"]
    assert calls[0] == ["allocate", "upload", *launches, "download"]
    assert calls[1] == ["upload", "capture", "replay", *launches, "download"]
    assert calls[2] == ["upload", "replay", *launches, "download"]


def test_only_parameters_that_a_call_reads_are_uploaded_and_a_new_version_goes_to_the_same_place(
    device: FakeDevice,
) -> None:
    net, x = mlp(), np.array(values(3, 6))
    net.hybridize(backend="cuda")
    for _ in range(3):
        net(x)
    device.taken()
    weight = net[0].weight
    weight.set_data(weight.data() * 2)
    wanted = net.forward(x)
    assert close(net(x), wanted)
    assert device.taken().count("upload") == 4 + 1  # two packed weights, two biases, the argument
    assert close(net(x), wanted)
    assert "replay" in device.taken()


@pytest.mark.usefixtures("device")
def test_an_array_in_memory_of_numpy_is_noticed_when_it_changes() -> None:
    class Shifted(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.shift = numpy.ones(4, "float32")

        def forward(self, x: Any) -> Any:
            return x * 2 + self.shift

    net, x = Shifted(), np.ones(4)
    net.hybridize(backend="cuda")
    for n in (1, 1, 1, 2, 2, 2, 3):
        net.shift[...] = n
        assert close(net(x), np.ones(4) * (2 + n))


def test_a_loop_on_large_values_asks_the_device_for_each_decision(device: FakeDevice) -> None:
    @blockfuse.hybridize(backend="cuda")
    def halved(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
        return x + 1

    for rounds in (0, 2, 5, 2, 5, 0):
        x = np.full((1 << 16,), 2.0 ** (rounds - 16))
        device.taken()
        assert close(halved(x), halved.__wrapped__(x))
        read = device.taken().count("download")
    assert read == 1 + 1  # the decision, and the result
    halved(np.full((1 << 16,), 2.0**-9))
    assert device.taken().count("download") == 1 + 7 + 1


@pytest.mark.long
def test_draws_are_those_of_the_processor_and_only_pieces_of_the_stream_are_uploaded(
    device: FakeDevice,
) -> None:
    def noisy(x: Any) -> Any:
        kept = npx.dropout(x, 0.5, mode="always") + np.random.uniform(size=(4, 3), dtype="float64")
        return (kept * 2 + np.random.normal(size=(4, 3))).exp() + 1

    compiled, x = blockfuse.hybridize(noisy, backend="cuda"), np.array(values(4, 3))
    compiled(x)
    for seed in range(4):
        random.seed(seed)
        device.taken()
        found, end = compiled(x), STREAM.generator.bit_generator.state
        log = device.taken()
        random.seed(seed)
        assert close(found, noisy(x))
        assert end == STREAM.generator.bit_generator.state
    assert log == ["upload"] * 4 + ["replay", "launch", "launch", "launch", "download"]
    assert "numpy normal" in compiled.explain()
    assert "numpy uniform" not in compiled.explain()


def test_a_kernel_that_does_not_compile_runs_on_the_processor(device: FakeDevice) -> None:
    device.refused = ("exp",)

    @blockfuse.hybridize(backend="cuda")
    def mixed(x: Any, y: Any) -> Any:
        return blockfuse.npx.softmax(np.dot(x, y)) + 1, np.dot(y, x)

    x, y = np.array(values(4, 6)), np.array(values(6, 4))
    wanted = mixed.__wrapped__(x, y)
    for _ in range(3):
        assert all(close(a, b) for a, b in zip(mixed(x, y), wanted, strict=True))
    assert "on the processor: kernel" in mixed.explain()
    assert "it does not compile: a test says so" in mixed.explain()


@pytest.mark.usefixtures("device")
def test_one_program_does_for_every_size_of_the_batch() -> None:
    net = mlp()
    wanted = {n: net(np.array(values(n, 6))) for n in range(1, 40)}
    net.hybridize(backend="cuda")
    for n in (*range(2, 40), 5, 1):
        assert close(net(np.array(values(n, 6))), wanted[n])
    assert program_of(net).schedule.batch
    assert len(program_of(net).executable._memories) <= 8


@pytest.mark.usefixtures("device")
def test_arguments_in_another_order_of_memory_are_copied() -> None:
    net, x = mlp(), np.array(values(6, 3)).T
    wanted = net(x)
    net.hybridize(backend="cuda")
    assert all(close(net(x), wanted) for _ in range(3))


@pytest.mark.usefixtures("device")
def test_arrays_of_numpy_come_back_as_such() -> None:
    net, x = mlp(), values(3, 6)
    wanted = net(x)
    net.hybridize(backend="cuda")
    for _ in range(3):
        found = net(x)
        assert type(found) is numpy.ndarray
        assert close(found, wanted)
    (program,) = [case.program for case in net._hybrid.cases.values()]
    before = program.executable.calls()
    assert type(net._entry(x)) is numpy.ndarray
    assert type(net._entry(np.array(x))) is np.ndarray
    assert program.executable.calls() == before + 2


@pytest.mark.usefixtures("device")
def test_callers_of_one_program_wait_for_each_other() -> None:
    net = mlp()
    given = [np.array(values(3, 6) + n) for n in range(4)]
    wanted = [net(x) for x in given]
    net.hybridize(backend="cuda")
    net(given[0])

    def call(n: int) -> None:
        assert all(close(net(given[n]), wanted[n]) for _ in range(50))

    together(call)


TABLE = numpy.arange(24.0, dtype="float32").reshape(6, 4)
GOOD, BAD = (numpy.array(rows) for rows in ([1, -6, 2], [1, 9, 2]))


def picked(w: Any, i: Any) -> Any:
    return w[i] * 2 + 1


def halved_then_picked(w: Any, i: Any) -> Any:
    while w.sum() > 100:
        w = w / 2 + w[i].sum() * 0
    return w


def sorted_then_picked(w: Any, i: Any) -> Any:
    return np.sort(w[i] * 2, axis=1) + w[i]


def picked_then_compared(w: Any, i: Any) -> Any:
    """The rows that are read in the place of those beyond the axis would take another way."""
    return w[i] * 3 if w[i].sum() > 70 else w[i] * 2


PICKING = (picked, halved_then_picked, sorted_then_picked, picked_then_compared)


@pytest.mark.spread(7)
@pytest.mark.parametrize("function", PICKING)
@pytest.mark.parametrize("foreign", [False, True], ids=["host", "device"])
@pytest.mark.parametrize("refused", [(), ("take_at",)], ids=["kernels", "on the processor"])
def test_an_index_beyond_its_axis_raises_as_eager_does(
    device: FakeDevice, function: Callable[..., Any], foreign: bool, refused: tuple[str, ...]
) -> None:
    device.refused = refused
    compiled = blockfuse.hybridize(function, backend="cuda")
    wanted = function(np.array(TABLE), np.array(GOOD)).asnumpy()
    with pytest.raises(IndexError) as raised:
        function(np.array(TABLE), np.array(BAD))

    def call(index: numpy.ndarray) -> numpy.ndarray:
        pair = (TABLE, index)
        found = compiled(*(Tensor(a, device) if foreign else np.array(a) for a in pair))
        return found.numpy() if foreign else found.asnumpy()  # type: ignore[no-any-return]

    call(GOOD)
    program = program_of(compiled)
    calls = program.executable.calls()
    for index in (GOOD, GOOD, GOOD, BAD, BAD, GOOD, BAD, GOOD):  # new launches, and captured ones
        if index is GOOD:
            assert close(call(index), wanted)
        else:
            with pytest.raises(IndexError, match=re.escape(str(raised.value))):
                call(index)
    (case,) = compiled._hybrid.cases.values()
    assert case.attempts == 1
    assert case.program is program
    assert program.executable.calls() - calls == 5
    plan = program.executable.plan
    assert any("take_at" in kernel.name for kernel in plan.reasons) == bool(refused)
    deciding = len(plan.schedule.blocks) > 1
    assert any("picks by index" in reason for reason in plan.apart.values()) == deciding


@pytest.mark.usefixtures("device")
def test_draws_of_a_call_that_raises_are_those_of_eager() -> None:
    def noisy(w: Any, i: Any) -> Any:
        return w[i] + np.random.uniform(size=(3, 4))

    def drawn(function: Any, index: numpy.ndarray) -> Any:
        random.seed(5)
        with suppress(IndexError):
            function(np.array(TABLE), np.array(index))
        return np.random.uniform(size=(2,)).tolist()

    compiled = blockfuse.hybridize(noisy, backend="cuda")
    for index in (GOOD, GOOD, BAD, GOOD, BAD):
        assert drawn(compiled, index) == drawn(noisy, index)


@pytest.mark.parametrize("foreign", [False, True], ids=["host", "device"])
def test_only_programs_with_indices_ask_whether_one_is_beyond_its_axis(
    device: FakeDevice, foreign: bool
) -> None:
    """Results of the host bring the answer with them; otherwise it is a download, for which the call waits."""
    downloads = {}
    for name, function in {"picks": picked, "adds": lambda w, i: w[:3] + i[0] * 2}.items():
        compiled = blockfuse.hybridize(function, backend="cuda")
        pair = [Tensor(a, device) if foreign else np.array(a) for a in (TABLE, GOOD)]
        compiled(*pair), compiled(*pair)
        device.log.clear()
        compiled(*pair)
        downloads[name] = device.log.count("download")
    assert downloads == ({"picks": 1, "adds": 0} if foreign else {"picks": 1, "adds": 1})


CONSTRUCTS: dict[str, Callable[[Any], Any]] = {
    "elementwise": lambda x: (x * 2 + 1).tanh() - x.abs(),
    "softmax": lambda x: blockfuse.npx.softmax(x),
    "layer norm": lambda x: (x - x.mean(-1, keepdims=True)) / (x.var(-1, keepdims=True) + 1e-5).sqrt(),
    "sum of columns": lambda x: x.sum(0),
    "mean of everything": lambda x: x.mean(),
    "transposed": lambda x: x.T.copy() * 2,
    "concatenated": lambda x: np.concatenate([x, x * 2], axis=1),
    "written": lambda x: np.where(x > 0, x, 0).at[0].set(3) if hasattr(x, "at") else np.where(x > 0, x, 0),
    "integers": lambda x: (x * 10).astype("int32") // 3 + 1,
    "bools": lambda x: (x > 0) & (x < 0.5),
    "float16": lambda x: x.astype("float16") * 2,
    "sorted": lambda x: np.sort(x, axis=1) + 1,
    "several results": lambda x: (x + 1, [x * 2, {"a": x.sum()}]),
    "nothing in it": lambda x: x[:0] + 1,
    "matrices": lambda x: np.matmul(x.reshape(2, 3, 4), x.reshape(2, 4, 3)),
    "the argument": lambda x: x,
}


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", CONSTRUCTS)
@pytest.mark.parametrize("foreign", [False, True], ids=["host", "device"])
def test_a_construct_gives_the_same_on_the_device(device: FakeDevice, name: str, foreign: bool) -> None:
    data = values(6, 4)
    compiled = blockfuse.hybridize(CONSTRUCTS[name], backend="cuda")
    wanted = _leaves(CONSTRUCTS[name](np.array(data)))
    for _ in range(4):
        found = _leaves(compiled(Tensor(data, device) if foreign else np.array(data)))
        assert all(type(f) is (Tensor if foreign else np.ndarray) for f in found)
        arrays = [f.numpy() if foreign else f.asnumpy() for f in found]
        for one, other in zip(arrays, (w.asnumpy() for w in wanted), strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            assert close(one, other)


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_the_processor_can_run_every_kernel(device: FakeDevice, name: str) -> None:
    device.refused = ("",)
    data = np.array(values(6, 4))
    compiled = blockfuse.hybridize(CONSTRUCTS[name], backend="cuda")
    wanted = _leaves(CONSTRUCTS[name](data))
    for _ in range(2):
        pairs = zip(_leaves(compiled(data)), wanted, strict=True)
        assert all(close(one, other) for one, other in pairs)
    assert "launch" not in device.log


@pytest.mark.parametrize("widths", [(6, 5, 4, 3), (6, 200, 4)], ids=["one launch", "two"])
@pytest.mark.parametrize("refused", [("net",), ("",)], ids=["net", "everything"])
def test_a_net_that_does_not_compile_as_one_goes_on_layer_by_layer(
    device: FakeDevice, widths: tuple[int, ...], refused: tuple[str, ...]
) -> None:
    device.refused = refused
    net, x = nn.Sequential(), np.array(values(3, 6))
    net.add(*(nn.Dense(n, activation="tanh") for n in widths[1:]))
    net.initialize()
    wanted = net(x)
    net.hybridize(backend="cuda")
    assert all(close(net(x), wanted) for _ in range(3))
    assert ("launch" in device.log) is (refused == ("net",))
    assert ("load net float32" in device.log) is (len(widths) == 4)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for v in value for leaf in _leaves(v)]
    return [leaf for v in value.values() for leaf in _leaves(v)] if isinstance(value, dict) else [value]


# -- arrays that lie on the device -----------------------------------------------------------------------------


def test_an_array_of_the_device_stays_there(device: FakeDevice) -> None:
    net, data = mlp(), values(3, 6)
    wanted = net(data)
    net.hybridize(backend="cuda")
    x = Tensor(data, device)
    first = net(x)
    assert type(first) is Tensor
    assert close(first.numpy(), wanted)
    for _ in range(4):
        device.taken()
        found = net(x)
        assert not {"upload", "download", "finish"} & set(device.taken())
        assert type(found) is Tensor
        assert close(found.numpy(), wanted)


def test_results_are_memory_of_their_own(device: FakeDevice) -> None:
    net, one, other = mlp(), values(3, 6), values(3, 6) * 2
    wanted = net(one), net(other)
    net.hybridize(backend="cuda")
    x, y = Tensor(one, device), Tensor(other, device)
    net(x)
    found = [net(x), net(y), net(x), net(y)]
    assert all(close(f.numpy(), wanted[n % 2]) for n, f in enumerate(found))


def test_arrays_of_the_device_and_of_the_host_may_be_mixed(device: FakeDevice) -> None:
    compiled = blockfuse.hybridize(lambda x, y, n: x * y + n, backend="cuda")
    x, y = values(3, 6), values(3, 6) + 1
    for n in (1.5, 2.5, 3.5, 4.5, 5.5):
        for given in (np.array(y), y):
            found = compiled(Tensor(x, device), given, n)
            assert type(found) is Tensor
            assert close(found.numpy(), x * y + n)


def test_queues_wait_for_the_stream_that_an_array_names(device: FakeDevice) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    net(Tensor(values(3, 6), device))
    device.taken()
    net(Tensor(values(3, 6), device, stream=77))
    log = device.taken()
    assert log.index("follow 77") < log.index("launch")
    assert log.index("lead 77") > log.index("launch")
    net(Tensor(values(3, 6), device, stream=1))  # the default stream, for which streams wait by themselves
    assert "follow" not in " ".join(device.taken())


def test_a_forward_in_python_keeps_arrays_on_the_device_between_its_blocks(device: FakeDevice) -> None:
    class Counting(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Dense(6), nn.Dense(4)
            self.count = 0

        def forward(self, x: Any) -> Any:
            self.count += 1
            return self.other(self.one(x))

    net, data = Counting(), values(3, 6)
    net.initialize()
    wanted = net(data)
    net.hybridize(backend="cuda")
    for _ in range(12):
        device.taken()
        found = net(Tensor(data, device))
        assert close(found.numpy(), wanted)
    assert net.count == 13


def test_audits_compare_calls_with_arrays_of_the_device(device: FakeDevice) -> None:
    net, data = mlp(), values(3, 6)
    wanted = net(data)
    net.hybridize(backend="cuda", audit=1)
    x = Tensor(data, device)
    for _ in range(4):
        assert close(net(x).numpy(), wanted)
    assert "3 audited" in net.explain()


def test_an_array_in_another_order_whose_library_cannot_copy_it_is_refused(device: FakeDevice) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    transposed = Tensor(values(6, 6), device, strides=(4, 24))
    for _ in range(2):
        with pytest.raises(UsageError, match="does not lie in C order on the device: pass a contiguous copy"):
            net(transposed)
    net(Tensor(values(6, 6), device, strides=(24, 4)))


def test_an_array_that_wide_loads_cannot_read_is_copied(device: FakeDevice) -> None:
    net, data = mlp(), values(4, 6)
    wanted = net(data)
    net.hybridize(backend="cuda")
    for _ in range(4):
        x = Tensor(numpy.concatenate([values(1), data.reshape(-1)]), device)
        x.interface |= {"shape": data.shape, "data": (x._memory.address + 4, False)}
        assert close(net(x).numpy(), wanted)
    assert "copy" in device.log


def test_a_dtype_that_the_language_does_not_have_is_refused(device: FakeDevice) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    with pytest.raises(DTypeError, match="complex64 is not supported"):
        net(Tensor(values(3, 6).astype("complex64"), device))


def test_an_array_of_the_device_cannot_be_written(device: FakeDevice) -> None:
    def written(x: Any) -> Any:
        x[0] = 0
        return x

    x = Tensor(values(3, 6), device)
    with pytest.raises(ValueError, match="read-only"):
        blockfuse.hybridize(written, backend="cuda")(x)


def test_a_library_without_from_dlpack_gets_an_array_of_ours(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys.modules[Tensor.__module__], "from_dlpack")
    net, data = mlp(), values(3, 6)
    wanted = net(data)
    net.hybridize(backend="cuda")
    for _ in range(3):
        found = net(Tensor(data, device))
        assert type(found) is DeviceArray
        assert close(found.asnumpy(), wanted)
        assert found.__dlpack_device__() == (2, 0)
        assert found.__cuda_array_interface__["shape"] == found.shape == (3, 4)
        assert repr(found) == "DeviceArray(float32[3, 4] on a device of the tests)"
        assert type(net(Tensor(data, device))) is DeviceArray


class TorchTensor(Tensor):
    """What we ask of a tensor of torch, which is read and made without the common interfaces."""

    is_cuda, requires_grad, number = True, False, 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.interface["shape"]

    @property
    def dtype(self) -> str:
        return f"torch.{numpy.dtype(self.interface['typestr'])}"

    def data_ptr(self) -> int:
        return self.interface["data"][0]

    def get_device(self) -> int:
        return self.number

    def contiguous(self) -> "TorchTensor":
        return self if self.interface["strides"] is None else turned(self)

    def new_empty(self, shape: tuple[int, ...], dtype: Any) -> "TorchTensor":
        return type(self)(numpy.empty(shape, dtype), self.device)


TorchTensor.__module__ = "torch.fake"


class CupyArray(Tensor):
    """What we ask of an array of CuPy."""


CupyArray.__module__ = "cupy.fake"


def turned(array: Any) -> Any:
    """The values of a transposed array in C order."""
    return type(array)(array.numpy().T.copy(), array.device)


@pytest.fixture
def torch(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    stream = SimpleNamespace(cuda_stream=0)
    module = SimpleNamespace(
        float32="float32",
        cuda=SimpleNamespace(current_stream=lambda: stream),
        is_grad_enabled=lambda: True,
        stream=stream,
        from_dlpack=lambda _: pytest.fail("the result is a new tensor of torch"),
    )
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(TorchTensor, "device", device, raising=False)
    return module


def test_tensors_of_torch_are_read_and_made_by_torch(device: FakeDevice, torch: SimpleNamespace) -> None:
    net, data = mlp(), values(3, 6)
    wanted = net(data)
    net.hybridize(backend="cuda")
    torch.from_dlpack = lambda a: TorchTensor(a.asnumpy(), device)  # of the call that is recorded
    x = TorchTensor(data, device)
    net(x)
    torch.from_dlpack = lambda _: pytest.fail("the result is a new tensor of torch")
    for stream in (0, 0, 55):
        torch.stream.cuda_stream = stream
        device.taken()
        found = net(x)
        assert type(found) is TorchTensor
        assert close(found.numpy(), wanted)
        assert ("follow 55" in device.taken()) is (stream == 55)


def test_a_transposed_tensor_of_torch_is_brought_into_order(
    device: FakeDevice, torch: SimpleNamespace
) -> None:
    torch.from_dlpack = lambda a: TorchTensor(a.asnumpy(), device)  # of the call that is recorded
    check_transposed(TorchTensor, device)


def test_a_transposed_array_of_cupy_is_brought_into_order(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = SimpleNamespace(data=SimpleNamespace(ptr=0))

    def empty(shape: tuple[int, ...], dtype: Any) -> Any:
        array = CupyArray(numpy.empty(shape, dtype), device)
        made.data.ptr, array.data = array._memory.address, made.data
        return array

    module = SimpleNamespace(
        ascontiguousarray=turned, empty=empty, from_dlpack=lambda a: CupyArray(a.asnumpy(), device)
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(CupyArray, "device", device, raising=False)
    check_transposed(CupyArray, device)


def check_transposed(kind: Any, device: FakeDevice) -> None:
    net, data = mlp(), values(6, 6)
    wanted = net(data)
    net.hybridize(backend="cuda")
    for _ in range(3):
        found = net(kind(data.T.copy(), device, strides=(4, 24)))
        assert type(found) is kind
        assert close(found.numpy(), wanted)


@pytest.mark.usefixtures("torch")
def test_a_tensor_that_requires_gradients_or_lies_elsewhere_is_refused(device: FakeDevice) -> None:
    net = mlp()
    net.hybridize(backend="cuda")
    x = TorchTensor(values(6, 6), device)
    x.requires_grad = True
    with pytest.raises(UsageError, match=r"gets none from a compiled call: pass tensor.detach\(\)"):
        net(x)
    far = TorchTensor(values(6, 6), device)
    far.number = 1
    with pytest.raises(UsageError, match="lies on device 1, and programs run on the first one"):
        net(far)


def test_a_net_that_is_not_on_the_device_leaves_its_arrays_alone(device: FakeDevice) -> None:
    net = mlp()
    net.hybridize(backend="cpu")
    with pytest.raises(Exception, match="Tensor"):
        net(Tensor(values(3, 6), device))


# -- failures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["first", "later"])
@pytest.mark.parametrize(
    "action", ["allocate", "upload", "launch", "capture", "replay", "download", "finish"]
)
def test_a_net_is_usable_after_the_device_had_too_little_memory(
    device: FakeDevice, action: str, when: str
) -> None:
    net, x = mlp(), np.array(values(3, 6))
    wanted = net(x)
    net.hybridize(backend="cuda", check=False)
    if when == "later":
        net(x)
    device.fails = {action: DeviceMemoryError("too little memory left")}
    failures = 0
    for _ in range(4):
        try:
            assert close(net(x), wanted)
        except DeviceMemoryError:
            failures += 1
    assert failures or (action, when) == ("finish", "later")
    net[1].bias.set_data(net[1].bias.data() + 1)
    device.fails = {}
    for _ in range(4):
        assert close(net(x), wanted + 1)
    assert program_of(net).executable.calls()


def test_parameters_that_could_not_be_uploaded_are_uploaded_at_the_next_call(device: FakeDevice) -> None:
    net, x = mlp(), np.array(values(3, 6))
    net.hybridize(backend="cuda")
    net(x)
    net(x)
    weight = net[0].weight
    weight.set_data(weight.data() * 3)
    device.fails = {"upload": DeviceMemoryError("too little memory left")}
    with pytest.raises(DeviceMemoryError):
        net(x)
    device.fails = {}
    assert close(net(x), net.forward(x))


def test_a_lost_device_is_an_error_and_the_processor_still_works(device: FakeDevice) -> None:
    net, x = mlp(), np.array(values(3, 6))
    wanted = net(x)
    net.hybridize(backend="cuda")
    net(x)
    device.fails = {"launch": DeviceLostError("the device is lost")}
    with pytest.raises(DeviceLostError, match="is lost"):
        net(x)
    device.fails = {}
    with pytest.raises(DeviceLostError, match="cannot be used any more"):
        net(x)
    net.hybridize(backend="cpu")
    assert all(close(net(x), wanted) for _ in range(3))


def test_launches_that_cannot_be_captured_go_one_by_one(device: FakeDevice) -> None:
    net, x = mlp(), np.array(values(3, 6))
    wanted = net(x)
    net.hybridize(backend="cuda")
    device.fails = {"capture": CudaError("a stream that is captured")}
    assert all(close(net(x), wanted) for _ in range(5))
    assert device.log.count("capture") == 1
    assert "launched one by one because a stream that is captured" in net.explain()


def test_a_batch_for_which_there_is_no_room_gets_that_of_the_others(device: FakeDevice) -> None:
    net = mlp()
    wanted = {n: net(np.array(values(n, 6))) for n in (2, 3, 5, 900, 1000)}
    net.hybridize(backend="cuda")
    device._capacity = 800_000
    for _ in range(2):
        for n in (2, 3, 5, 900, 1000):
            assert close(net(np.array(values(n, 6))), wanted[n])
    device._capacity = 1000
    with pytest.raises(DeviceMemoryError):
        net(np.array(values(800, 6)))
    device._capacity = 800_000
    assert close(net(np.array(values(900, 6))), wanted[900])


def test_memory_is_given_back_with_the_program(device: FakeDevice) -> None:
    net, x = mlp(), np.array(values(3, 6))
    net.hybridize(backend="cuda")
    for _ in range(3):
        net(x)
    assert len(device._memories) == 2  # parameters, and the space of a call
    gc.collect()  # what recording and compiling left
    net.hybridize(False)
    assert len(device._memories) == 0


# -- which backend ---------------------------------------------------------------------------------------------


def test_a_missing_device_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise CudaError("there is no NVIDIA driver")

    monkeypatch.setattr(backends, "cuda_device", missing)
    net, x = mlp(), np.array(values(3, 6))
    net.hybridize(backend="cpu")
    net(x)
    before = net._hybrid
    with pytest.raises(CudaError, match="no NVIDIA driver"):
        net.hybridize(backend="cuda")
    assert net._hybrid is before
    with pytest.raises(CudaError, match="no NVIDIA driver"):
        blockfuse.hybridize(lambda x: x + 1, backend="cuda")


def test_precision_is_for_products_of_a_device(device: FakeDevice) -> None:
    net, x = mlp(), np.array(values(3, 6))
    net.hybridize(backend="cuda", precision="tf32")
    net(x)
    assert "load dense tf32" in device.log
    with pytest.raises(UsageError, match="there is no precision 'fp8'"):
        net.hybridize(backend="cuda", precision="fp8")
    with pytest.raises(UsageError, match="is for backend='cuda'"):
        net.hybridize(precision="tf32")


def test_a_precision_that_nobody_computes_is_an_error(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "precisions", ("float32",))
    net = mlp()
    with pytest.raises(CudaError, match=r"needs cuBLASLt, which was not found: pip install"):
        net.hybridize(backend="cuda", precision="bf16")
    net.hybridize(backend="cuda")


@pytest.mark.parametrize(("width", "place"), [(16, "the processor"), (1024, "a device of the tests")])
def test_auto_goes_by_the_estimate(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch, width: int, place: str
) -> None:
    monkeypatch.setattr(backends, "is_installed", lambda: True)

    @blockfuse.hybridize(threads=1)
    def chain(x: Any) -> Any:
        for _ in range(3):
            x = np.dot(x, x)
        return x

    x = np.full((width, width), 1e-3)
    assert all(close(chain(x), chain.__wrapped__(x)) for _ in range(2))
    assert f"on {place}: a call from host memory" in chain.explain()
    assert bool(device.log) is (width == 1024)


def test_auto_does_not_ask_for_a_device_that_would_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Any:
        raise AssertionError

    monkeypatch.setattr(backends, "is_installed", lambda: True)
    monkeypatch.setattr(backends, "cuda_device", never)
    net, x = mlp(), np.array(values(3, 6))
    net.hybridize()
    assert all(close(net(x), net.forward(x)) for _ in range(3))
    assert "on the processor: a call from host memory" in net.explain()


# -- the command line ------------------------------------------------------------------------------------------

FUNCTION = """
import blockfuse

@blockfuse.hybridize(backend="cpu")
def scaled(x, y):
    return (x * 2 + y).tanh()
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "functions.py"
    path.write_text(FUNCTION)
    return f"{path}:scaled"


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--input", "5x8", "--input", "8"])
    return end.value.code, *capsys.readouterr()


def test_show_prints_kernels_for_a_device_that_is_not_here(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOCKFUSE_CUDA_ARCH", "sm_80")
    status, out, _ = command(capsys, "show", file, "--backend", "cuda", "--stage", "source")
    assert status == 0
    assert re.search(r"^def \w+\(x0, x1, out, rows\):", out, flags=re.MULTILINE)


LOOP = """
import blockfuse

@blockfuse.hybridize(backend="cpu")
def halved(x, y):
    while x.sum() > 1:
        x = x / 2
    return x + y
"""


def test_show_tells_which_blocks_are_one_launch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOCKFUSE_CUDA_ARCH", "sm_80")
    (tmp_path / "loop.py").write_text(LOOP)
    place = f"{tmp_path / 'loop.py'}:halved"
    status, out, _ = command(capsys, "show", place, "--backend", "cuda", "--stage", "source")
    assert status == 0
    assert re.search(r"^# blocks 0, 1.* are one launch, which decides", out, flags=re.MULTILINE)
    assert re.search(r"^def region\(.*, scratch, at\):  # blocks 0, 1", out, flags=re.MULTILINE)


def test_compare_runs_on_the_device(
    device: FakeDevice, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = command(capsys, "compare", file, "--backend", "cuda")
    assert status == 0
    assert "1 compiled, 0 eager; all results agree" in out
    assert "launch" in device.log


def test_compare_without_a_device_is_one_line(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise CudaError("backend='cuda' cannot be used: there is no NVIDIA driver")

    monkeypatch.setattr(backends, "cuda_device", missing)
    status, out, err = command(capsys, "compare", file, "--backend", "cuda")
    assert (status, out) == (2, "")
    assert err == "blockfuse: backend='cuda' cannot be used: there is no NVIDIA driver\n"


# -- what the documents say ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "nbytes"),
    [("64 x 784", 64 * 784 * 4), ("1024 x 784", 1024 * 784 * 4), ("4096 x 1024", 2 * 4096 * 1024 * 4)],
)
def test_the_arithmetic_of_transfers_is_that_of_the_estimate(row: str, nbytes: int) -> None:
    text = (ROOT / "docs/cuda.md").read_text(encoding="utf-8")
    copies = nbytes / estimates.TRANSFER / 1000
    (cells,) = re.findall(rf"^\| {row} .*?\| (\d+) us \| (\d+) us \|$", text, flags=re.MULTILINE)
    assert cells == (f"{copies:.0f}", f"{copies + estimates.CALL / 1000:.0f}")
