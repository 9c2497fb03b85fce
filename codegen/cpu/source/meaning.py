"""The source of kernels as plain Python over flat memory: intrinsics by their NumPy meanings, the rest as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy

from blockfuse.codegen.cpu.intrinsics.table import INTRINSICS
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.meaning.expressions import FUNCTIONS
from blockfuse.codegen.meaning.memory import Address


def source_meaning(kernel: Kernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    """What the source of a kernel does to memory for rows ``begin`` to ``end``; number by number where it has loops."""
    named = kernel.pointers
    for name, dtype in named:
        addresses[name].read(dtype, (0,), (1,))  # raises for another dtype
    function = source_function(render(kernel), kernel.name)
    with numpy.errstate(all="ignore"):
        function(*(addresses[name] for name, _ in named), begin, end)


@lru_cache(maxsize=1024)
def source_function(source: str, name: str) -> Callable[..., None]:
    """Function ``name`` of ``source``; its pointers are addresses."""
    scope: dict[str, Any] = dict(_SCOPE)
    defined: dict[str, Any] = {}
    exec(compile(source, f"<kernel {name}>", "exec"), scope, defined)
    function: Callable[..., None] = defined.pop(name)  # not in scope, as for ``frontend.lowered``
    scope.update(defined)
    return function


_MEANINGS = {row.name: row.meaning for row in INTRINSICS}
_SCOPE: dict[str, Any] = {**FUNCTIONS, **_MEANINGS, "range": range, "__builtins__": {}}
