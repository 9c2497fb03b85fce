"""Parameter files: what is written comes back, and what does not fit changes nothing."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from blockfuse import nn
from blockfuse.array import np
from blockfuse.ir.errors import (
    DeferredInitializationError,
    MissingParameterError,
    NotInitializedError,
    ParameterFileError,
    UsageError,
)


def dense_net(units: int = 4, dtype: str = "float32") -> nn.Sequential:
    net = nn.Sequential()
    net.add(nn.Dense(units, in_units=3, dtype=dtype), nn.Dense(2, in_units=units, dtype=dtype))
    return net


def initialized(**options: Any) -> nn.Sequential:
    net = dense_net(**options)
    net.initialize("uniform")
    return net


def values(net: nn.Block) -> dict[str, list[Any]]:
    return {name: parameter.data().asnumpy().tolist() for name, parameter in net.collect_params().items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.params"


# -- there and back ------------------------------------------------------------------------------------------


def test_a_file_is_an_npz_of_structural_names_without_pickle(file: Path) -> None:
    net = initialized()
    net.save_parameters(file)
    with numpy.load(file, allow_pickle=False) as archive:
        assert archive.files == ["0.weight", "0.bias", "1.weight", "1.bias"]
        numpy.testing.assert_array_equal(archive["0.weight"], net[0].weight.data().asnumpy())


@pytest.mark.parametrize("name", [str, Path])
def test_saved_values_come_back(file: Path, name: Callable[[Path], Any]) -> None:
    net, other = initialized(), initialized()
    net.save_parameters(name(file))
    other.load_parameters(name(file))
    assert values(other) == values(net)


def test_a_net_that_was_never_initialised_or_called_can_load(file: Path) -> None:
    net = initialized()
    net.save_parameters(file)
    for waiting in (False, True):
        other = nn.Sequential()
        other.add(nn.Dense(4), nn.Dense(2))
        if waiting:
            other.initialize()
        other.load_parameters(file)
        assert values(other) == values(net)
        assert other[0].weight.shape == (4, 3)


def test_loading_writes_into_the_arrays_that_are_there(file: Path) -> None:
    net = initialized()
    net.save_parameters(file)
    data = net[0].weight.data()
    data[:] = 0
    net.load_parameters(file)
    assert net[0].weight.data() is data
    assert float(np.abs(data).sum()) > 0


def test_a_name_that_means_something_to_numpy_is_saved_too(file: Path) -> None:
    block = nn.Block()
    block.file = nn.Constant([1, 2])
    block.allow_pickle = nn.Constant([3])
    block.save_parameters(file)
    block.file.set_data([0, 0])
    block.load_parameters(file)
    assert values(block) == {"file": [1, 2], "allow_pickle": [3]}


def test_collected_parameters_save_and_load_as_well(file: Path) -> None:
    net = initialized()
    net.collect_params(".*bias").save(file)
    net.collect_params(".*bias").load(file)
    with pytest.raises(MissingParameterError):
        net.load_parameters(file)


def test_saving_what_has_no_value_names_the_parameter_and_leaves_no_file(file: Path) -> None:
    with pytest.raises(NotInitializedError, match=r"0\.weight"):
        dense_net().save_parameters(file)
    net = nn.Dense(2)
    net.initialize()
    with pytest.raises(DeferredInitializationError, match="weight"):
        net.save_parameters(file)
    assert list(file.parent.iterdir()) == []


# -- sharing -------------------------------------------------------------------------------------------------


def shared_net() -> nn.Sequential:
    layer = nn.Dense(3, in_units=3)
    net = nn.Sequential()
    net.add(layer, layer)
    return net


def test_shared_parameters_are_saved_once_on_request(file: Path) -> None:
    net = shared_net()
    net.initialize()
    net.save_parameters(file)
    with numpy.load(file) as archive:
        assert archive.files == ["0.weight", "0.bias", "1.weight", "1.bias"]
    net.save_parameters(file, deduplicate=True)
    with numpy.load(file) as archive:
        assert archive.files == ["0.weight", "0.bias"]


def test_a_shared_parameter_is_found_under_any_of_its_names() -> None:
    net = shared_net()
    net.load_dict({"1.weight": numpy.eye(3, dtype="float32"), "0.bias": numpy.ones(3, "float32")})
    assert values(net)["0.weight"] == numpy.eye(3).tolist()


def test_two_values_for_one_parameter_are_refused() -> None:
    net = shared_net()
    net.initialize()
    before = values(net)
    eye, bias = numpy.eye(3, dtype="float32"), numpy.full(3, numpy.nan, "float32")
    given = {"0.weight": eye, "1.weight": eye * 2, "0.bias": bias, "1.bias": bias.copy()}
    with pytest.raises(
        ParameterFileError, match=r"1\.weight is the parameter 0\.weight, and has another value$"
    ):
        net.load_dict(given)
    assert values(net) == before
    net.load_dict({**given, "1.weight": eye.copy()})
    assert values(net)["0.weight"] == eye.tolist()


# -- what does not fit ---------------------------------------------------------------------------------------


def test_all_that_does_not_fit_is_listed_and_nothing_is_loaded(file: Path) -> None:
    net = initialized()
    before = values(net)
    arrays = {
        "0.weight": numpy.ones((4, 3), "float32"),
        "0.bias": numpy.ones(5, "float32"),
        "1.weight": numpy.ones((2, 4), "float64"),
        "2.bias": numpy.ones(2, "float32"),
    }
    with file.open("wb") as raw:
        numpy.savez(raw, **arrays)
    with pytest.raises(MissingParameterError) as caught:
        net.load_parameters(file)
    assert str(caught.value).splitlines() == [
        f"{file} does not fit the net, and nothing was loaded:",
        "  1.bias is missing",
        "  2.bias is not in the net",
        "  0.bias has shape (5,); the net needs (4,)",
        "  1.weight has dtype float64; the net needs float32, or cast_dtype=True",
        "allow_missing=True leaves missing parameters as they are",
    ]
    assert values(net) == before


@pytest.mark.parametrize("error", [AssertionError, ValueError, ParameterFileError])
def test_missing_entries_are_gluons_assertion_error(error: type[Exception]) -> None:
    with pytest.raises(error, match=r"1\.bias is missing"):
        initialized().load_dict({})


def test_allow_missing_loads_the_others() -> None:
    net = initialized()
    net.load_dict({"0.bias": numpy.full(4, 5, "float32")}, allow_missing=True)
    assert values(net)["0.bias"] == [5] * 4


def test_ignore_extra_passes_over_what_the_net_does_not_have() -> None:
    net = initialized()
    found = {name: parameter.data() for name, parameter in initialized().collect_params().items()}
    with pytest.raises(ParameterFileError, match="more is not in the net") as caught:
        net.load_dict({**found, "more": np.ones(1)})
    assert not isinstance(caught.value, MissingParameterError)
    net.load_dict({**found, "more": np.ones(1)}, ignore_extra=True)
    assert values(net) == {name: array.asnumpy().tolist() for name, array in found.items()}


@pytest.mark.parametrize(("source", "dtype"), [("current", "float32"), ("saved", "float64")])
def test_cast_dtype_keeps_one_of_the_two_dtypes(file: Path, source: str, dtype: str) -> None:
    initialized(dtype="float64").save_parameters(file)
    for net in (initialized(), dense_net()):
        net.load_parameters(file, cast_dtype=True, dtype_source=source)
        assert net[0].weight.data().dtype == net[0].weight.dtype == dtype
    with pytest.raises(UsageError, match="'newest' is neither"):
        net.load_parameters(file, dtype_source="newest")


def test_old_name_prefixes_are_taken_off() -> None:
    net = nn.Dense(1, in_units=1)
    net.load_dict({"arg:weight": np.ones((1, 1)), "aux:bias": np.ones(1)})
    assert values(net) == {"weight": [[1]], "bias": [1]}


def test_a_dict_of_parameters_can_be_loaded() -> None:
    net, other = initialized(), dense_net()
    other.load_dict(net.collect_params())
    assert values(other) == values(net)
    other[0].weight.data()[:] = 0
    assert values(other) != values(net)


# -- files that are none -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"parameters",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(whole[150:160], b"0123456789"),
    ],
    ids=["empty", "text", "cut short", "altered"],
)
def test_a_damaged_file_is_refused_and_nothing_is_loaded(
    file: Path, damage: Callable[[bytes], bytes]
) -> None:
    net = initialized()
    before = values(net)
    initialized().save_parameters(file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ParameterFileError, match=r"net\.params is no parameter file"):
        net.load_parameters(file)
    assert values(net) == before


def test_a_file_of_python_objects_is_refused(file: Path) -> None:
    with file.open("wb") as raw:
        numpy.savez(raw, weight=numpy.array([{}], object))
    with pytest.raises(ParameterFileError, match="no parameter file"):
        nn.Dense(1, in_units=1).load_parameters(file)


def test_a_file_with_one_nameless_array_is_refused(file: Path) -> None:
    with file.open("wb") as raw:
        numpy.save(raw, numpy.ones(1))
    with pytest.raises(ParameterFileError, match="one array without a name"):
        nn.Dense(1, in_units=1).load_parameters(file)


def test_a_file_that_is_not_there_is_not_found(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        initialized().load_parameters(file)


# -- writing -------------------------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file_and_no_other(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = initialized()
    net.save_parameters(file)
    before = file.read_bytes()
    net[0].weight.set_data(np.zeros((4, 3)))

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        net.save_parameters(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_saving_through_a_link_keeps_the_link(file: Path) -> None:
    link = file.with_name("latest")
    link.symlink_to(file)
    initialized().save_parameters(link)
    assert link.is_symlink()
    assert file.exists()


def test_a_saved_file_has_the_permissions_of_any_new_file(file: Path) -> None:
    initialized().save_parameters(file)
    plain = file.with_name("plain")
    plain.touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
