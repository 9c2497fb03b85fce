"""The array that user code sees: a duck array around a NumPy buffer.

NOTE [why not a subclass]
A subclass of ``numpy.ndarray`` gives its data away through ``numpy.asarray``, the buffer protocol and C code
without anyone noticing; a recording would freeze such values. A duck array sees everything that leaves the
array world: every such exit calls ``Interpreter.escape`` first.

NOTE [pending arrays]
An array may be there before it is computed (``tracer/lazy/segments.py``): it has a type, and no data until somebody asks
for ``_data``, in any thread. Nothing else in the package need know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy

from blockfuse.array.devices import Device
from blockfuse.array.sizes import size_agnostic, tells_size
from blockfuse.ir import hints, interpreter
from blockfuse.ir.errors import DTypeError
from blockfuse.ir.types import DTYPES

_NUMBERS = frozenset(numpy.dtype(name).num for name in DTYPES)  # dtype.num is quick, dtype.name is not


def is_ours(dtype: numpy.dtype) -> bool:
    """Whether operators know it: NumPy's array on the same memory may be given another one, also in another byte order."""
    return dtype.num in _NUMBERS and dtype.isnative


_Binary = Callable[["ndarray", Any], "ndarray"]
_Unary = Callable[["ndarray"], "ndarray"]


class Pending(Protocol):
    """Stands for data that is not computed yet. segment, number: what it waits with, and its index there."""

    segment: Any
    number: int

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> numpy.dtype: ...

    def compute(self) -> None:
        """Give the array its ``_data``."""


