"""Whether code asks if two objects are one."""

from __future__ import annotations

import dis
import types
from itertools import pairwise

from blockfuse.tracer.code.bytecode import instructions_of, once_per_code

_SINGLETONS = (None, True, False, ...)


@once_per_code
def asks_identity(code: types.CodeType) -> bool:
    """By ``is`` or by ``operator.is_``, of other objects than None, True, False and the ellipsis."""
    if not {"is_", "is_not"}.isdisjoint(code.co_names):
        return True
    steps = pairwise(instructions_of(code))
    return any(step.opname == "IS_OP" and not _is_singleton(before) for before, step in steps)


def _is_singleton(instruction: dis.Instruction) -> bool:
    """CPython 3.14 asks by itself whether ``any`` is that of the language: no question of the code."""
    if instruction.opname == "LOAD_COMMON_CONSTANT":
        return True
    return instruction.opname == "LOAD_CONST" and any(instruction.argval is s for s in _SINGLETONS)
