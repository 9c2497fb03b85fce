"""Neural-network blocks in plain Python, traced into graphs and fused into native CPU kernels.

Nothing is loaded before it is asked for: ``blockfuse.frozen`` runs nets in processes that load nothing else of the package.
"""

import os
import sys
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockfuse import frozen, gluon, image, kvstore, metric, nn
    from blockfuse.frontends.compiling import compile, missing, to_onnx
    from blockfuse.frozen.freezing import freeze
    from blockfuse.public import (
        CompilerWarning,
        Constant,
        MixedDtypesWarning,
        Parameter,
        Trainer,
        autograd,
        hybridize,
        init,
        load_checkpoint,
        loss,
        lr_scheduler,
        np,
        npx,
        optimizer,
        save_checkpoint,
        train_step,
    )
    from blockfuse.runtime.cli.in_python import compare, show

__version__ = "0.1.0"

__all__ = [
    "CompilerWarning",
    "Constant",
    "MixedDtypesWarning",
    "Parameter",
    "Trainer",
    "autograd",
    "compare",
    "compile",
    "freeze",
    "frozen",
    "gluon",
    "hybridize",
    "image",
    "init",
    "kvstore",
    "load_checkpoint",
    "loss",
    "lr_scheduler",
    "metric",
    "missing",
    "nn",
    "np",
    "npx",
    "optimizer",
    "save_checkpoint",
    "show",
    "to_onnx",
    "train_step",
]

_LATE_MODULES = ("dask", "frozen", "image", "joblib", "kvstore", "metric", "torch")
_LATE_FUNCTIONS = {
    "compare": "blockfuse.runtime.cli.in_python",
    "compile": "blockfuse.frontends.compiling",
    "freeze": "blockfuse.frozen.freezing",
    "missing": "blockfuse.frontends.compiling",
    "show": "blockfuse.runtime.cli.in_python",
    "to_onnx": "blockfuse.frontends.compiling",
}

# Threads that import modules of one package at once may see each other's half-made ones, as Python lets them rather than
# wait for each other. No module of the package asks for an attribute here while it is imported.
_lock = RLock()


def _in_child() -> None:
    """A thread that held it is not there."""
    global _lock
    _lock = RLock()


os.register_at_fork(after_in_child=_in_child)


def __getattr__(name: str) -> Any:
    with _lock:
        return _loaded(name)


def _loaded(name: str) -> Any:
    if name in _LATE_MODULES:
        return import_module(f"blockfuse.{name}")
    if name in _LATE_FUNCTIONS:
        return getattr(import_module(_LATE_FUNCTIONS[name]), name)
    _load()
    if name in globals():
        return globals()[name]
    hints = import_module("blockfuse.ir.hints")
    raise hints.no_attribute(sys.modules[__name__], name, hints.PACKAGE)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _load() -> None:
    """All other public names, as attributes of the package; one that somebody has set, as tests do, stays."""
    public = import_module("blockfuse.public")
    for name in __all__:
        if name in vars(public):
            globals().setdefault(name, vars(public)[name])
