"""Calls of a known form without dispatch: one generated function takes the arguments apart and asks the entry.

As the entry it answers NotImplemented where it cannot tell; dispatch then looks closer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Branch, Leaf, Number, Static, Structure
from blockfuse.runtime.arrays.conversion import plain_result
from blockfuse.runtime.programs.number_arguments import Convert

Entry = Callable[..., Any]


def positional_call(form: Structure, convert: Convert, entry: Entry) -> Entry | None:
    """``entry``, which takes arrays only, for positional arguments of ``form``: what a call asks first."""
    assert isinstance(form, Branch)
    positional, named = form.parts
    if named.parts or not all(isinstance(p, Leaf | Number) for p in positional.parts):
        return None
    if not any(isinstance(p, Number) for p in positional.parts):
        return entry
    return _generated(positional, "*given", "given", convert, entry, ndarray)


def calls_of_any_form(form: Structure, convert: Convert, entry: Entry) -> list[Callable[[Any, Any], Any]]:
    """Functions of ``(args, kwargs)`` for calls of ``form``: with our arrays, and with NumPy's, which give NumPy's."""
    found = (_generated(form, "*given", "given", convert, entry, kind) for kind in (ndarray, numpy.ndarray))
    return [call for call in found if call is not None]


_SINGLETONS = ("None", "True", "False", "Ellipsis")


class _UnknownFormError(Exception):
    """A form for which no function is generated."""


def _generated(
    form: Structure, parameters: str, given: str, convert: Convert, entry: Entry, kind: type
) -> Entry | None:
    writer = _Writer(kind)
    try:
        writer.take(given, form, outermost=True)
        lines = writer.finished()
    except _UnknownFormError:
        return None
    scope = {
        **writer.scope,
        "__name__": __name__,  # so that a recording takes it for ours
        "convert": convert,
        "entry": entry,
        "ndarray": ndarray,
        "kind": kind,
        "plain": plain_result,
    }
    exec(f"def fast_call({parameters}):\n" + "\n".join(f"    {line}" for line in lines), scope)
    return scope.pop("fast_call")  # type: ignore[no-any-return]  # not in its own scope: what it holds goes when it goes


class _Writer:
    """Writes the lines of one function. kind: the type of its arrays."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {}
        self._arrays: list[str] = []
        self._values: list[str] = []  # in the order of the static values
        self._containers: list[str] = []  # lists and dicts
        self._numbers = False
        self._count = 0

    def finished(self) -> list[str]:
        """All lines, with the call at the end."""
        if len(self._containers) > 1:
            self._require_apart(self._containers)
        if self.kind is numpy.ndarray:
            if not self._arrays:
                raise _UnknownFormError
            self._require_apart(self._arrays)
        arrays = [n if self.kind is ndarray else f"ndarray({n})" for n in self._arrays]
        if self._numbers:
            self.lines.append(f"numbers = convert(({', '.join(self._values)},))")
            self._require("numbers is not None")
            arrays.append("*numbers")
        call = f"entry({', '.join(arrays)})"
        if self.kind is ndarray:
            return [*self.lines, f"return {call}"]
        return [*self.lines, f"return plain({call})"]

    def take(self, text: str, part: Structure, outermost: bool = False) -> None:
        """Lines that check that the value of ``text`` is of the form ``part``."""
        if isinstance(part, Branch):
            self._take_items(text, part, outermost)
            return
        name = self._name()
        self.lines.append(f"{name} = {text}")
        if isinstance(part, Leaf):
            self._arrays.append(name)
            self._require(f"type({name}) is kind")
        elif isinstance(part, Number):
            self._numbers = True
            self._values.append(name)
            self._require(f"type({name}) is {self._known(part.type)}")
        elif isinstance(part, Static):
            self._values.append(name)
            if part.text in _SINGLETONS:
                self._require(f"{name} is {part.text}")
            else:
                self._require(f"type({name}) is {self._known(part.type)}")
                self._require(f"repr({name}) == {part.text!r}")
        else:
            raise _UnknownFormError

    def _take_items(self, text: str, part: Branch, outermost: bool) -> None:
        name = self._name()
        self.lines.append(f"{name} = {text}")
        if not outermost:
            self._require(f"type({name}) is {self._known(part.type)}")
        if part.type is list or part.type is dict:
            self._containers.append(name)
        self._require(f"len({name}) == {len(part.parts)}")
        if part.type is dict:
            if not all(type(k) is str for k in part.keys):
                raise _UnknownFormError
            self._require(f"[(type(k), k) for k in {name}] == {self._known([(str, k) for k in part.keys])}")
        for index, inner in enumerate(part.parts):
            key = part.keys[index] if part.type is dict else index
            self.take(f"{name}[{key!r}]", inner)

    def _require_apart(self, names: list[str]) -> None:
        self._require(f"len({{{', '.join(f'id({n})' for n in names)}}}) == {len(names)}")

    def _require(self, condition: str) -> None:
        self.lines.append(f"if not {condition}: return NotImplemented")

    def _known(self, value: Any) -> str:
        name = f"k{len(self.scope)}"
        self.scope[name] = value
        return name

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"
