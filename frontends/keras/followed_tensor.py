"""What stands for one of our arrays in Keras's code while a call is recorded.

NOTE [dispatch by type]
Keras has a kind of tensor of its own, ``KerasTensor``, by which it builds graphs: functions of ``keras.ops`` and operators
that are given one make an ``Operation`` and hand it to ``symbolic_call``. A ``FollowedTensor`` is one that has values. So
Keras itself brings each operation to us, by the type of what it is given, whatever its backend is.

NOTE [sizes that Keras looks at]
A program for every batch size stands for calls that were never recorded, so nothing may have depended on the size
(``tracer/certificate/sizes.py``). Keras looks at sizes all the time: to infer the shapes of results, of which we take dtypes
alone (``Following.infers``), and in a few functions that only look at ranks and channels, or hand the batch on to a shape;
these are listed here. Whoever else asks has been told.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any

import keras
from keras import layers
from keras.src.backend.common.backend_utils import check_conv_input_channels
from keras.src.models.functional import Functional

from blockfuse.array.ndarray import ndarray

if TYPE_CHECKING:
    from blockfuse.frontends.keras.following import Following

FOLLOWED: ContextVar[Following | None] = ContextVar(
    "blockfuse_followed_by_keras", default=None
)  # the call of this thread


# Functions of Keras that look at sizes: NOTE [sizes that Keras looks at].
_AGNOSTIC = frozenset(
    function.__code__
    for function in (
        Functional._adjust_input_rank,
        keras.src.ops.nn.softmax,
        check_conv_input_channels,
        layers.Flatten.call,
        layers.Reshape.call,
        layers.DepthwiseConv2D.call,
        layers.MultiHeadAttention._compute_attention,
        layers.MultiHeadAttention._masked_softmax,
    )
)
_TELLS = keras.src.ops.core.shape.__code__  # hands them on


def _is_agnostic(reader: FrameType | None) -> bool:
    """Whether a frame that looks at sizes computes the same for each batch of at least two."""
    if reader is not None and reader.f_code is _TELLS:
        reader = reader.f_back
    return reader is not None and reader.f_code in _AGNOSTIC


class FollowedTensor(keras.KerasTensor):
    """A tensor of Keras whose values are an array of ours. Whoever asks for the values themselves stops the recording."""

    record_history = False
    sparse = ragged = False
    ragged_rank = row_splits_dtype = None
    name = "followed"
    __array_priority__ = 100

    def __init__(self, following: Following, array: ndarray) -> None:
        self.following, self.array = following, array

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes, of which Python is told, unless who asks does nothing by them: NOTE [sizes that Keras looks at]."""
        if self.following.infers or _is_agnostic(sys._getframe(1)):
            return (self.array._pending or self.array._data).shape
        return self.array.shape

    @property
    def dtype(self) -> str:
        """Keras's name of it."""
        return self.array.dtype.name

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.array.ndim

    def __bool__(self) -> bool:
        return bool(self.array)  # a decision

    def __int__(self) -> int:
        return int(self.array)

    def __float__(self) -> float:
        return float(self.array)

    def __index__(self) -> int:
        return self.array.__index__()

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Any]:
        return (self[n] for n in range(len(self.array)))

    def __eq__(self, other: Any) -> Any:  # which Keras's symbolic tensors leave to Python
        return keras.src.ops.numpy.Equal().symbolic_call(self, other)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return repr(self.array)

    def __getitem__(self, index: Any) -> Any:
        # One slice alone is none of Keras's keys.
        key = index if isinstance(index, tuple | list) else (index,)
        return keras.src.ops.numpy.GetItem().symbolic_call(self, key)

    # -- what other libraries ask ----------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.following.left(self, "numpy").__array__(*(() if dtype is None else (dtype,)))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return self.following.outside(
            f"numpy.{ufunc.__name__}", getattr(ufunc, method), inputs, options, "numpy"
        )

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.following.outside(f"numpy.{function.__name__}", function, args, kwargs, "numpy")

    def __jax_array__(self) -> Any:
        return self.following.left(self, "jax")

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        raise TypeError("a tensor of a call that is recorded")  # TensorFlow then asks who can help

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        following = FOLLOWED.get()
        name = f"torch.{getattr(function, '__name__', function)}"
        return following.outside(name, function, args, kwargs or {}, "torch")  # type: ignore[union-attr]


# -- operators ---------------------------------------------------------------------------------------------------

_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
_COMPARISONS = ("lt", "le", "gt", "ge")


def _method(name: str, keras_method: Any) -> Any:
    """An operator as a backend's own tensor has it, where that is not what Keras's function of that name gives."""

    def method(self: FollowedTensor, other: Any) -> Any:
        found = self.following.by_backend(self, name, other)
        return keras_method(self, other) if found is NotImplemented else found

    return method


for _name in (*_BINARY, *(f"r{name}" for name in _BINARY), *_COMPARISONS):
    _dunder = f"__{_name}__"
    setattr(FollowedTensor, _dunder, _method(_dunder, getattr(keras.KerasTensor, _dunder)))
for _name in _BINARY:
    _dunder = f"__i{_name}__"
    setattr(
        FollowedTensor, _dunder, lambda self, other, name=_dunder: self.following.written(self, name, other)
    )
