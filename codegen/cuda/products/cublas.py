"""cuBLASLt, NVIDIA's library of matrix products, through ctypes: a dozen functions, and no package but the library's own.

NOTE [rows and columns]
The library takes matrices that lie column by column, ours lie row by row: what is a matrix of ours is its transpose there.
As out = left @ right is out.T = right.T @ left.T, the weight is its first operand and the rows are its second; nothing is
moved or transposed. The bias belongs to the columns of ours, the rows of its result, which is where it adds one.

The numbers are those of ``cublasLt.h``, ``cublas_api.h`` and ``library_types.h`` of CUDA 12 and 13.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import byref, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

DATA = {"float32": 0, "float64": 1}  # cudaDataType_t
# precision of float32 operands -> cublasComputeType_t; float64 has one
COMPUTE = {"float32": 68, "tf32": 77, "bf16": 75}
COMPUTE_FLOAT64 = 70
DEFAULT, RELU, BIAS = 1, 2, 4  # cublasLtEpilogue_t; the last two may be added
WORKSPACE = 32 * 2**20  # bytes that an algorithm may ask for: what NVIDIA recommends for Hopper

_EPILOGUE, _BIAS_POINTER = 7, 8  # cublasLtMatmulDescAttributes_t
_BATCH_COUNT, _BATCH_STRIDE = 5, 6  # cublasLtMatrixLayoutAttribute_t
_MAX_WORKSPACE, _FIRST_ALIGNMENT = 1, 5  # cublasLtMatmulPreferenceAttributes_t; those of A, B, C and D follow
_MAX_ALIGNMENT_BYTES = 256


class CublasError(RuntimeError):
    """A function of the library failed."""


class Heuristic(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``: an algorithm, and the bytes of workspace that it needs."""

    _fields_ = (
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("state", c_int32),
        ("waves", c_float),
        ("reserved", c_int32 * 4),
    )


@dataclass(frozen=True)
class Matrix:
    """Matrices row by row."""

    rows: int
    columns: int
    line: int  # elements from one row to the next
    step: int = 0  # elements from one matrix of a stack to the next


@dataclass(frozen=True)
class Product:
    """``out = left @ right``, plus a bias and through ReLU, for each matrix of a stack."""

    dtype: str
    precision: str  # of float32 operands: a key of ``COMPUTE``
    left: Matrix
    right: Matrix
    out: Matrix
    matrices: int
    epilogue: int  # DEFAULT, or the sum of RELU and BIAS


@dataclass(frozen=True)
class Addresses:
    """Where the operands of a product lie."""

    left: int
    right: int
    out: int
    bias: int = 0  # where there is none


@dataclass(frozen=True)
class Prepared:
    """A product at its addresses, with the algorithm that the library advises."""

    product: Product
    addresses: Addresses
    operation: c_void_p
    layouts: tuple[c_void_p, c_void_p, c_void_p]
    heuristic: Heuristic

    @property
    def workspace(self) -> int:
        """Bytes that it needs."""
        return int(self.heuristic.workspace)


