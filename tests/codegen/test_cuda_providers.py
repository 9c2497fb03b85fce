"""Who computes a product on a device, and what cuBLASLt is told: a library that does in NumPy what it is told of memory."""

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from device_products import MAIN, RELU, product, split
from numpy.lib.stride_tricks import as_strided
from written import statement

from blockfuse.codegen.cuda.products.cublas import COMPUTE, COMPUTE_FLOAT64, CublasError, CublasLt, Heuristic
from blockfuse.codegen.cuda.products.product_source import render_product
from blockfuse.codegen.cuda.products.providers import LibraryProduct, loaded_product, suits_library
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.product_kernels import ProductKernel

STREAM = SimpleNamespace(handle=17)
_TYPES = {0: numpy.dtype("float32"), 1: numpy.dtype("float64")}


class Library:
    """The functions of cuBLASLt that we call, over memory of the host. ``runs`` has the compute type and stream of each."""

    def __init__(self, algorithms: int = 1) -> None:
        self.algorithms = algorithms
        self.described: dict[int, dict[Any, Any]] = {}
        self.runs: list[tuple[int, int]] = []
        self.alignments: list[tuple[int, ...]] = []

    def _made(self, out: Any, **fields: Any) -> int:
        out._obj.value = 1 + max(self.described, default=0)
        self.described[out._obj.value] = fields
        return 0

    def cublasLtCreate(self, out: Any) -> int:
        return self._made(out)

    def cublasLtMatmulDescCreate(self, out: Any, compute: Any, scale: Any) -> int:
        return self._made(out, compute=compute.value, scale=scale.value)

    def cublasLtMatrixLayoutCreate(self, out: Any, dtype: Any, rows: Any, columns: Any, line: Any) -> int:
        assert line.value >= rows.value, "the library's columns overlap"
        shape = rows.value, columns.value
        return self._made(out, dtype=_TYPES[dtype.value], shape=shape, line=line.value)

    def cublasLtMatmulPreferenceCreate(self, out: Any) -> int:
        return self._made(out)

    def _set(self, described: Any, attribute: Any, value: Any, size: Any) -> int:
        assert size.value == ctypes.sizeof(value._obj)
        self.described[described.value][attribute.value] = value._obj.value
        return 0

    cublasLtMatmulDescSetAttribute = cublasLtMatrixLayoutSetAttribute = _set
    cublasLtMatmulPreferenceSetAttribute = _set

    def _destroy(self, described: Any) -> int:
        del self.described[described.value]
        return 0

    cublasLtMatmulDescDestroy = cublasLtMatrixLayoutDestroy = _destroy
    cublasLtMatmulPreferenceDestroy = _destroy

    def cublasLtMatmulAlgoGetHeuristic(self, *arguments: Any) -> int:
        preference, wanted, result, count = arguments[6:]
        assert wanted.value == 1
        chosen = self.described[preference.value]
        self.alignments.append(tuple(chosen[n] for n in (5, 6, 7, 8)))
        assert isinstance(result._obj, Heuristic)
        result._obj.workspace = 4096
        count._obj.value = self.algorithms
        return 0

    def cublasLtMatmul(self, _: Any, operation: Any, *arguments: Any) -> int:
        one, a, a_layout, b, b_layout, zero, c, c_layout, d, d_layout, _, workspace, nbytes, stream = (
            arguments
        )
        assert (one._obj.value, zero._obj.value, c.value, c_layout.value) == (1, 0, d.value, d_layout.value)
        assert (workspace.value, nbytes.value) == (Workspace.address, 4096)
        told = self.described[operation.value]
        matrices = [self._matrices(p, x) for p, x in ((a, a_layout), (b, b_layout), (d, d_layout))]
        for left, right, out in zip(*matrices, strict=True):
            out[...] = self._finished(left.astype("float64") @ right.astype("float64"), told, out.dtype)
        self.runs.append((told["compute"], stream.value))
        return 0

    def _matrices(self, pointer: Any, layout: Any) -> list[numpy.ndarray]:
        told = self.described[layout.value]
        (rows, columns), line, dtype = told["shape"], told["line"], told["dtype"]
        count, step = told.get(5, 1), told.get(6, 0)
        size = (count - 1) * step + (columns - 1) * line + rows
        memory = numpy.frombuffer(
            (ctypes.c_uint8 * (size * dtype.itemsize)).from_address(pointer.value), dtype
        )
        strides = dtype.itemsize, line * dtype.itemsize
        return [as_strided(memory[n * step :], (rows, columns), strides) for n in range(count)]

    def _finished(self, sums: numpy.ndarray, told: dict[Any, Any], dtype: numpy.dtype) -> numpy.ndarray:
        epilogue = told[7]
        assert told["scale"] == {"float32": 0, "float64": 1}[dtype.name]
        assert epilogue in (1, 2, 4, 6)
        if epilogue & 4:
            nbytes = sums.shape[0] * dtype.itemsize
            sums = sums + numpy.frombuffer((ctypes.c_uint8 * nbytes).from_address(told[8]), dtype)[:, None]
        return numpy.maximum(sums, 0) if epilogue & 2 else sums


