"""Rules of layers that call their backend without ``keras.ops``."""

from __future__ import annotations

from typing import Any

import numpy
from keras import layers

from blockfuse.frontends.keras.rules.table import Tensor, layer_rule, refuse_if


@layer_rule(layers.Rescaling)
def rescaling(following: Any, layer: Any, inputs: Tensor) -> Tensor:
    """``inputs * scale + offset``."""
    scale, offset = (numpy.asarray(value, layer.compute_dtype) for value in (layer.scale, layer.offset))
    refuse_if(scale.ndim or offset.ndim, "a scale for each channel")
    x = inputs.array
    x = x if x.dtype.name == layer.compute_dtype else x.astype(layer.compute_dtype)
    return following.tensor(x * float(scale) + float(offset))