class ndarray:
    """An n-dimensional array of float16/32/64, int8/16/32/64, uint8 or bool.

    Made by ``blockfuse.np.array`` and friends, around ``data`` of NumPy's. It behaves as a NumPy array does (broadcasting,
    promotion of NumPy 2, views that share memory), works with NumPy's own functions, and is what a block's ``forward``
    receives.

    >>> from blockfuse import np
    >>> x = np.array([[1, 2], [3, 4]])
    >>> x.dtype, x.shape
    (dtype('float32'), (2, 2))
    >>> x[0] = 10
    >>> x.mean(axis=1)
    array([10. ,  3.5])
    >>> x @ x.T
    array([[200.,  70.],
           [ 70.,  25.]])
    >>> x.asnumpy().tolist()
    [[10.0, 10.0], [3.0, 4.0]]
    """

    __slots__ = ("__weakref__", "_data", "_history", "_pending")
    _data: numpy.ndarray
    _pending: Pending | None
    _history: Any  # of ``array.history``
    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: numpy.ndarray) -> None:
        if data.dtype.num not in _NUMBERS:
            raise DTypeError(f"dtype {data.dtype} is not supported; use one of {', '.join(DTYPES)}")
        self._data = data
        self._pending = None

    def __getattr__(self, name: str) -> Any:
        """Only asked for what is not there: data that is pending, and what native code leaves out."""
        if name in ("_pending", "_history"):
            return None
        if name == "_data":
            pending = self._pending
            if pending is not None:
                pending.compute()
            return _DATA.__get__(self)  # another thread may have given it meanwhile
        if name in _PROTOCOLS:
            raise AttributeError  # NumPy looks for these before ``__array__``, each time
        raise hints.no_attribute(self, name, hints.ARRAY)

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    @tells_size
    def shape(self) -> tuple[int, ...]:
        """How many elements there are along each axis."""
        return (self._pending or self._data).shape

    @property
    def dtype(self) -> numpy.dtype:
        """What elements are, as NumPy's dtype."""
        return (self._pending or self._data).dtype

    @property
    @size_agnostic
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    @tells_size
    @size_agnostic
    def size(self) -> int:
        """How many elements there are."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    @tells_size
    @size_agnostic
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @tells_size
    @size_agnostic
    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    # -- ways out: each one is an escape ---------------------------------------------------------------------

    def _leave(self, kind: str) -> numpy.ndarray:
        interpreter.current().escape(kind, self)
        return self._data

    def asnumpy(self) -> numpy.ndarray:
        """A NumPy copy of the values."""
        return self._leave("asnumpy()").copy()

    def item(self, *index: int) -> Any:
        """The only element, or the one at an index, as a number of Python."""
        return self._leave("item()").item(*index)

    def asscalar(self) -> Any:
        """The only element as a number of Python."""
        return self.item()

    def tolist(self) -> Any:
        """The elements as numbers of Python, in lists of lists."""
        return self._leave("tolist()").tolist()

    def __bool__(self) -> bool:
        return bool(self._leave("bool()"))

    def _number(self, kind: str) -> Any:
        """The only element, whatever the axes around it: NumPy's versions differ in what they take."""
        data = self._leave(f"{kind}()")
        if data.size != 1:
            raise TypeError(f"{kind}() takes an array of one element, not of shape {data.shape}")
        return data.item()

    def __int__(self) -> int:
        return int(self._number("int"))

    def __float__(self) -> float:
        return float(self._number("float"))

    def __complex__(self) -> complex:
        return complex(self._number("complex"))

    def __index__(self) -> int:
        return self._leave("use as an index").__index__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        """A read-only view (writes that we cannot see would go unnoticed); a copy where one is asked for."""
        data = self._leave("numpy.asarray()")
        if copy or (dtype is not None and numpy.dtype(dtype) != data.dtype):
            if copy is False:
                raise ValueError(f"cannot give {data.dtype} values as {dtype} without a copy")
            return numpy.array(data, dtype)
        view = data.view()
        view.setflags(write=False)  # a third of the time that ``flags`` takes
        return view

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A copy, as the consumer could write, and we would not see it."""
        if copy is False:
            raise BufferError("arrays give copies to others: write copy=True, or leave copy= out")
        data = self._leave("__dlpack__()")
        return data.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=True)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    def __repr__(self) -> str:
        text = repr(self._leave("repr()"))
        return text if text.endswith("dtype=bool)") else text.replace(", dtype=float32)", ")")

    def __str__(self) -> str:
        return str(self._leave("str()"))

    def __format__(self, spec: str) -> str:
        return format(self._leave("format()"), spec)

    def __contains__(self, value: Any) -> bool:
        found = self == value
        return bool(found.any()) if isinstance(found, ndarray) else bool(found)

    @tells_size
    @size_agnostic
    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over an array without axes")
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return ndarray, (self._leave("pickling"),)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> ndarray:
        return self.copy()

    # -- attached --------------------------------------------------------------------------------------------
    # Python's operators are attached in ``array/arithmetic.py``, the methods that repeat a function of
    # ``blockfuse.np`` in ``array/methods.py``; declared here for type checkers.

    if TYPE_CHECKING:
        T: ndarray
        mT: ndarray  # noqa: N815 - NumPy's name
        real: ndarray
        imag: ndarray
        flags: Any
        flat: Any
        ctx: Device
        context: Device
        device: Device
        __add__: ClassVar[_Binary]
        __radd__: ClassVar[_Binary]
        __sub__: ClassVar[_Binary]
        __rsub__: ClassVar[_Binary]
        __mul__: ClassVar[_Binary]
        __rmul__: ClassVar[_Binary]
        __truediv__: ClassVar[_Binary]
        __rtruediv__: ClassVar[_Binary]
        __floordiv__: ClassVar[_Binary]
        __rfloordiv__: ClassVar[_Binary]
        __mod__: ClassVar[_Binary]
        __rmod__: ClassVar[_Binary]
        __pow__: ClassVar[_Binary]
        __rpow__: ClassVar[_Binary]
        __matmul__: ClassVar[_Binary]
        __rmatmul__: ClassVar[_Binary]
        __divmod__: ClassVar[Callable[[ndarray, Any], tuple[ndarray, ndarray]]]
        __and__: ClassVar[_Binary]
        __or__: ClassVar[_Binary]
        __xor__: ClassVar[_Binary]
        __lshift__: ClassVar[_Binary]
        __rshift__: ClassVar[_Binary]
        __lt__: ClassVar[_Binary]
        __le__: ClassVar[_Binary]
        __gt__: ClassVar[_Binary]
        __ge__: ClassVar[_Binary]
        __neg__: ClassVar[_Unary]
        __pos__: ClassVar[_Unary]
        __abs__: ClassVar[_Unary]
        __invert__: ClassVar[_Unary]
        abs: ClassVar[_Unary]
        exp: ClassVar[_Unary]
        log: ClassVar[_Unary]
        sqrt: ClassVar[_Unary]
        square: ClassVar[_Unary]
        tanh: ClassVar[_Unary]
        detach: ClassVar[_Unary]
        as_np_ndarray: ClassVar[_Unary]
        as_nd_ndarray: ClassVar[_Unary]

        def __eq__(self, other: Any) -> ndarray: ...  # type: ignore[override]  # elementwise
        def __ne__(self, other: Any) -> ndarray: ...  # type: ignore[override]  # elementwise
        def __getitem__(self, index: Any) -> ndarray: ...
        def reshape(self, *shape: Any, order: str = "C") -> ndarray: ...
        def transpose(self, *axes: Any) -> ndarray: ...
        def broadcast_to(self, *shape: Any) -> ndarray: ...
        def flatten(self, order: str = "C") -> ndarray: ...
        def ravel(self, order: str = "C") -> ndarray: ...
        def squeeze(self, axis: Any = None) -> ndarray: ...
        def expand_dims(self, axis: Any) -> ndarray: ...
        def swapaxes(self, axis1: int, axis2: int) -> ndarray: ...
        def flip(self, axis: Any = None) -> ndarray: ...
        def split(self, indices_or_sections: Any, axis: int = 0) -> list[ndarray]: ...
        def repeat(self, repeats: Any, axis: int | None = None) -> ndarray: ...
        def tile(self, reps: Any) -> ndarray: ...
        def astype(self, dtype: Any, copy: bool = True) -> ndarray: ...
        def copy(self) -> ndarray: ...
        def copyto(self, other: ndarray) -> ndarray: ...
        def fill(self, value: Any) -> None: ...
        def diagonal(self, offset: int = 0) -> ndarray: ...
        def trace(self) -> ndarray: ...
        def dot(self, b: Any) -> ndarray: ...
        def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray: ...
        def prod(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray: ...
        def mean(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray: ...
        def var(
            self, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
        ) -> ndarray: ...
        def std(
            self, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
        ) -> ndarray: ...
        def max(self, axis: Any = None, keepdims: bool = False) -> ndarray: ...
        def min(self, axis: Any = None, keepdims: bool = False) -> ndarray: ...
        def ptp(self, axis: Any = None, keepdims: bool = False) -> ndarray: ...
        def any(self, axis: Any = None, keepdims: bool = False) -> ndarray: ...
        def all(self, axis: Any = None, keepdims: bool = False) -> ndarray: ...
        def argmax(self, axis: int | None = None, keepdims: bool = False) -> ndarray: ...
        def argmin(self, axis: int | None = None, keepdims: bool = False) -> ndarray: ...
        def norm(self, ord: Any = None, axis: Any = None, keepdims: bool = False) -> ndarray: ...
        def cumsum(self, axis: int | None = None, dtype: Any = None) -> ndarray: ...
        def cumprod(self, axis: int | None = None, dtype: Any = None) -> ndarray: ...
        def clip(
            self,
            a_min: Any = None,
            a_max: Any = None,
            out: ndarray | None = None,
            *,
            min: Any = None,
            max: Any = None,
        ) -> ndarray: ...
        def round(self, decimals: int = 0) -> ndarray: ...
        def take(self, indices: Any, axis: int | None = None, mode: str = "raise") -> ndarray: ...
        def nonzero(self) -> tuple[ndarray, ...]: ...
        def sort(self, axis: int = -1, kind: str | None = None, *, stable: bool | None = None) -> None: ...
        def argsort(
            self, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None
        ) -> ndarray: ...
        def argpartition(self, kth: Any, axis: int | None = -1) -> ndarray: ...
        def partition(self, kth: Any, axis: int = -1) -> None: ...
        def searchsorted(self, v: Any, side: str = "left") -> ndarray: ...
        def choose(self, choices: Any, mode: str = "raise") -> ndarray: ...
        def compress(self, condition: Any, axis: int | None = None) -> ndarray: ...
        def put(self, indices: Any, values: Any, mode: str = "raise") -> None: ...
        def conj(self) -> ndarray: ...
        def conjugate(self) -> ndarray: ...
        def tobytes(self, order: str | None = "C") -> bytes: ...
        def wait_to_read(self) -> None: ...
        def to_device(self, device: Device) -> ndarray: ...
        def as_in_ctx(self, device: Device) -> ndarray: ...
        def as_in_context(self, device: Device) -> ndarray: ...

    def __setitem__(self, index: Any, value: Any) -> None:
        interpreter.current().assign(self, index, value)


_PROTOCOLS = ("__array_struct__", "__array_interface__")
_DATA = vars(ndarray)["_data"]