class Workspace:
    address = 1 << 20


class Ours:
    """A kernel of ours that only notes its launches."""

    def __init__(self, source: DeviceSource) -> None:
        self.source, self.scratch = source, source.scratch
        self.launches: list[tuple[Sequence[int], int]] = []

    def launch(self, target: Any, addresses: Sequence[int], rows: int) -> None:
        assert target is STREAM
        self.launches.append((tuple(addresses), rows))


def loaded(kernel: ProductKernel, library: Library | None, precision: str = "float32") -> Any:
    def allocate(nbytes: int) -> Workspace:
        assert nbytes == 4096
        return Workspace()

    source = render_product(kernel)
    return loaded_product(kernel, source, precision, library and CublasLt(library), Ours, allocate)


def random(*shape: int, dtype: str = "float32") -> numpy.ndarray:
    return numpy.random.default_rng([*shape]).uniform(-1, 1, shape).astype(dtype)


LARGE = product(512, 1024, 516, MAIN)


# -- the choice ------------------------------------------------------------------------------------------------


def test_without_the_library_every_product_is_ours() -> None:
    for precision in COMPUTE:
        assert isinstance(loaded(LARGE, None, precision), Ours)


def test_small_products_are_ours_and_large_ones_the_librarys() -> None:
    assert isinstance(loaded(product(64, 784, 512, MAIN), Library()), Ours)
    assert isinstance(loaded(LARGE, Library()), LibraryProduct)


def test_tensor_cores_pay_earlier() -> None:
    middle = product(256, 784, 256, MAIN)
    assert [suits_library(middle, p) for p in ("float32", "tf32", "bf16")] == [False, True, True]


@pytest.mark.parametrize(
    "change",
    [
        {"left": Access("x0", "float32", (-1024,))},
        {"left": Access("x0", "float32", (0,))},
        {"cut": replace(MAIN, panel=128)},
    ],
    ids=["backwards", "repeated rows", "panels"],
)
def test_what_the_library_cannot_describe_is_ours(change: dict[str, Any]) -> None:
    assert not suits_library(replace(LARGE, **change), "float32")


# -- what the library is told ----------------------------------------------------------------------------------


def launched(
    kernel: ProductKernel, arrays: dict[str, numpy.ndarray], rows: int, precision: str = "float32"
) -> tuple[LibraryProduct, Library, numpy.ndarray]:
    """Run a product by the library; its result, or what it leaves in scratch memory for the rest of the epilogue."""
    library = Library()
    run = loaded(kernel, library, precision)
    elements = rows * kernel.units * (kernel.height if kernel.batched else 1)
    out, scratch = numpy.full(elements, numpy.nan, kernel.store.dtype), numpy.full(elements, numpy.nan, "f4")
    taken = [*(arrays[name] for name in kernel.operands), out] + [scratch] * bool(run.scratch)
    run.launch(STREAM, [a.ctypes.data for a in taken], rows)
    shape = (rows, kernel.height, kernel.units) if kernel.batched else (rows, kernel.units)
    return run, library, (scratch if run.scratch else out).reshape(shape)


