"""Parameters in safetensors, and under the names of torch: both ways, and what is refused."""

import json
import struct

import numpy
import pytest

from blockfuse import nn, np
from blockfuse.gluon import rnn
from blockfuse.ir.errors import MissingParameterError, ParameterFileError, UsageError
from blockfuse.nn import parameter_files


def net_of(*layers):
    net = nn.Sequential(*layers)
    net.initialize()
    return net


def dense():
    return net_of(nn.Dense(3, in_units=4), nn.BatchNorm(in_channels=3), nn.Dense(2, in_units=3))


ARRAYS = {
    "a.weight": numpy.arange(6, dtype="float32").reshape(2, 3),
    "b": numpy.float64([1.5, -2]),
    "half": numpy.float16([[0.5]]),
    "scalar": numpy.array(7, "int64"),
    "bytes": numpy.uint8([1, 2, 3]),
    "truths": numpy.array([True, False]),
    "none": numpy.zeros((0, 3), "int32"),
    "name of ümlaut": numpy.int8([-1]),
    "columns": numpy.arange(6, dtype="int16").reshape(2, 3).T,
}


def test_safetensors_come_back_as_they_were(tmp_path):
    parameter_files.write(tmp_path / "x.safetensors", ARRAYS)
    found = parameter_files.read(tmp_path / "x.safetensors")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert (found[name] == array).all()


def test_a_file_is_what_the_format_says(tmp_path):
    parameter_files.write(tmp_path / "x.safetensors", {"w": numpy.float32([[1, 2]])})
    data = (tmp_path / "x.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert not length % 8
    assert json.loads(data[8 : 8 + length]) == {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
    }
    assert data[8 + length :] == struct.pack("<2f", 1, 2)


def test_the_library_and_we_read_each_others_files(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    parameter_files.write(tmp_path / "ours.safetensors", ARRAYS)
    theirs = library.load_file(tmp_path / "ours.safetensors")
    assert all((theirs[name] == array).all() for name, array in ARRAYS.items())
    library.save_file(
        {name: numpy.ascontiguousarray(a) for name, a in ARRAYS.items()}, tmp_path / "t.safetensors"
    )
    found = parameter_files.read(tmp_path / "t.safetensors")
    assert all((found[name] == array).all() for name, array in ARRAYS.items())


def written(path, table, data=b"", length=None):
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_bfloat16_is_read_as_float32(tmp_path):
    file = written(tmp_path / "x.safetensors", entry("BF16", (2,)), struct.pack("<2H", 0x3FC0, 0xC000))
    (found,) = parameter_files.read(file).values()
    assert (found.dtype, found.tolist()) == (numpy.float32, [1.5, -2.0])


@pytest.mark.parametrize(
    ("table", "data", "length", "says"),
    [
        (entry(), b"123", None, "take 4 bytes, and it has 3"),
        (entry(), b"12345", None, "take 4 bytes, and it has 5"),
        (entry(), b"1234", 10**15, "longer than the file"),
        (entry(), b"1234", 2**64 - 1, "longer than the file"),
        (entry("F8_E4M3"), b"1234", None, "'F8_E4M3', which is not supported"),
        (entry(shape=(2**40,)), b"1234", None, "has 4 bytes, which are not those of shape"),
        (entry(shape=(-1,), offsets=(0, -4)), b"", None, "sizes that are none"),
        (entry(shape=(True,)), b"1234", None, "sizes that are none"),
        (entry(offsets=(4, 8)), b"12345678", None, "overlap, or leave gaps"),
        ({**entry(), "v": entry()["w"]}, b"1234", None, "overlap, or leave gaps"),
        ({"w": {"dtype": "F32"}}, b"", None, "shape"),
        ({"w": 3}, b"", None, "no parameter file"),
        ([], b"", None, "its table is none"),
        (b"no json", b"", None, "no parameter file"),
        (b"\xff\xff", b"", None, "no parameter file"),
        (b"[" * 100_000, b"", None, "no parameter file"),
    ],
)
def test_files_that_lie_are_refused(tmp_path, table, data, length, says):
    with pytest.raises(ParameterFileError, match=says):
        parameter_files.read(written(tmp_path / "x.safetensors", table, data, length))


def test_a_file_that_is_cut_short_anywhere_is_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    parameter_files.write(file, ARRAYS)
    whole = file.read_bytes()
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        with pytest.raises(ParameterFileError):
            parameter_files.read(file)


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_net_saves_and_loads_by_its_own_names_or_others(tmp_path):
    net, other = dense(), dense()
    net.save_parameters(tmp_path / "own.safetensors")
    other.load_parameters(tmp_path / "own.safetensors")
    assert (other[0].weight.data() == net[0].weight.data()).all()
    net.save_parameters(tmp_path / "torch.safetensors", names="torch")
    assert list(parameter_files.read(tmp_path / "torch.safetensors")) == [
        *("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "2.weight", "2.bias")
    ]
    third = dense()
    third.load_parameters(tmp_path / "torch.safetensors", names="torch")
    assert (third[2].weight.data() == net[2].weight.data()).all()
    net.save_parameters(tmp_path / "net.npz", names=lambda name: f"net.{name}")
    third.load_parameters(tmp_path / "net.npz", names=lambda name: name.removeprefix("net."))


def test_names_can_be_a_dict():
    net = dense()
    values = {name: p.data() * 0 for name, p in net.collect_params().items()}
    values["head.w"] = values.pop("2.weight") + 3
    values["step"] = np.ones(1)
    net.load_dict(values, names={"head.w": "2.weight", "step": None})
    assert (net[2].weight.data() == 3).all()


def test_all_that_does_not_fit_is_told_at_once():
    net = dense()
    values = {f"net.{name}": p.data() for name, p in net.collect_params().items()}
    del values["net.0.bias"], values["net.1.gamma"]
    values["net.2.weight"] = np.ones((5, 3))
    values["net.extra"] = np.ones(1)
    before = net[0].weight.data().copy()
    values["net.0.weight"] = before + 1
    with pytest.raises(MissingParameterError) as error:
        net.load_dict(values, names=lambda name: name.removeprefix("net."))
    for part in (
        "0.bias is missing",
        "1.gamma is missing",
        "extra is not in the net",
        "2.weight has shape (5, 3)",
    ):
        assert part in str(error.value)
    assert (net[0].weight.data() == before).all()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"0.weight": "0.bias"}, "two values get the name '0.bias'"),
        ("keras", "names is 'keras'"),
        (3, "names is 3"),
    ],
)
def test_names_that_map_nothing_are_refused(names, says):
    net = dense()
    with pytest.raises(UsageError, match=says):
        net.load_dict({name: p.data() for name, p in net.collect_params().items()}, names=names)


