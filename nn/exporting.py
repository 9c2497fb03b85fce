"""``net.export``: the recorded calls of a net and its parameters, in two files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from blockfuse.ir.errors import UsageError
from blockfuse.ir.types import type_of
from blockfuse.nn import graph_files, parameter_files
from blockfuse.nn.graph_files import GraphFile, SavedParameter
from blockfuse.runtime.calls.recorded import recorded_calls

if TYPE_CHECKING:
    from blockfuse.nn.block import Block


def export(net: Block, path: str | os.PathLike[str], epoch: int) -> tuple[str, str]:
    """See ``Block.export``."""
    if net._hybrid is None:
        raise UsageError(f"{net._label} is not hybridized: call hybridize(), then the net, then export()")
    found = {id(p): (name, p) for name, p in reversed(net.collect_params().items()) if p._data is not None}
    kept = dict(reversed(found.values()))
    calls = recorded_calls(net, {id(p): name for name, p in kept.items()})
    if not calls:
        raise UsageError(
            f"{net._label} was not called in predict mode since hybridize(): call it, then export()"
        )
    saved = (SavedParameter(n, type_of(p.data()._data), p.grad_req != "null") for n, p in kept.items())
    symbol_file, param_file = f"{os.fspath(path)}-symbol.json", f"{os.fspath(path)}-{epoch:04d}.params"
    parameter_files.write(param_file, {name: p.data()._data for name, p in kept.items()})
    graph_files.write(symbol_file, GraphFile(tuple(saved), tuple(calls)))
    return symbol_file, param_file
