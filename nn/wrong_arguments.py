"""What is said of arguments that ``__init__`` or ``forward`` of a block does not take: one sentence with the layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from blockfuse.ir import hints

if TYPE_CHECKING:
    from blockfuse.nn.block import Block


def check_keywords(kind: type, given: Mapping[str, Any]) -> None:
    """Raise TypeError for the name that another library has for an argument of ``kind``."""
    taken = inspect.signature(kind).parameters
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return
    for name in given:
        if name not in taken and name in hints.KEYWORDS:
            raise TypeError(f"{kind.__name__} has no argument {name!r}; write {hints.KEYWORDS[name]}")


def refusal(error: TypeError, block: Block, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What to say where ``error`` is Python's, which found that ``forward`` does not take these arguments; else empty.

    Python raises that in the frame of the caller, with none below it.
    """
    if error.__traceback__ is None or error.__traceback__.tb_next is not None:
        return ""
    forward = block.forward
    try:
        taken = inspect.signature(forward)
    except (TypeError, ValueError):  # a built-in function tells nothing about its parameters
        return ""
    if _fits(taken, args, kwargs):
        return ""
    said = f"{block._label} takes {_names(taken)}; found {_given(args, kwargs)}"
    return said + "".join(f"; write {hint}" for hint in _hints(forward, kwargs))


def _fits(taken: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    try:
        taken.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _names(taken: inspect.Signature) -> str:
    return f"({', '.join(str(one.replace(annotation=one.empty)) for one in taken.parameters.values())})"


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    count = f"{len(args) or 'no'} argument{'' if len(args) == 1 else 's'}" if args or not kwargs else ""
    return " and ".join(filter(None, (count, *(f"{name}=" for name in kwargs))))


def _hints(forward: Callable[..., Any], kwargs: Mapping[str, Any]) -> list[str]:
    code = getattr(getattr(forward, "__func__", None), "__code__", None)
    lacks_self = (
        code is not None and code.co_varnames[:1] != ("self",) and not code.co_flags & inspect.CO_VARARGS
    )
    return [
        *(hints.KEYWORDS[name] for name in kwargs if name in hints.KEYWORDS),
        *(["def forward(self, ...)"] if lacks_self else []),
    ]
