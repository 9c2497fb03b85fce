"""Device source: its goldens, rules that hold in all of it, its functions over NumPy's numbers. It needs no CUDA package.

``pytest --update-goldens`` writes the files in ``tests/goldens/cuda/`` anew; the difference is for a person to read.
"""

import ast
import re
from collections.abc import Callable, Iterator

import numpy
import pytest
from device_kernels import KERNELS, kernel, source
from golden_plugin import FOLDER, golden
from test_functions import DTYPES, UNARY, assert_accurate, edges, every_exponent
from written import statement

from blockfuse.codegen.cuda.device.numpy_values import LIBRARY, Number
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.kernel import Access, Index
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.values.functions import FUNCTIONS, ULP
from blockfuse.ir.errors import NoDeviceKernelError
from blockfuse.ir.operator import TABLE

__all__ = ["golden"]  # the fixture

SOURCES = {name: source(name) for name in KERNELS}
every_source = pytest.mark.parametrize("name", SOURCES)


@every_source
def test_the_source_is_that_of_the_golden_file(name: str, golden: Callable[[str, str], None]) -> None:
    stages = [
        f"# {s.name}: {s.threads} threads, {s.pieces}/{s.pieces_per_block} blocks a row"
        for s in SOURCES[name].stages
    ]
    golden(f"cuda/{name}.txt", "\n".join([*stages, SOURCES[name].text]))


def test_there_is_no_golden_file_too_many() -> None:
    assert {path.stem for path in (FOLDER / "cuda").glob("*.txt")} == set(KERNELS)


# -- rules -----------------------------------------------------------------------------------------------------


def bare_numbers(text: str) -> Iterator[str]:
    """Numbers in arithmetic or as values that no dtype is written around, which Numba would take for 64 bits wide."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        below = [node.value] if isinstance(node, ast.Assign) else []
        below += [node.left, node.right] if isinstance(node, ast.BinOp) else []
        for part in below:
            if isinstance(part, ast.Constant) and not isinstance(part.value, bool):
                yield ast.unparse(node)


@every_source
def test_every_number_in_arithmetic_has_a_dtype(name: str) -> None:
    places = {f"{n} * s + {m}" for n in (4,) for m in (0, 1, 2, 3, "e")} | {"4 * s"}
    assert set(bare_numbers(SOURCES[name].text)) <= places  # of an array in registers


def test_a_bare_number_is_found() -> None:
    assert list(bare_numbers("def f(x):\n    y = x[1] * 2\n")) == ["x[1] * 2"]


@every_source
def test_arrays_are_declared_one_on_a_line_under_names_of_their_own(name: str) -> None:
    for text in SOURCES[name].text.split("\n\n\n"):
        declared = re.findall(r"^ *(\w+) = cuda\.(?:local|shared)\.array\(", text, flags=re.MULTILINE)
        assert len(declared) == len(set(declared)) == text.count(".array(")


@every_source
def test_kernels_of_float32_name_no_float64(name: str) -> None:
    assert "float64" not in SOURCES[name].text


@every_source
def test_equal_kernels_have_equal_source(name: str) -> None:
    assert render(kernel(name)) == SOURCES[name]


# -- geometry --------------------------------------------------------------------------------------------------


def test_a_grid_covers_all_rows() -> None:
    assert Stage("f", 256, pieces=3, pieces_per_block=2).grid(5) == (8, 1, 1)
    assert Stage("f", 256, pieces_per_block=1024, columns=7).grid(1025) == (2, 7, 1)
    assert Stage("f", 256).grid(0) == (1, 1, 1)


def test_scratch_memory_is_the_last_parameter() -> None:
    split = DeviceSource("f", "", (("x0", "int32"), ("out", "float32")), (Stage("f", 32),), scratch=64)
    assert split.parameters[-1] == ("scratch", "float32")


def _copy(extents: tuple[int, ...], strides: tuple[int, ...]) -> MapKernel:
    load, store = Access("x0", "float32", strides), Access("out", "float32", strides)
    return MapKernel("copy", store, extents, (load,), (statement("t0", "float32", "x0"),), "t0")


def test_places_are_counted_with_32_bits() -> None:
    assert 2**32 - 2**17 < render(_copy((), (1,))).max_rows < 2**32
    assert 2**31 - 2**17 < render(_copy((), (2,))).max_rows < 2**31
    assert render(_copy((2**16,), (2**16, 1))).max_rows < 2**16


def test_a_table_of_too_many_places_is_refused() -> None:
    def picking(size: int) -> MapKernel:
        table = Access("x0", "float32", (0, 1), (Index("x1", size, 64),))
        loads = (table, Access("x1", "int64", (1, 0)))
        return MapKernel("take_at", Access("out", "float32", (64, 1)), (64,), loads, (), "x0")

    assert render(picking(2**25)).max_rows > 2**20
    with pytest.raises(NoDeviceKernelError):
        render(picking(2**26))


def test_a_row_of_too_many_places_is_refused() -> None:
    with pytest.raises(NoDeviceKernelError, match="beyond"):
        render(_copy((2**17, 2**17), (2**34, 2**17, 1)))


# -- functions over NumPy's numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ULP)
def test_functions_stay_within_their_ulp(name: str, dtype: str) -> None:
    x = every_exponent(dtype, 64 if dtype == "float32" else 8)
    with numpy.errstate(all="ignore"):
        assert_accurate(name, FUNCTIONS[name](Number(x)).number, x, "baseline")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n in UNARY if n in FUNCTIONS and n not in LIBRARY])
def test_special_values_are_those_of_numpy(name: str, dtype: str) -> None:
    x = edges(dtype)
    with numpy.errstate(all="ignore"):
        found, wanted = FUNCTIONS[name](Number(x)).number, TABLE[name].meaning(x)
    special = ~numpy.isfinite(wanted) | (wanted == 0)
    assert [repr(v) for v in found[special]] == [repr(v) for v in wanted[special]]
