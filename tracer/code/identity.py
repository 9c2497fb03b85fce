"""Whether code asks if two objects are one."""

from __future__ import annotations

import dis
import types
from itertools import pairwise

from blockfuse.tracer.code.bytecode import once_per_code

_SINGLETONS = (None, True, False, ...)


@once_per_code
def asks_identity(code: types.CodeType) -> bool:
    """By ``is`` or by ``operator.is_``, of other objects than None, True, False and the ellipsis."""
    if not {"is_", "is_not"}.isdisjoint(code.co_names):
        return True
    steps = pairwise(dis.get_instructions(code))
    return any(step.opname == "IS_OP" and not _is_singleton(before) for before, step in steps)


def _is_singleton(instruction: dis.Instruction) -> bool:
    return instruction.opname == "LOAD_CONST" and any(instruction.argval is s for s in _SINGLETONS)
