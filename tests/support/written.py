"""Kernels written as text, for tests: names of values in an expression become what it reads."""

from __future__ import annotations

import re

from blockfuse.codegen.kernels.expression import Expression, Name, Term
from blockfuse.codegen.kernels.kernel import Statement
from blockfuse.codegen.kernels.loop_kernels import Fold

_VALUE = re.compile(r"\b(?:[xt]\d+|acc)\b")


def expression(text: str) -> Term:
    """An expression over the values that ``text`` names."""
    names = [Name(name) for name in _VALUE.findall(text)]
    numbers = iter(range(len(names)))
    if names and text == names[0].name:
        return names[0]
    return Expression(_VALUE.sub(lambda _: f"{{{next(numbers)}}}", text), tuple(names))


def statement(name: str, dtype: str, text: str) -> Statement:
    return Statement(name, dtype, expression(text))


def fold(name: str, dtype: str, start: str, step: str, join: str) -> Fold:
    return Fold(name, dtype, expression(start), expression(step), join)
