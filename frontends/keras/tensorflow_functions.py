"""Functions of TensorFlow in models that Keras computes with it: what each is of ``keras.ops``, whose operations have rules.

NOTE [how TensorFlow brings calls to us]
TensorFlow asks, for most of its functions, who has registered one for the types of arguments
(``tf.experimental.dispatch_for_api``). So each function of the table below comes to its row where one of its tensors is a
``FollowedTensor``, before TensorFlow runs anything; nothing is replaced, and other calls go on as they do. What has no
row, or is called with what the row does not cover, finds that such a tensor cannot be converted; TensorFlow then asks who
can help, and the values leave (``Following.outside``). Functions that make tensors of Python's values have no tensor to be
known by: in ``tensorflow`` itself these are replaced, as those of ``keras.ops`` are (``dispatching.py``).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow
from keras import ops
from tensorflow.python.util import dispatch

from blockfuse.frontends.keras.followed_tensor import FOLLOWED, FollowedTensor
from blockfuse.frontends.keras.rules.table import NoRule, refuse_if
from blockfuse.frontends.nested import flat

Tensor = Any


def _matmul(
    a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool, adjoint_a: bool, adjoint_b: bool
) -> Tensor:
    return ops.matmul(_turned(a, transpose_a or adjoint_a), _turned(b, transpose_b or adjoint_b))


def _turned(x: Tensor, turn: bool) -> Tensor:
    return ops.swapaxes(x, -1, -2) if turn else x


def _reduced(function: Callable[..., Tensor], kinds: str = "fiub") -> Callable[..., Tensor]:
    """A reduction. kinds: of the dtypes whose results are what TensorFlow gives."""

    def reduce(input_tensor: Tensor, axis: Any, keepdims: bool) -> Tensor:
        refuse_if(input_tensor.array.dtype.kind not in kinds, "this dtype")
        return function(input_tensor, axis=axis, keepdims=bool(keepdims))

    return reduce


def _place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def find(input: Tensor, axis: Any, output_type: Any) -> Tensor:
        return ops.cast(function(input, axis=0 if axis is None else axis), output_type)

    return find


def _along(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function along an axis, the last one where none is given."""
    return lambda logits, axis: function(logits, axis=-1 if axis is None else axis)


def _gather(params: Tensor, indices: Tensor, _: Any, axis: Any, batch_dims: int) -> Tensor:
    refuse_if(batch_dims, "batch_dims")
    indices = indices if isinstance(indices, FollowedTensor) else ops.convert_to_tensor(indices)
    return ops.take(params, indices, axis=0 if axis is None else axis)


def _where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    refuse_if(x is None or y is None, "one argument")
    return ops.where(condition, x, y)


def _split(value: Tensor, num_or_size_splits: Any, axis: Any) -> Tensor:
    refuse_if(not isinstance(num_or_size_splits, int), "sizes")
    return ops.split(value, num_or_size_splits, axis=axis)


def _one_hot(indices: Tensor, depth: Any, on_value: Any, off_value: Any, axis: Any, dtype: Any) -> Tensor:
    refuse_if(on_value is not None or off_value is not None, "values of its own")
    return ops.one_hot(indices, depth, axis=-1 if axis is None else axis, dtype=dtype or "float32")


def _bias_add(value: Tensor, bias: Tensor, data_format: Any) -> Tensor:
    refuse_if(str(data_format).startswith("NC"), "channels that come first")
    return ops.add(value, bias)


def _l2_normalize(x: Tensor, axis: Any, epsilon: float) -> Tensor:
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(squares, epsilon)))