def padded(weight: numpy.ndarray, columns: int) -> numpy.ndarray:
    """``weight (inner, units)`` as it is packed in one panel; what pads it is poison here."""
    room = numpy.full((*weight.shape[:-1], columns), numpy.nan, weight.dtype)
    room[..., : weight.shape[-1]] = weight
    return room


@pytest.mark.parametrize("body", [(), RELU], ids=["bias", "relu"])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("units", [516, 513])
def test_the_library_computes_the_product_with_bias_and_relu(
    units: int, biased: bool, body: tuple[Statement, ...]
) -> None:
    kernel = product(512, 1024, units, MAIN, body=body)
    if not biased:
        kernel = replace(kernel, bias=None, operands=("x0", "x1"))
    x, weight, bias = random(512, 1024), random(1024, units), random(units)
    arrays = {"x0": x, "x1": padded(weight, kernel.block.panel), "x2": bias}
    run, library, found = launched(kernel, arrays, 512)
    wanted = x.astype("float64") @ weight + (bias if biased else 0)
    wanted = numpy.maximum(wanted, 0) if body else wanted
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert run.scratch == 0
    assert library.runs == [(COMPUTE["float32"], 17)]


@pytest.mark.parametrize("precision", COMPUTE)
def test_precision_is_what_was_asked_for(precision: str) -> None:
    arrays = {"x0": random(512, 1024), "x1": random(1024, 516), "x2": random(516)}
    _, library, _ = launched(LARGE, arrays, 512, precision)
    assert library.runs[0][0] == COMPUTE[precision]


def test_float64_stays_float64_whatever_the_precision() -> None:
    kernel = product(512, 1024, 516, MAIN, dtype="float64")
    arrays = {
        n: random(*s, dtype="float64") for n, s in (("x0", (512, 1024)), ("x1", (1024, 516)), ("x2", (516,)))
    }
    _, library, found = launched(kernel, arrays, 512, "bf16")
    assert library.runs[0][0] == COMPUTE_FLOAT64
    numpy.testing.assert_allclose(found, arrays["x0"] @ arrays["x1"] + arrays["x2"], rtol=1e-12, atol=1e-12)


def test_any_other_epilogue_is_a_kernel_of_ours_behind_it() -> None:
    loads = (Access("x3", "float32", (516, 1)),)
    kernel = product(512, 1024, 516, MAIN, body=(statement("t1", "float32", "t0 * x3"),), loads=loads)
    arrays = {"x0": random(512, 1024), "x1": random(1024, 516), "x2": random(516), "x3": random(512, 516)}
    run, _, sums = launched(kernel, arrays, 512)
    wanted = arrays["x0"].astype("float64") @ arrays["x1"] + arrays["x2"]
    numpy.testing.assert_allclose(sums, wanted, rtol=1e-5, atol=1e-5)
    (launch,) = run._rest.launches
    assert len(launch[0]) == 6
    assert launch[1] == 512
    assert run.scratch == 516 * 4


def test_stacks_are_one_call() -> None:
    strides = {"left": (300 * 1024, 1024), "right": (1024 * 520,), "out": (300 * 517, 517, 1)}
    kernel = replace(
        product(300, 1024, 517, MAIN),
        bias=None,
        operands=("x0", "x1"),
        left=Access("x0", "float32", strides["left"]),
        right=Access("x1", "float32", strides["right"]),
        store=Access("out", "float32", strides["out"]),
    )
    x, weight = random(3, 300, 1024), random(3, 1024, 517)
    _, library, found = launched(kernel, {"x0": x, "x1": padded(weight, 520)}, 3)
    numpy.testing.assert_allclose(found, x.astype("float64") @ weight, rtol=1e-5, atol=1e-5)
    assert len(library.runs) == 1


