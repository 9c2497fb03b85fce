"""``from blockfuse import npx``: what neural networks need and NumPy does not have."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from blockfuse.array.devices import Device, cpu, current_device, gpu, num_gpus
from blockfuse.array.docstrings import before_example
from blockfuse.array.files import load, save, savez
from blockfuse.array.functions import random
from blockfuse.array.functions.activations import (
    activation,
    gelu,
    leaky_relu,
    log_sigmoid,
    mish,
    silu,
    smooth_l1,
    softsign,
)
from blockfuse.array.functions.control import cond, foreach, while_loop
from blockfuse.array.functions.detection import box_iou, multibox_prior, roi_align, roi_pooling
from blockfuse.array.functions.elementwise import (
    digamma,
    erf,
    erfinv,
    gamma,
    gammaln,
    relu,
    sigmoid,
    softplus,
)
from blockfuse.array.functions.gluon import (
    add_n,
    arange_like,
    broadcast_like,
    cast,
    from_numpy,
    gather_nd,
    is_np_array,
    is_np_default_dtype,
    nonzero,
    reset_np,
    set_np,
    stop_gradient,
    waitall,
)
from blockfuse.array.functions.layers import (
    batch_dot,
    batch_flatten,
    dropout,
    embedding,
    fully_connected,
)
from blockfuse.array.functions.linalg import solve_triangular
from blockfuse.array.functions.normalization import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from blockfuse.array.functions.norms import norm
from blockfuse.array.functions.picking import (
    one_hot,
    pick,
    sequence_last,
    sequence_mask,
    sequence_reverse,
    topk,
)
from blockfuse.array.functions.random import seed
from blockfuse.array.functions.recurrent import rnn
from blockfuse.array.functions.reshaping import (
    reshape,
    reshape_like,
    slice,
    slice_axis,
    slice_channel,
    slice_like,
)
from blockfuse.array.functions.resizing import upsampling
from blockfuse.array.functions.softmax import (
    log_softmax,
    logsumexp,
    masked_log_softmax,
    masked_softmax,
    softmax,
)
from blockfuse.array.functions.updating import index_add, index_update
from blockfuse.array.functions.windows import adaptive_avg_pooling, convolution, deconvolution, pooling
from blockfuse.ir import hints

__all__ = [
    "Device",
    "activation",
    "adaptive_avg_pooling",
    "add_n",
    "arange_like",
    "batch_dot",
    "batch_flatten",
    "batch_norm",
    "box_iou",
    "broadcast_like",
    "cast",
    "cond",
    "convolution",
    "cpu",
    "current_device",
    "deconvolution",
    "digamma",
    "dropout",
    "embedding",
    "erf",
    "erfinv",
    "foreach",
    "from_numpy",
    "fully_connected",
    "gamma",
    "gammaln",
    "gather_nd",
    "gelu",
    "gpu",
    "group_norm",
    "index_add",
    "index_update",
    "instance_norm",
    "is_np_array",
    "is_np_default_dtype",
    "layer_norm",
    "leaky_relu",
    "load",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "masked_log_softmax",
    "masked_softmax",
    "mish",
    "multibox_prior",
    "nonzero",
    "norm",
    "num_gpus",
    "one_hot",
    "pick",
    "pooling",
    "random",
    "relu",
    "reset_np",
    "reshape",
    "reshape_like",
    "rms_norm",
    "rnn",
    "roi_align",
    "roi_pooling",
    "save",
    "savez",
    "seed",
    "sequence_last",
    "sequence_mask",
    "sequence_reverse",
    "set_np",
    "sigmoid",
    "silu",
    "slice",
    "slice_axis",
    "slice_channel",
    "slice_like",
    "smooth_l1",
    "softmax",
    "softplus",
    "softsign",
    "solve_triangular",
    "stop_gradient",
    "topk",
    "upsampling",
    "waitall",
    "while_loop",
]

# What these mean is neither a formula nor in a paper; the docstrings of all others say where their meaning is from.
_GLUONS = """
activation add_n arange_like batch_dot batch_flatten broadcast_like cast cond convolution deconvolution
embedding foreach from_numpy fully_connected gather_nd index_add index_update load log_softmax masked_log_softmax
masked_softmax nonzero one_hot pick pooling reshape reshape_like rnn save savez sequence_last sequence_mask
sequence_reverse slice slice_axis slice_channel slice_like softmax stop_gradient topk upsampling while_loop
"""
for _name in _GLUONS.split():
    _function = globals()[_name]
    _function.__doc__ = before_example(_function.__doc__, "Source: Gluon's function of this name.")

if not TYPE_CHECKING:  # which else would take every name for one that is there

    def __getattr__(name: str) -> Any:
        raise hints.no_attribute(sys.modules[__name__], name, hints.GLUONS_FUNCTIONS)