def _of_floats(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def compute(x: Tensor) -> Tensor:
        refuse_if(not x.dtype.startswith("float"), "integers")
        return function(x)

    return compute


def _transpose(a: Tensor, perm: Any) -> Tensor:
    return ops.transpose(a, axes=perm)


_ELEMENTS: dict[str, Callable[..., Tensor]] = {  # of one tensor
    **{
        f"math.{name}": _of_floats(getattr(ops, name))
        for name in (
            *("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh"),
            *("floor", "ceil", "erf", "sigmoid", "softplus", "softsign", "reciprocal", "log_sigmoid"),
        )
    },
    **{f"math.{name}": getattr(ops, name) for name in ("abs", "negative", "square", "sign", "logical_not")},
    **{f"math.a{name}": _of_floats(getattr(ops, f"arc{name}")) for name in ("sin", "cos", "tan")},
    **{f"math.a{name}": _of_floats(getattr(ops, f"arc{name}")) for name in ("sinh", "cosh", "tanh")},
    "math.is_nan": ops.isnan,
    "math.is_inf": ops.isinf,
    "math.is_finite": ops.isfinite,
    "nn.relu": ops.relu,
    "nn.relu6": ops.relu6,
    "nn.elu": ops.elu,
    "nn.selu": ops.selu,
    "identity": lambda input: input,
    "stop_gradient": ops.stop_gradient,
}
_PAIRS: dict[str, Callable[..., Tensor]] = {  # of two
    **{f"math.{name}": getattr(ops, name) for name in ("add", "subtract", "multiply", "maximum", "minimum")},
    **{
        f"math.{name}": getattr(ops, name) for name in ("equal", "not_equal", "less", "less_equal", "greater")
    },
    **{f"math.{name}": getattr(ops, name) for name in ("greater_equal", "logical_and", "logical_or")},
    "__operators__.add": ops.add,
    "math.logical_xor": ops.logical_xor,
    "math.divide": ops.true_divide,
    "math.truediv": ops.true_divide,
    "math.pow": ops.power,
    "math.floordiv": ops.floor_divide,
    "math.floormod": ops.mod,
    "math.squared_difference": lambda x, y: ops.square(ops.subtract(x, y)),
}
# Name of a function below ``tensorflow`` -> how many of its first arguments may be tensors, and what it is of
# ``keras.ops``: called with so many arguments as it takes, in TensorFlow's order; the others must be as if not given.
_FUNCTIONS: dict[str, tuple[int, Callable[..., Tensor]]] = {
    **{name: (1, function) for name, function in _ELEMENTS.items()},
    **{name: (2, function) for name, function in _PAIRS.items()},
    "matmul": (2, _matmul),
    "linalg.matvec": (2, lambda a, b: ops.matmul(a, ops.expand_dims(b, -1))[..., 0]),
    "tensordot": (2, lambda a, b, axes: ops.tensordot(a, b, axes=axes)),
    "reduce_sum": (1, _reduced(ops.sum, "f")),
    "reduce_mean": (1, _reduced(ops.mean, "f")),
    "reduce_prod": (1, _reduced(ops.prod, "f")),
    "reduce_max": (1, _reduced(ops.max)),
    "reduce_min": (1, _reduced(ops.min)),
    "reduce_all": (1, _reduced(ops.all, "b")),
    "reduce_any": (1, _reduced(ops.any, "b")),
    "reduce_logsumexp": (1, _reduced(ops.logsumexp, "f")),
    "math.reduce_variance": (1, _reduced(ops.var, "f")),
    "math.reduce_std": (1, _reduced(ops.std, "f")),
    "argmax": (1, _place(ops.argmax)),
    "argmin": (1, _place(ops.argmin)),
    "cumsum": (1, lambda x, axis: ops.cumsum(x, axis=axis)),
    "nn.softmax": (1, _along(ops.softmax)),
    "nn.log_softmax": (1, _along(ops.log_softmax)),
    "nn.leaky_relu": (1, lambda features, alpha: ops.leaky_relu(features, negative_slope=alpha)),
    "nn.gelu": (1, lambda features, approximate: ops.gelu(features, approximate=approximate)),
    "nn.silu": (1, ops.silu),
    "nn.bias_add": (2, _bias_add),
    "nn.l2_normalize": (1, _l2_normalize),
    "cast": (1, lambda x, dtype: ops.cast(x, dtype)),
    "convert_to_tensor": (1, lambda value, dtype: value if dtype is None else ops.cast(value, dtype)),
    "clip_by_value": (3, lambda t, low, high: ops.clip(t, low, high)),
    "where": (3, _where),
    "gather": (2, _gather),
    "one_hot": (1, _one_hot),
    "reshape": (1, lambda tensor, shape: ops.reshape(tensor, shape)),
    "transpose": (1, _transpose),
    "expand_dims": (1, lambda input, axis: ops.expand_dims(input, axis)),
    "squeeze": (1, lambda input, axis: ops.squeeze(input, axis=axis)),
    "broadcast_to": (1, lambda input, shape: ops.broadcast_to(input, shape)),
    "tile": (1, lambda input, multiples: ops.tile(input, multiples)),
    "repeat": (1, lambda input, repeats, axis: ops.repeat(input, repeats, axis=axis)),
    "roll": (1, lambda input, shift, axis: ops.roll(input, shift, axis=axis)),
    "reverse": (1, lambda tensor, axis: ops.flip(tensor, axis=axis)),
    "zeros_like": (1, lambda input, dtype: ops.zeros_like(input, dtype=dtype)),
    "ones_like": (1, lambda input, dtype: ops.ones_like(input, dtype=dtype)),
    "split": (1, _split),
}
# The same of functions whose first argument is a list of tensors.
_OF_LISTS: dict[str, Callable[..., Tensor]] = {
    "concat": lambda values, axis: ops.concatenate(values, axis=axis),
    "stack": lambda values, axis: ops.stack(values, axis=axis),
    "add_n": lambda inputs: functools.reduce(ops.add, inputs),
}
# Functions that make tensors of Python's values.
_MAKERS: dict[str, Callable[..., Tensor]] = {
    "constant": lambda value, dtype=None: ops.array(value, dtype=dtype),
    "convert_to_tensor": lambda value, dtype=None: ops.convert_to_tensor(value, dtype=dtype),
    "zeros": lambda shape, dtype="float32": ops.zeros(shape, dtype=dtype),
    "ones": lambda shape, dtype="float32": ops.ones(shape, dtype=dtype),
    "eye": lambda num_rows, num_columns=None, dtype="float32": ops.eye(num_rows, num_columns, dtype=dtype),
    "range": ops.arange,
}


def _found(name: str) -> Any:
    return functools.reduce(getattr, name.split("."), tensorflow)


ROWS = tuple(
    _found(name) for name in (*_FUNCTIONS, *_OF_LISTS)
)  # what is brought to us by the types of arguments


def install() -> None:
    """Let TensorFlow bring calls of functions to the table: NOTE [how TensorFlow brings calls to us]."""
    dispatch.register_dispatchable_type(FollowedTensor)
    for name, (tensors, function) in _FUNCTIONS.items():
        signatures = [{n: FollowedTensor} for n in range(tensors)]
        dispatch.dispatch_for_api(_found(name), *signatures)(_brought(name, function))
    for name, function in _OF_LISTS.items():
        dispatch.dispatch_for_api(_found(name), {0: list[FollowedTensor]})(_brought(name, function))
    for name, function in _MAKERS.items():
        setattr(tensorflow, name, _making(_found(name), function))
    _Others().register()


def _brought(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What is called in the place of a function of TensorFlow."""
    api = _found(name)
    signature, taken = inspect.signature(api), len(inspect.signature(function).parameters)

    def call(*args: Any, **kwargs: Any) -> Tensor:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        given.arguments.pop("name", None)
        values, rest = [*given.arguments.values()][:taken], [*given.arguments.items()][taken:]
        try:
            strange = next((n for n, value in rest if value is not signature.parameters[n].default), "")
            refuse_if(strange, f"the argument {strange}")
            return function(*values)
        except NoRule as reason:
            return _in_tensorflow(api, args, kwargs, f"has no rule for this ({reason})")

    return call


def _in_tensorflow(function: Any, args: Any, kwargs: Any, why: str) -> Any:
    """What TensorFlow gives for the values."""
    tensor = next(part for part in flat((args, kwargs)) if isinstance(part, FollowedTensor))
    name = f"tf.{function.__name__}"
    return tensor.following.outside(name, function, args, kwargs, "TensorFlow", why)


class _Others(dispatch.GlobalOpDispatcher):
    """Whom TensorFlow asks where a tensor cannot be converted."""

    def handle(self, op: Any, args: Any, kwargs: Any) -> Any:
        if FOLLOWED.get() is None or not any(isinstance(x, FollowedTensor) for x in flat((args, kwargs))):
            return self.NOT_SUPPORTED
        return _in_tensorflow(op, args, kwargs, "has no rule")


def _making(function: Callable[..., Any], ours: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function that makes a tensor of Python's values, and what it is where a call is followed."""

    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        if FOLLOWED.get() is None:
            return function(*args, **kwargs)
        kwargs.pop("name", None)
        return ours(*args, **kwargs)

    return make
