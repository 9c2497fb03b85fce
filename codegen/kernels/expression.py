"""Scalar expressions of kernels, as trees: what they read and call can be asked; text is made where source is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter


@dataclass(frozen=True)
class Name:
    """A value by its name, see NOTE [scopes]."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def templates(self) -> tuple[str, ...]:
        return ()

    def text(self, spelled: Callable[[str], str] = str) -> str:
        return spelled(self.name)

    def renamed(self, new: Mapping[str, str]) -> Name:
        return Name(new.get(self.name, self.name))


@dataclass(frozen=True)
class Expression:
    """``template`` with the texts of ``operands`` in it; a number is a template without operands."""

    template: str  # over {0}, {1}, ..., as rows of the operator table have it
    operands: tuple[Term, ...] = ()  # none of which needs parentheses: names, numbers, calls

    @property
    def names(self) -> tuple[str, ...]:
        """The values that it reads, in the order of the text."""
        return tuple(name for number in _holes(self.template) for name in self.operands[number].names)

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates of the whole tree."""
        return (self.template, *(t for operand in self.operands for t in operand.templates))

    def text(self, spelled: Callable[[str], str] = str) -> str:
        """Source. spelled: how the name of a value is written."""
        return self.template.format(*(operand.text(spelled) for operand in self.operands))

    def renamed(self, new: Mapping[str, str]) -> Expression:
        """The same of other values."""
        return Expression(self.template, tuple(operand.renamed(new) for operand in self.operands))


Term = Name | Expression


@lru_cache(maxsize=1024)
def _holes(template: str) -> tuple[int, ...]:
    """The numbers of the operands, as they stand in a template."""
    return tuple(int(field) for _, field, _, _ in Formatter().parse(template) if field is not None)


@lru_cache(maxsize=1024)
def words(template: str) -> frozenset[str]:
    """What a template names: functions, and dtypes that convert."""
    return frozenset(re.findall(r"\b[A-Za-z_]\w*", template))


@lru_cache(maxsize=1024)
def called(template: str) -> tuple[str, ...]:
    """The functions that a template calls, each time that it does."""
    return tuple(re.findall(r"(\w+)\(", template))
