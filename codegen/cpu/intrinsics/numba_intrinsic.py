"""Functions that kernel source calls and that write their own LLVM code.

Numba's ``intrinsic`` enters each one into tables of the process, where it stays, and loads all of Numba's target to find
them. One of these is known to whoever holds it, and goes with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from numba.core import types as _numba_types
from numba.core.typing.templates import AbstractTemplate

types: Any = _numba_types  # its names are made at run time
Writer = Callable[..., Any]  # (target context, builder, signature, values) -> the value of the call


class Intrinsic:
    """A function of kernels; Numba asks what stands in its source for ``_numba_type_``."""

    def __init__(self, typed: Callable[..., tuple[Any, Writer]]) -> None:
        """typed: (typing context, types of the arguments) -> signature, and what writes the code of a call."""
        self._typed = typed
        self._made: dict[
            tuple[Any, ...], tuple[Any, Writer]
        ] = {}  # types of the arguments -> what ``typed`` gave
        self._numba_type_ = types.Function(_template_of(self))

    def signature(self, context: Any, arguments: tuple[Any, ...]) -> Any:
        """That of a call; from now on the target of ``context`` knows what writes its code."""
        if arguments not in self._made:
            signature, write = self._made[arguments] = self._typed(context, *arguments)
            definitions = context.target._defns
            context.target.insert_func_defn([(write, write, signature.args)])
            weakref.finalize(self, definitions.pop, write, None)
        return self._made[arguments][0]

    def writer(self, signature: Any) -> Writer:
        """Of a call that was typed."""
        return self._made[signature.args][1]


def _template_of(intrinsic: Intrinsic) -> Any:
    function = weakref.proxy(intrinsic)  # the type of an intrinsic must not hold it

    class Template(AbstractTemplate):
        key = intrinsic._typed

        def generic(self, args: tuple[Any, ...], kws: Any) -> Any:  # noqa: ARG002 - Numba gives both
            return function.signature(self.context, args)

        def get_impl_key(self, sig: Any) -> Writer:
            write: Writer = function.writer(sig)
            return write

    return Template
