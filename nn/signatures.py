"""What ``inspect.signature`` (completion, help) says of classes: all keywords by name, with their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import Any, TypedDict, get_args


class GluonNames(TypedDict, total=False):
    """What every block takes for Gluon 1's sake."""

    prefix: str | None
    params: Any


class SignatureOfInit:
    """As ``__signature__`` of a class: that of ``__init__``, also where ``__new__`` takes anything.

    Where ``**options`` is annotated as ``Unpack`` of a TypedDict, its names stand in its place.
    """

    def __get__(self, instance: Any, kind: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("an instance has the signature of its calls")
        _, *own = inspect.signature(next(_inits(kind))).parameters.values()
        return inspect.Signature([one for parameter in own for one in _spelled_out(parameter, kind)])


def _spelled_out(parameter: Parameter, kind: type) -> Iterator[Parameter]:
    if parameter.kind is not Parameter.VAR_KEYWORD:
        yield parameter
        return
    names = get_args(eval(str(parameter.annotation), next(_inits(kind)).__globals__))
    for name, annotation in names[0].__annotations__.items() if names else ():
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=_default(name, kind), annotation=annotation)
    if not names:
        yield parameter


def _default(name: str, kind: type) -> Any:
    """The default of an argument in the class that takes it."""
    takers = (inspect.signature(init).parameters for init in _inits(kind))
    return next((found[name].default for found in takers if name in found), None)


def _inits(kind: type) -> Iterator[Callable[..., Any]]:
    """The ``__init__`` of a class and of those below, the nearest first."""
    return (vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base))
