"""What the tracer is told of TensorFlow, where Keras computes with it: how calls come to rules, and lists that it tracks."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import tensorflow
from tensorflow.python.ops.resource_variable_ops import ResourceVariable
from tensorflow.python.trackable import data_structures
from tensorflow.python.util import tf_decorator

from blockfuse.array import foreign
from blockfuse.frontends.keras import tensorflow_functions, variables

# Files of TensorFlow -> its known functions. Here stands only what leads to the functions that have rows: what runs a
# kernel may draw or count, so whatever else is called with tensors stays in Python.
_KNOWN: dict[str, tuple[str, ...]] = {
    "python/util/dispatch.py": ("add_dispatch_support.<locals>.decorator.<locals>.op_dispatch_handler",),
    "python/util/traceback_utils.py": (
        "filter_traceback.<locals>.error_handler",
        "is_traceback_filtering_enabled",
    ),
    "python/framework/override_binary_operator.py": (
        *("override_binary_operator_helper.<locals>.binary_op_wrapper", "maybe_promote_tensors"),
    ),
    "python/framework/ops.py": (
        *("name_scope", "name_scope_v1.__init__", "name_scope_v1.__enter__", "name_scope_v1.__exit__"),
        *("convert_to_tensor", "is_auto_dtype_conversion_enabled", "is_numpy_style_type_promotion"),
        *("NullContextmanager.__init__", "NullContextmanager.__enter__", "NullContextmanager.__exit__"),
        *("_EagerTensorBase.dtype", "_EagerTensorBase.shape", "_EagerTensorBase._shape_tuple"),
    ),
    "python/eager/context.py": ("executing_eagerly", "context_safe", "Context.executing_eagerly"),
    "python/framework/dtypes.py": (),
    "python/framework/tensor.py": ("Tensor.__getattr__",),
    "python/ops/tensor_math_operator_overrides.py": (),  # which hand over to functions that have rows
    "python/ops/math_ops.py": ("_add_dispatch", "_mul_dispatch"),
    "python/ops/weak_tensor_ops.py": (
        "weak_tensor_unary_op_wrapper.<locals>.wrapper",
        "weak_tensor_binary_op_wrapper.<locals>.wrapper",
    ),
    "python/framework/tensor_shape.py": (),
    "python/framework/tensor_conversion_registry.py": ("convert",),
    "python/trackable/data_structures.py": (
        *("List.__getitem__", "List.__len__", "List.__iter__", "ListWrapper.__getitem__"),
        *("ListWrapper.__len__", "ListWrapper.__iter__", "List.__contains__"),
    ),
}
# What a list that TensorFlow tracks has besides its elements.
_OF_TRACKING = frozenset(
    {
        *("_non_append_mutation_value", "_external_modification_value", "_last_wrapped_list_snapshot"),
        *("_self_trainable", "_self_extra_variables", "_self_attribute_sentinel"),
    }
)
_FOLDER = f"{Path(tensorflow.__file__).parent}/"


def _place_of(function: Any) -> tuple[str, str]:
    """The file of a function, and its name there, below what decorates it."""
    code = inspect.unwrap(tf_decorator.unwrap(function)[1]).__code__
    return code.co_filename.removeprefix(_FOLDER), code.co_qualname


_WITH_ROWS = frozenset(map(_place_of, tensorflow_functions.ROWS))
_is_on_the_way = foreign.known_by(_KNOWN)


LIBRARY = foreign.ForeignLibrary(
    package="tensorflow",
    folder=_FOLDER,
    is_known=lambda path, name: (path, name) in _WITH_ROWS or _is_on_the_way(path, name),
    functions=(),
    kinds=(),
    opaque=(ResourceVariable,),  # what Keras's variables hold, which are looked at themselves
    unread={data_structures.ListWrapper: _OF_TRACKING},
    arrays=(),
    array_of=lambda value: None,
    held=variables.held,
)