def test_rows_may_lie_apart() -> None:
    kernel = replace(LARGE, left=Access("x0", "float32", (1100,)))
    x, weight, bias = random(512, 1100), random(1024, 516), random(516)
    _, _, found = launched(kernel, {"x0": x, "x1": weight, "x2": bias}, 512)
    wanted = x[:, :1024].astype("float64") @ weight + bias
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_library_hears_how_addresses_are_aligned() -> None:
    x, room = random(512, 1024), numpy.zeros(1024 * 516 + 65, "float32")
    start = -room.ctypes.data // 4 % 64 + 1  # one element beyond a multiple of 256 bytes
    weight = room[start : start + 1024 * 516].reshape(1024, 516)
    weight[...] = random(1024, 516)
    _, library, _ = launched(LARGE, {"x0": x, "x1": weight, "x2": random(516)}, 512)
    (alignments,) = library.alignments
    assert alignments[0] == 4
    assert all(n in (16, 32, 64, 128, 256) for n in alignments[1:])


# -- repeated launches, and a library that refuses -----------------------------------------------------------------


def test_a_repeated_launch_describes_nothing_anew_and_descriptions_go_with_their_product() -> None:
    library = Library()
    run = loaded(LARGE, library)
    arrays = [random(512, 1024), random(1024, 516), random(516), random(512, 516)]
    for _ in range(3):
        run.launch(STREAM, [a.ctypes.data for a in arrays], 512)
    assert (len(library.runs), len(library.alignments)) == (3, 1)
    run.launch(STREAM, [a.ctypes.data for a in arrays], 100)
    assert len(library.alignments) == 2
    assert len(library.described) == 1 + 4, "the handle, an operation and three layouts"
    del run
    assert len(library.described) == 1


def test_a_graph_keeps_the_workspace_that_it_was_made_with() -> None:
    library, given = Library(), []

    def allocate(nbytes: int) -> SimpleNamespace:
        given.append(SimpleNamespace(address=Workspace.address, nbytes=nbytes))
        return given[-1]

    one = loaded_product(LARGE, render_product(LARGE), "float32", CublasLt(library), Ours, allocate)
    for larger in (100, 50, 200, 100):
        assert one._workspace(larger) == Workspace.address
    assert [w.nbytes for w in given] == [100, 200]
    assert [w for _, w in one._workspaces] == given


def test_a_graph_is_captured_from_its_stream() -> None:
    library = Library()
    arrays = [random(512, 1024), random(1024, 516), random(516), random(512, 516)]
    builder = SimpleNamespace(stream=SimpleNamespace(handle=23))
    loaded(LARGE, library).launch(builder, [a.ctypes.data for a in arrays], 512)
    assert library.runs == [(COMPUTE["float32"], 23)]


def test_a_product_that_the_library_refuses_is_ours_after_all() -> None:
    library = Library(algorithms=0)
    loads = (Access("x3", "float32", (516, 1)),)
    block = split(MAIN, 3)
    kernel = product(512, 1024, 516, block, body=(statement("t1", "float32", "t0 * x3"),), loads=loads)
    run = loaded(kernel, library)
    run.launch(STREAM, (1, 2, 3, 4, 5, 6), 512)
    run.launch(STREAM, (1, 2, 3, 4, 5, 6), 512)
    assert run._ours.launches == [((1, 2, 3, 4, 5), 512)] * 2
    assert run._ours.scratch == 0
    assert library.runs == []
    assert len(library.described) == 1


def test_a_failing_function_is_named() -> None:
    library = Library()
    library.cublasLtMatrixLayoutCreate = lambda *_: 7  # type: ignore[method-assign]
    run = loaded(LARGE, library)
    with pytest.raises(CublasError, match="cublasLtMatrixLayoutCreate failed with status 7"):
        run._preparation((16, 32, 48, 64), 512)
