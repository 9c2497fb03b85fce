"""Gluon's ``gluon.model_zoo.vision``: nets for pictures, without trained weights."""

import sys
from typing import Any

from blockfuse.ir import hints
from blockfuse.nn.model_zoo.models import MODELS, constructor, get_model

__all__ = ["get_model", *MODELS]


def __getattr__(name: str) -> Any:
    if name in MODELS:
        return constructor(name)
    raise hints.no_attribute(sys.modules[__name__], name, hints.LAYERS)
