"""What the tracer is told of torch: which of its code only computes, and what stands for arrays."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import torch
from torch.overrides import get_ignored_functions, get_overridable_functions

from blockfuse.array import foreign
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch import tensors
from blockfuse.frontends.torch.following import FOLLOWED

# Files and folders of torch -> its known functions, all but those after "-" where there is no other.
_KNOWN: dict[str, tuple[str, ...]] = {
    "nn/modules/": ("-Module.register", "-Module.__setattr__", "-Module.__delattr__", "-Module.add_module"),
    "nn/functional.py": (),
    "nn/parameter.py": (),
    "functional.py": (),
    "_tensor.py": (),
    "_jit_internal.py": (),
    "overrides.py": (),
    "_utils.py": (),
    "_VF.py": (),
    "autograd/grad_mode.py": ("-set_multithreading_enabled",),
    "utils/_contextlib.py": (),
    "compiler/__init__.py": ("is_compiling", "is_dynamo_compiling", "is_exporting"),
    "jit/_trace.py": ("is_tracing",),
    "_lowrank.py": (),
    "backends/__init__.py": ("ContextProp.__get__",),  # settings of other devices
    "backends/mha/__init__.py": ("get_fastpath_enabled",),
    "utils/_pytree.py": ("-register", "-_register", "-_private_register", "-_deregister"),
    "nn/utils/parametrize.py": ("ParametrizationList.forward", "ParametrizationList._call"),
    "__init__.py": (),
}
# Functions of C that tell what is settled at the border of a call, or that no call changes.
_ASKING = (
    *("is_grad_enabled", "get_default_dtype", "typename"),
    *("device", "Size", "finfo", "iinfo"),
)
_INSIDE = (
    "_get_tracing_state",
    "_has_torch_function",
    "_has_torch_function_unary",
    "_has_torch_function_variadic",
)


# Attributes of modules that a call does not read, or reads where there are hooks.
_UNREAD = frozenset(
    {
        *(
            "_state_dict_hooks",
            "_state_dict_pre_hooks",
            "_load_state_dict_pre_hooks",
            "_load_state_dict_post_hooks",
        ),
        *("_non_persistent_buffers_set", "_is_full_backward_hook", "_forward_hooks_with_kwargs"),
        *("_compiled_call_impl", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"),
    }
)


def _functions() -> tuple[Any, ...]:
    """Functions of C that the mode sees (``following.py``), or that tell nothing that changes."""
    every = {
        f for functions in get_overridable_functions().values() for f in functions
    } | get_ignored_functions()
    every |= {f for f in vars(torch).values() if isinstance(f, types.BuiltinFunctionType)}
    every |= {f for f in vars(torch.nn.functional).values() if isinstance(f, types.BuiltinFunctionType)}
    unknown = {vars(torch)[name] for name in _CHANGING if name in vars(torch)}
    inside = [getattr(torch._C, name) for name in _INSIDE if hasattr(torch._C, name)]
    return (*(f for f in every if not isinstance(f, types.FunctionType) and f not in unknown), *inside)


# What sets something, reads a file, or makes tensors that the mode does not see made.
_CHANGING = (
    *(
        "set_grad_enabled",
        "set_num_threads",
        "set_num_interop_threads",
        "set_default_dtype",
        "set_flush_denormal",
    ),
    *("set_autocast_enabled", "set_autocast_dtype", "set_autocast_cache_enabled", "set_anomaly_enabled"),
    *(
        "from_numpy",
        "from_file",
        "get_num_threads",
        "is_autocast_enabled",
        "is_anomaly_enabled",
        "import_ir_module",
    ),
    *("seed", "manual_seed", "initial_seed", "init_num_threads", "autocast_increment_nesting"),
    *(
        "autocast_decrement_nesting",
        "clear_autocast_cache",
        "set_vital",
        "parse_ir",
        "parse_schema",
        "fork",
        "wait",
    ),
    *("_from_dlpack", "frombuffer", "is_inference_mode_enabled"),
)


def _array_of(tensor: Any) -> ndarray | None:
    from_call = FOLLOWED.get()
    found = None if from_call is None else from_call.array_of(tensor)
    if found is None and tensors.is_held(tensor):
        return tensors.held_array(tensor)
    return found


LIBRARY = foreign.ForeignLibrary(
    package="torch",
    folder=f"{Path(torch.__file__).parent}/",
    is_known=foreign.known_by(_KNOWN),
    functions=_functions(),
    kinds=(
        *(torch.Tensor, torch.Tensor.__mro__[1], torch.nn.Parameter, torch.nn.Buffer, torch.Size),
        *(torch.dtype, torch.device, torch.layout, torch.memory_format),
    ),
    opaque=(torch.dtype, torch.device, torch.layout, torch.memory_format),
    unread={torch.nn.RNNBase: _UNREAD | {"_flat_weight_refs"}, torch.nn.Module: _UNREAD},
    arrays=tensors.KINDS,
    array_of=_array_of,
    held=tensors.held,
)