# -- torch -----------------------------------------------------------------------------------------------------------


def pairs():
    torch = pytest.importorskip("torch").nn
    yield nn.Dense(3, in_units=4), torch.Linear(4, 3), (2, 4)
    yield nn.Conv2D(4, 3, in_channels=2, groups=2), torch.Conv2d(2, 4, 3, groups=2), (1, 2, 5, 5)
    yield (
        nn.Conv1DTranspose(4, 3, strides=2, in_channels=2),
        torch.ConvTranspose1d(2, 4, 3, stride=2),
        (1, 2, 5),
    )
    yield nn.BatchNorm(in_channels=3), torch.BatchNorm1d(3), (4, 3)
    yield nn.LayerNorm(in_channels=4), torch.LayerNorm(4), (2, 4)
    yield nn.GroupNorm(2, in_channels=4), torch.GroupNorm(2, 4), (2, 4, 3)
    yield nn.PReLU(), torch.PReLU(), (2, 3)
    yield rnn.RNN(4, 1, activation="tanh", input_size=3), torch.RNN(3, 4), (5, 2, 3)
    yield rnn.LSTM(4, 2, bidirectional=True, input_size=3), torch.LSTM(3, 4, 2, bidirectional=True), (5, 2, 3)
    yield rnn.GRU(4, 2, layout="NTC", input_size=3), torch.GRU(3, 4, 2, batch_first=True), (2, 5, 3)
    yield rnn.LSTM(4, projection_size=2, input_size=3), torch.LSTM(3, 4, proj_size=2), (5, 2, 3)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_layers_take_the_values_of_torch_and_give_them_back(tmp_path):
    torch = pytest.importorskip("torch")
    for ours, theirs, shape in pairs():
        theirs.eval()
        with torch.no_grad():
            for value in theirs.state_dict().values():
                if value.dtype.is_floating_point:
                    value.uniform_(0.1, 0.9)
        ours.load_dict(theirs.state_dict(), names="torch")
        x = numpy.random.default_rng(0).normal(size=shape).astype("float32")
        with torch.no_grad():
            expected = theirs(torch.from_numpy(x))
        expected = expected[0] if isinstance(expected, tuple) else expected
        found = ours(np.array(x)).asnumpy()
        numpy.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5, err_msg=repr(theirs))
        ours.save_parameters(tmp_path / "x.safetensors", names="torch")
        read = parameter_files.read(tmp_path / "x.safetensors")
        state = {name: torch.from_numpy(array) for name, array in read.items()}
        missing, unexpected = theirs.load_state_dict(state, strict=False)
        assert not unexpected
        assert set(missing) <= {"num_batches_tracked"}