class CublasLt:
    """A handle of the library. library: loaded by ctypes, see ``found``."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handle = self._created("cublasLtCreate")

    def prepared(self, product: Product, addresses: Addresses) -> Prepared:
        """Descriptions for the library, and its advice; they go when the result does."""
        made: list[tuple[str, c_void_p]] = []
        try:
            operation = self._operation(product, addresses, made)
            layouts = tuple(
                self._layout(product, m, made) for m in (product.right, product.left, product.out)
            )
            heuristic = self._advice(operation, layouts, addresses)
        except CublasError:
            _destroyed(self._library, made)
            raise
        result = Prepared(product, addresses, operation, layouts, heuristic)  # type: ignore[arg-type]
        weakref.finalize(result, _destroyed, self._library, made)
        return result

    def run(self, prepared: Prepared, workspace: int, stream: int) -> None:
        """Start a product in a stream, which may be one that a graph is captured from."""
        scalar = c_double if prepared.product.dtype == "float64" else c_float
        one, zero, where = scalar(1.0), scalar(0.0), prepared.addresses
        right, left, out = prepared.layouts
        self._call(
            "cublasLtMatmul",
            self._handle,
            prepared.operation,
            byref(one),
            c_void_p(where.right),
            right,
            c_void_p(where.left),
            left,
            byref(zero),
            c_void_p(where.out),
            out,
            c_void_p(where.out),
            out,
            byref(prepared.heuristic),
            c_void_p(workspace),
            c_size_t(prepared.workspace),
            c_void_p(stream),
        )

    # -- descriptions ----------------------------------------------------------------------------------------

    def _operation(
        self, product: Product, addresses: Addresses, made: list[tuple[str, c_void_p]]
    ) -> c_void_p:
        compute = COMPUTE_FLOAT64 if product.dtype == "float64" else COMPUTE[product.precision]
        operation = self._created("cublasLtMatmulDescCreate", c_int32(compute), c_int32(DATA[product.dtype]))
        made.append(("cublasLtMatmulDescDestroy", operation))
        self._set("cublasLtMatmulDesc", operation, _EPILOGUE, c_uint32(product.epilogue))
        if addresses.bias:
            self._set("cublasLtMatmulDesc", operation, _BIAS_POINTER, c_void_p(addresses.bias))
        return operation

    def _layout(self, product: Product, matrix: Matrix, made: list[tuple[str, c_void_p]]) -> c_void_p:
        """Our columns are the library's rows."""
        sizes = c_uint64(matrix.columns), c_uint64(matrix.rows), c_int64(matrix.line)
        layout = self._created("cublasLtMatrixLayoutCreate", c_int32(DATA[product.dtype]), *sizes)
        made.append(("cublasLtMatrixLayoutDestroy", layout))
        if product.matrices > 1:
            self._set("cublasLtMatrixLayout", layout, _BATCH_COUNT, c_int32(product.matrices))
            self._set("cublasLtMatrixLayout", layout, _BATCH_STRIDE, c_int64(matrix.step))
        return layout

    def _advice(self, operation: c_void_p, layouts: tuple[c_void_p, ...], addresses: Addresses) -> Heuristic:
        preference = self._created("cublasLtMatmulPreferenceCreate")
        try:
            self._set("cublasLtMatmulPreference", preference, _MAX_WORKSPACE, c_uint64(WORKSPACE))
            pointers = (addresses.right, addresses.left, addresses.out, addresses.out)
            for number, address in enumerate(pointers, _FIRST_ALIGNMENT):
                self._set("cublasLtMatmulPreference", preference, number, c_uint32(_alignment(address)))
            right, left, out = layouts
            result, count = Heuristic(), c_int32()
            operands = (self._handle, operation, right, left, out, out, preference)
            self._call("cublasLtMatmulAlgoGetHeuristic", *operands, c_int32(1), byref(result), byref(count))
        finally:
            _destroyed(self._library, [("cublasLtMatmulPreferenceDestroy", preference)])
        if not count.value:
            raise CublasError("cuBLASLt has no algorithm for this product")
        return result

    # -- calls -----------------------------------------------------------------------------------------------

    def _created(self, name: str, *arguments: Any) -> c_void_p:
        made = c_void_p()
        self._call(name, byref(made), *arguments)
        return made

    def _set(self, kind: str, described: c_void_p, attribute: int, value: Any) -> None:
        size = c_size_t(ctypes.sizeof(value))
        self._call(f"{kind}SetAttribute", described, c_int32(attribute), byref(value), size)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CublasError(f"{name} failed with status {status}")


def _destroyed(library: Any, made: list[tuple[str, c_void_p]]) -> None:
    for name, described in made:
        getattr(library, name)(described)


def _alignment(address: int) -> int:
    """The power of two that an address is a multiple of."""
    return min(address & -address, _MAX_ALIGNMENT_BYTES) if address else _MAX_ALIGNMENT_BYTES


def found() -> CublasLt | None:
    """The library, where one is installed: a wheel of NVIDIA's, a toolkit, or the system's own."""
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib  # where CUDA's packages are

    try:
        path = load_nvidia_dynamic_lib("cublasLt").abs_path
    except DynamicLibNotFoundError:
        return None
    return CublasLt(ctypes.CDLL(path))
