"""A frozen file with a portable part is compiled anew where its native code does not run, if that is asked for."""

import copy
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from frozen_nets import hybridized, mlp, normal, run, sum_of_two

import blockfuse
from blockfuse import frozen, nn, np
from blockfuse.frozen import compiled_calls, file_format, machine, portable
from blockfuse.ir.errors import FrozenFileError, OtherMachineError, UsageError

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # of what two processors compute


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portable file that nobody writes to."""
    folder = tmp_path_factory.mktemp("portable")
    return Path(blockfuse.freeze(mlp(), folder / "net.frozen", portable=True))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "net.frozen")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this processor has next to no instructions."""
    monkeypatch.setattr(machine, "processor_flags", lambda: frozenset({"sse2"}))


def compiled(path: str | Path, **options: Any) -> frozen.FrozenNet:
    with pytest.warns(UserWarning, match="It was compiled anew, in"):
        return frozen.load(path, allow_compile=True, **options)


def both(net: Callable[..., Any], path: str) -> tuple[frozen.FrozenNet, frozen.FrozenNet]:
    """The native code, and what is compiled of the same file on another machine."""
    blockfuse.freeze(net, path, portable=True)
    native = frozen.load(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(machine, "processor_flags", lambda: frozenset({"sse2"}))
        return native, compiled(path)


# -- another processor -----------------------------------------------------------------------------------------


def test_another_processor_compiles_it_with_one_warning_and_computes_the_same(
    whole: Path, tmp_path: Path
) -> None:
    x = normal(7, 20)
    numpy.save(tmp_path / "x.npy", x)
    program = """
        import sys, warnings, numpy
        from blockfuse import frozen
        from blockfuse.frozen import machine
        machine.processor_flags = lambda: frozenset({"sse2"})
        x = numpy.load(sys.argv[2] + "/x.npy")
        try:
            frozen.load(sys.argv[1])
        except ValueError as error:
            print(error)
        print(any(name.split(".")[0] in ("numba", "blockfuse.nn") for name in sys.modules))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            net = frozen.load(sys.argv[1], allow_compile=True)
            numpy.save(sys.argv[2] + "/y.npy", net(x))
        print(*[str(warning.message) for warning in told if "blockfuse-" not in str(warning.message)], sep="|")
        print("numba" in sys.modules)
    """
    cache = str(tmp_path / "cache")
    lines = run(program, str(whole), str(tmp_path), BLOCKFUSE_ISA="baseline", BLOCKFUSE_CACHE=cache)
    refused, loaded_too_much, told, loads_compiler = lines.splitlines()
    assert "instructions that this processor lacks" in refused
    assert refused.endswith("load(path, allow_compile=True) compiles it here, which takes seconds")
    assert (loaded_too_much, loads_compiler) == ("False", "True")
    assert re.fullmatch(
        rf"{whole}: it needs instructions that this processor lacks .*It was compiled anew, in [\d.]+ s", told
    )
    numpy.testing.assert_allclose(numpy.load(tmp_path / "y.npy"), frozen.load(whole)(x), **TOLERANCE)


def test_where_the_native_code_runs_nothing_is_compiled(whole: Path) -> None:
    program = """
        import sys, numpy
        from blockfuse import frozen
        net = frozen.load(sys.argv[1], allow_compile=True)
        net(numpy.ones((3, 20), "float32"))
        print(sorted({"numba", "llvmlite", "blockfuse.nn", "blockfuse.array"} & set(sys.modules)))
    """
    assert run(program, str(whole)) == "[]"


def test_a_file_without_a_portable_part_says_how_to_make_one(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blockfuse.freeze(mlp(), path)
    monkeypatch.setattr(machine, "processor_flags", lambda: frozenset({"sse2"}))
    cure = r"freeze\(net, path, portable=True\) makes files that load\(path, allow_compile=True\) compiles"
    with pytest.raises(OtherMachineError, match=rf"made for \w+; {cure}"):
        frozen.load(path)
    with pytest.raises(OtherMachineError, match=f"it cannot be compiled here; {cure}"):
        frozen.load(path, allow_compile=True)


@pytest.mark.usefixtures("elsewhere")
def test_without_a_compiler_it_is_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_calls, "find_spec", lambda name: None)
    with pytest.raises(
        OtherMachineError, match=r"instructions .*it cannot be compiled here without llvmlite and numba"
    ):
        frozen.load(whole, allow_compile=True)


# -- the same results ------------------------------------------------------------------------------------------


def test_every_size_of_the_batch(path: str) -> None:
    native, anew = both(mlp(), path)
    for size in (1, 2, 3, 64, 256):
        x = normal(size, 20)
        for _ in range(2):  # checked, and as one that was
            result = anew(x)
            assert type(result) is numpy.ndarray
            numpy.testing.assert_allclose(result, native(x), **TOLERANCE)


def test_folded_turned_and_stacked_weights(path: str) -> None:
    class Mixed(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.windows = nn.Sequential(
                nn.Conv2D(4, 3, in_channels=3), nn.BatchNorm(in_channels=4), nn.Flatten()
            )
            self.units = nn.Dense(33, in_units=256)
            self.stacked = np.array(normal(2, 33, 5))
            self.turned = np.array(normal(5, 40))

        def forward(self, x: np.ndarray) -> np.ndarray:
            y = np.tanh(self.units(self.windows(x)))
            return np.matmul(np.expand_dims(y, 0), self.stacked) @ self.turned

    native, anew = both(hybridized(Mixed(), ((2, 3, 10, 10),)), path)
    x = normal(2, 3, 10, 10)
    numpy.testing.assert_allclose(anew(x), native(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_narrow_weights_are_narrow_again(path: str, precision: str) -> None:
    net = hybridized(nn.Dense(512, in_units=512), ((1, 512),), precision=precision)
    native, anew = both(net, path)
    x = normal(1, 512)
    numpy.testing.assert_allclose(anew(x), native(x), rtol=1e-4, atol=1e-5)
    exact = net._reg_params["weight"].data().asnumpy() @ x[0]
    assert numpy.abs(anew(x)[0] - exact).max() > 1e-4  # which the exact weights would not give


def test_loops_branches_and_structures(path: str) -> None:
    @blockfuse.hybridize
    def halved(x: np.ndarray, *, by: np.ndarray) -> dict[str, Any]:
        rounds = np.array(0.0)
        while np.abs(x).sum() > 1:
            x, rounds = x / by, rounds + 1
        return {"x": x * 3 if x.sum() > 0 else x - 1, "more": [rounds, "text"]}

    two = numpy.full(1, 2, "float32")
    for value in (40, -40, 0.01, -0.01) * 3:
        halved(numpy.full(6, value, "float32"), by=two)
    native, anew = both(halved, path)
    for value in (40, -40, 0.01, -0.01, 1e20):
        x = numpy.full(6, value, "float32")
        expected, found = native(x, by=two), anew(x, by=two)
        numpy.testing.assert_allclose(found["x"], expected["x"], **TOLERANCE)
        assert found["more"] == expected["more"] == [found["more"][0], "text"]
        assert type(found["x"]) is numpy.ndarray


def test_arrays_that_a_function_reads(path: str) -> None:
    table, factor, none = np.array(normal(10, 4)), np.array(2.5), np.array(numpy.zeros((0, 4), "float32"))
    net = nn.Dense(3, in_units=4)
    net.initialize()

    @blockfuse.hybridize
    def read(i: np.ndarray) -> np.ndarray:
        return net(np.concatenate([table[i] * factor, none]))

    i = numpy.array([3, 9], "int64")
    read.warm_up(i)
    native, anew = both(read, path)
    numpy.testing.assert_allclose(anew(i), native(i), **TOLERANCE)
    for other in (native, anew):
        with pytest.raises(UsageError, match="an index is out of bounds"):
            other(numpy.array([3, 10], "int64"))


@pytest.mark.usefixtures("elsewhere")
def test_modes_of_the_process_change_nothing(whole: Path) -> None:
    anew, x = compiled(whole), normal(3, 20)
    expected = anew(x)
    with blockfuse.autograd.record():
        numpy.testing.assert_array_equal(anew(x), expected)
    with blockfuse.autograd.train_mode():
        numpy.testing.assert_array_equal(anew(x), expected)


# -- files -----------------------------------------------------------------------------------------------------


def test_parameters_that_programs_read_in_panels_are_in_the_file_once(tmp_path: Path) -> None:
    net = hybridized(
        nn.Sequential(*[nn.Dense(300, in_units=300) for _ in range(3)]), *[((n, 300),) for n in (1, 2, 5)]
    )
    plain, other = (blockfuse.freeze(net, tmp_path / str(p), portable=p) for p in (False, True))
    more = Path(other).stat().st_size - Path(plain).stat().st_size
    assert 0 < more < 20_000 < 4 * 300 * 300


@pytest.mark.parametrize(
    ("there", "is_it"),
    [
        (lambda a: a.copy(), True),
        (lambda a: a.reshape(-1), True),
        (lambda a: packed(a, 8), True),
        (lambda a: packed(numpy.swapaxes(a, -1, -2), 8), True),
        (lambda a: packed(a, 8) + 1, False),
        (lambda a: packed(a, 8).astype("float64"), False),
        (lambda a: a[..., :-1, :], False),
    ],
)
@pytest.mark.parametrize("shape", [(13, 5), (16, 8), (1, 1), (2, 13, 5)])
def test_a_parameter_is_found_in_the_image_by_its_bits(
    shape: tuple[int, ...], there: Callable[[numpy.ndarray], numpy.ndarray], is_it: bool
) -> None:
    array = normal(*shape)
    placed = portable.Placed(64, there(array))
    told = portable._told(array, [portable.Placed(0, normal(3)), placed])
    assert (told is not None) is is_it
    if told is not None:
        payload = bytes(64) + placed.array.tobytes()
        read = portable._read({**told, "dtype": "float32", "is": list(shape)}, payload, b"")
        numpy.testing.assert_array_equal(read, array)
        assert read.flags.owndata
        assert read.flags.c_contiguous


def packed(weight: numpy.ndarray, panel: int) -> numpy.ndarray:
    """Rows of a weight side by side in panels, the last one filled up."""
    *stack, units, inner = weight.shape
    panels = numpy.zeros((*stack, -(-units // panel), inner, panel), weight.dtype)
    for unit in range(units):
        panels[..., unit // panel, :, unit % panel] = weight[..., unit, :]
    return panels


@pytest.mark.usefixtures("elsewhere")
def test_damage_of_the_portable_part_is_found_where_it_is_read(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(whole.read_bytes())
    content[content.rindex(b'{"precision"') - 5] ^= 4
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content)
    with pytest.raises(
        FrozenFileError, match="damaged: it is damaged: its portable part does not give"
    ) as raised:
        frozen.load(damaged, allow_compile=True)
    assert not isinstance(raised.value, OtherMachineError)
    monkeypatch.undo()
    x = normal(2, 20)
    numpy.testing.assert_array_equal(frozen.load(damaged, allow_compile=True)(x), frozen.load(whole)(x))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_damage_elsewhere_is_no_reason_to_compile(whole: Path, tmp_path: Path, share: float) -> None:
    content = bytearray(whole.read_bytes())
    described = content.rindex(b'{"machine"')
    content[int(described * 0.5 * share) if share < 0.9 else described + 3] ^= 4
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(FrozenFileError, match="its content does not give the checksum at its end"):
        frozen.load(tmp_path / "damaged", allow_compile=True)


@pytest.mark.usefixtures("elsewhere")
def test_graphs_of_a_newer_blockfuse_are_told(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockfuse.nn.graph_files.VERSION", 0)
    with pytest.raises(FrozenFileError, match=r"its portable part is of another blockfuse: .*version 1"):
        frozen.load(whole, allow_compile=True)


@pytest.mark.usefixtures("elsewhere")
def test_a_file_that_is_replaced_while_it_is_read_is_refused(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "net"
    target.write_bytes(whole.read_bytes())
    other = blockfuse.freeze(mlp(), tmp_path / "other", portable=True)
    read = file_format.read

    def replacing(path: str) -> Any:
        description = read(path)
        os.replace(other, target)
        return description

    monkeypatch.setattr(file_format, "read", replacing)
    with pytest.raises(FrozenFileError, match="another file was put in its place while it was loaded"):
        frozen.load(target, allow_compile=True)


@pytest.mark.usefixtures("elsewhere")
def test_a_pickle_compiles_where_it_arrives(whole: Path) -> None:
    anew, x = compiled(whole), normal(3, 20)
    with pytest.warns(UserWarning, match="It was compiled anew"):
        again = pickle.loads(pickle.dumps(anew))
    for other in (again, copy.deepcopy(anew)):
        numpy.testing.assert_array_equal(other(x), anew(x))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((normal(2, 21),), r"this one has \(float32\[2, 21\]\)"),
        ((normal(2, 20).astype("float64"),), r"this one has \(float64\[2, 20\]\)"),
        ((normal(2, 20), normal(2, 20)), "in another form"),
        ((), "in another form"),
        ((normal(257, 20),), "a batch of 257: the file is for"),
        ((normal(0, 20),), "a batch of 0: the file is for"),
        ((numpy.ma.masked_array(normal(2, 20)),), "a masked array"),
        ((object(),), "an argument is a object"),
    ],
    ids=["shape", "dtype", "more", "none", "large", "empty", "masked", "object"],
)
def test_other_calls_are_refused_as_by_native_code(whole: Path, call: tuple[Any, ...], message: str) -> None:
    anew = compiled(whole)
    for _ in range(2):
        with pytest.raises(UsageError, match=message):
            anew(*call)


def test_arrays_that_lie_otherwise_are_taken_as_by_native_code(path: str) -> None:
    native, anew = both(mlp(), path)
    x = normal(6, 20)
    anew(x[:3])
    for other in (x[::2], numpy.asfortranarray(x[:3]), x[:3].astype(">f4"), np.array(x[:3])):
        numpy.testing.assert_allclose(anew(other), native(other), **TOLERANCE)


def test_one_array_twice_is_refused_also_after_other_calls(path: str) -> None:
    x = normal(3)
    _, anew = both(sum_of_two(), path)
    numpy.testing.assert_array_equal(anew(x, x.copy()), x + x)
    with pytest.raises(UsageError, match="an array is passed twice"):
        anew(x, x)


def test_portable_is_a_truth(path: str) -> None:
    for wrong in ("yes", 1, None):
        with pytest.raises(UsageError, match="portable is "):
            blockfuse.freeze(mlp(), path, portable=wrong)  # type: ignore[arg-type]
    assert not Path(path).exists()


def test_no_warning_where_nothing_is_compiled(whole: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen.load(whole, allow_compile=True)
