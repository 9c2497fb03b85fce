"""What the tracer is told of Keras: which of its code only computes, and what stands for arrays."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import keras
import optree
from keras.src.utils import tracking

from blockfuse.array import foreign
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.keras import variables
from blockfuse.frontends.keras.backends import BACKEND, KIND, UNCHANGING
from blockfuse.frontends.keras.followed_tensor import FollowedTensor

# Files and folders of Keras -> its known functions, all but those after "-" where there is no other.
_KNOWN: dict[str, tuple[str, ...]] = {
    "src/layers/": (
        *("-Layer.__setattr__", "-Layer.__delattr__", "-Layer.add_", "-Layer.build", "-Layer._maybe_build"),
        *("-Layer.set_weights", "-Layer.load_own", "-RNN.reset_state", "-Layer.quantize"),
    ),
    "src/models/": (
        "-Model.compile",
        "-Model.fit",
        "-Model.load_",
        "-Model.save",
        "-Sequential.add",
        "-Sequential.pop",
    ),
    "src/ops/": (),
    "src/saving/serialization_lib.py": ("SerializableDict",),
    "src/activations/": (),
    "src/tree/": (),
    "src/utils/": ("-progbar", "-io_utils"),
    "src/dtype_policies/": (),
    "src/backend/common/": ("-KerasVariable.__init__", "-global_state"),
    "src/backend/config.py": (
        "floatx",
        "epsilon",
        "image_data_format",
        "backend",
        "standardize_data_format",
        "is_nnx_enabled",
    ),
    "src/backend/": (),
}

# Attributes of layers that a call does not read, or that tell only how the layer came to be.
_UNREAD = frozenset(
    {
        *("_inbound_nodes", "_outbound_nodes", "_tracker", "_lock", "_metrics", "_losses", "_loss_ids"),
        *("_losses_override", "_parent_path", "_auto_config", "_build_shapes_dict", "_call_signature"),
        *("_called", "_initializer", "_seed_generators", "_trainable_variables", "_saved_model_inputs_spec"),
        *(
            "_non_trainable_variables",
            "_self_setattr_tracking",
            "_self_unconditional_checkpoint_dependencies",
        ),
        "_compiled_trainable_state",
        *("_compile_config", "_compile_loss", "_compile_metrics", "_loss_tracker", "_distribute_strategy"),
        *(
            "optimizer",
            "train_function",
            "test_function",
            "predict_function",
            "compiled",
            "stop_training",
            "history",
        ),
        *(
            "_nodes",
            "_nodes_by_depth",
            "_layers",
            "_operations_by_depth",
            "output_names",
            "input_names",
            "_inputs",
            "_outputs",
        ),
        *(
            "_inputs_struct",
            "_outputs_struct",
            "_api_export_path",
            "_input_spec",
            "input_spec",
            "_call_context_args",
        ),
        *("_call_has_context_arg", "_remat_mode", "_jit_compile", "steps_per_execution", "_functional_args"),
        *(
            "kernel_initializer",
            "bias_initializer",
            "recurrent_initializer",
            "kernel_regularizer",
            "bias_regularizer",
        ),
        *(
            "recurrent_regularizer",
            "kernel_constraint",
            "bias_constraint",
            "recurrent_constraint",
            "seed_generator",
        ),
        *("embeddings_initializer", "embeddings_regularizer", "embeddings_constraint", "beta_initializer"),
        *("gamma_initializer", "moving_mean_initializer", "moving_variance_initializer", "beta_regularizer"),
        *(
            "call_signature_parameters",
            "build",
            "quantize",
            "_input_tensor",
            "_initial_epoch",
            "loss",
            "loss_weights",
        ),
        *("gamma_regularizer", "beta_constraint", "gamma_constraint", "noise_shape"),
    }
)
# Where layers are torch's modules, too: their parameters are in the variables.
_UNREAD_OF_MODULES = frozenset(
    {
        *("_parameters", "_buffers", "_non_persistent_buffers_set", "_backward_pre_hooks", "_backward_hooks"),
        *(
            "_is_full_backward_hook",
            "_forward_hooks",
            "_forward_hooks_with_kwargs",
            "_forward_hooks_always_called",
        ),
        *(
            "_forward_pre_hooks",
            "_forward_pre_hooks_with_kwargs",
            "_state_dict_hooks",
            "_state_dict_pre_hooks",
        ),
        *(
            "_load_state_dict_pre_hooks",
            "_load_state_dict_post_hooks",
            "_torch_params",
            "torch_params",
            "training",
        ),
    }
)
# Where they are objects that TensorFlow tracks: what it saves of them, and how.
_UNREAD_OF_TRACKED = frozenset(
    {
        *("_tracked", "_self_unconditional_checkpoint_dependencies", "_self_unconditional_dependency_names"),
        *("_self_unconditional_deferred_dependencies", "_self_update_uid", "_self_name_based_restores"),
        *("_self_saveable_object_factories", "_self_setattr_tracking", "_saved_model_arg_spec"),
    }
)
_UNREAD_OF_VARIABLES = _UNREAD_OF_TRACKED | {
    *("_value", "_initializer", "_regularizer", "_constraint", "_path", "_name", "_layout", "_aggregation")
}


def _array_of(value: Any) -> ndarray | None:
    if type(value) is FollowedTensor:  # one with a mask is more than its array
        return None if getattr(value, "_keras_mask", None) is not None else value.array
    return variables.mirror_of(value).array if isinstance(value, keras.Variable) else None


def _functions_of_trees() -> tuple[Any, ...]:
    """Of C, in what goes through tuples, lists and dicts for Keras."""
    of_specs = [getattr(value, "__func__", value) for value in vars(optree.PyTreeSpec).values()]
    every = (*vars(optree._C).values(), *of_specs)
    return tuple(
        f for f in every if isinstance(f, types.BuiltinFunctionType) and "register" not in f.__name__
    )


TREES = foreign.ForeignLibrary(
    package="optree",
    folder=f"{Path(optree.__file__).parent}/",
    is_known=lambda path, name: path != "registry.py",
    functions=_functions_of_trees(),
    kinds=(optree.PyTreeSpec,),
    opaque=(optree.PyTreeSpec,),
    unread={},
    arrays=(),
    array_of=lambda value: None,
    held=variables.held,
)
LIBRARY = foreign.ForeignLibrary(
    package="keras",
    folder=f"{Path(keras.__file__).parent}/",
    is_known=foreign.known_by(_KNOWN),
    functions=(),
    kinds=(FollowedTensor, keras.Variable),
    opaque=(),
    unread={
        **dict.fromkeys((keras.Layer, keras.Operation), _UNREAD | _UNREAD_OF_MODULES | _UNREAD_OF_TRACKED),
        **dict.fromkeys(
            (tracking.TrackedList, tracking.TrackedDict, tracking.TrackedSet), frozenset({"tracker"})
        ),
        keras.Variable: _UNREAD_OF_VARIABLES,
    },
    arrays=(FollowedTensor, keras.Variable, *((KIND,) if BACKEND in UNCHANGING else ())),
    array_of=_array_of,
    held=variables.held,
)
