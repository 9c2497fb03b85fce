"""Arguments and results of a frozen net as data: where arrays stand in them, and what stands beside.

The words are those of ``array/pytree.py``, as ``blockfuse.freeze`` writes them: ``{"array": number}``, ``{"value": text,
"type": name}``, ``{"again": number}`` for a list or dict that was met before, and ``{"tuple": [...]}``, ``{"list": [...]}``,
``{"dict": [...], "keys": [...]}``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy

from blockfuse.ir.errors import UsageError

Data = Any  # of JSON
Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_VALUES = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range)


def form_of(value: Any, arrays: list[Any]) -> Data:
    """The data of a call's arguments; what may be an array is appended to ``arrays``. Raises UsageError for the rest."""
    return _form(value, arrays, {})


def _form(value: Any, arrays: list[Any], met: dict[int, int]) -> Data:
    """met: id of each list and dict so far -> its number."""
    kind = type(value)
    if kind in (list, dict):
        if id(value) in met:
            return {"again": met[id(value)]}
        met[id(value)] = len(met)
    if kind in (tuple, list):
        return {kind.__name__: [_form(part, arrays, met) for part in value]}
    if kind is dict:
        keys = [{"value": repr(key), "type": type(key).__name__} for key in value]
        parts = [_form(part, arrays, met) for part in value.values()]
        return {"dict": parts, **({"keys": keys} if keys else {})}
    if kind in _VALUES:
        return {"value": repr(value), "type": kind.__name__}
    if hasattr(value, "__array__"):
        _require_all_count(value)
        arrays.append(value)
        return {"array": len(arrays) - 1}
    raise UsageError(
        f"an argument is a {kind.__name__}; a frozen net takes arrays, plain values and containers of such"
    )


def _require_all_count(array: Any) -> None:
    """Raises UsageError for what would lose its mask."""
    if isinstance(array, numpy.ma.MaskedArray):
        raise UsageError("a masked array has values that count and values that do not: pass x.filled(...)")


@dataclass(frozen=True)
class Names:
    """What Python knows the arguments of a net by; a net may see the order of other names."""

    positional: tuple[str | None, ...]  # in order; None for one that has no name for callers
    keywords: frozenset[str]  # those that are given by name only

    @classmethod
    def of_data(cls, data: Data) -> Self:
        return cls(tuple(data["positional"]), frozenset(data["keywords"]))

    def arranged(self, args: Sequence[Any], kwargs: Mapping[str, Any], like: Arrangement) -> Arguments | None:
        """The same arguments by position and by name as ``like``; None where that is no other call, or not the same one."""
        if (len(args), tuple(kwargs)) == (like.positional, like.keywords):
            return None
        given: dict[str | int, Any] = dict(zip(map(self._name, range(len(args))), args, strict=True))
        if not given.keys().isdisjoint(kwargs) or self._others(kwargs) != self._others(like.keywords):
            return None
        given.update(kwargs)
        wanted = [*map(self._name, range(like.positional)), *like.keywords]
        if given.keys() != set(wanted):
            return None
        values = [given[name] for name in wanted]
        return tuple(values[: like.positional]), dict(
            zip(like.keywords, values[like.positional :], strict=True)
        )

    def _name(self, place: int) -> str | int:
        name = self.positional[place] if place < len(self.positional) else None
        return place if name is None else name

    def _others(self, names: Iterable[str]) -> list[str]:
        return [n for n in names if n not in self.positional and n not in self.keywords]


@dataclass(frozen=True)
class Arrangement:
    """Which arguments a call has by position, and which by name, in order."""

    positional: int
    keywords: tuple[str, ...]

    @classmethod
    def of_form(cls, form: Data) -> Self:
        positional, named = form["tuple"]
        return cls(len(positional["tuple"]), tuple(_value(key) for key in named.get("keys", ())))


def shown(form: Data, arrays: Sequence[str]) -> str:
    """The arguments of a call as they are written. arrays: what stands in the place of each."""
    positional, named = form["tuple"]
    parts = [_shown(part, arrays) for part in positional["tuple"]]
    keys = [_value(key) for key in named.get("keys", ())]
    parts += [f"{k}={_shown(part, arrays)}" for k, part in zip(keys, named["dict"], strict=True)]
    return f"({', '.join(parts)})"


def _shown(data: Data, arrays: Sequence[str]) -> str:
    if "array" in data:
        text: str = arrays[data["array"]]
        return text
    if "value" in data:
        return f"{data['value']:.80}"
    if "again" in data:
        return f"<container {data['again']} again>"
    if "dict" in data:
        keys = [str(key["value"]) for key in data.get("keys", ())]
        pairs = zip(keys, data["dict"], strict=True)
        return f"{{{', '.join(f'{key}: {_shown(part, arrays)}' for key, part in pairs)}}}"
    kind, parts = next(iter(data.items()))
    inner = ", ".join(_shown(part, arrays) for part in parts)
    if kind == "list":
        return f"[{inner}]"
    return f"({inner},)" if len(parts) == 1 else f"({inner})"


def is_arrays_by_position(form: Data) -> bool:
    """Whether the form is that of a call with arrays alone, none of them by name."""
    positional, named = form["tuple"]
    return not named["dict"] and all("array" in part for part in positional["tuple"])


def are_in_order(gives: Data, count: int) -> bool:
    """Whether a result is one array, or a tuple of as many, as native code gives them."""
    if count == 1:
        return bool(gives == {"array": 0})
    return bool(gives == {"tuple": [{"array": number} for number in range(count)]})


def built(data: Data, arrays: Callable[[int], Any]) -> Any:
    """The value that data tell of."""
    return _built(data, arrays, [])


def _built(data: Data, arrays: Callable[[int], Any], met: list[Any]) -> Any:
    if "array" in data:
        return arrays(data["array"])
    if "again" in data:
        return met[data["again"]]
    if "value" in data:
        return _value(data)
    if "tuple" in data:
        return tuple([_built(part, arrays, met) for part in data["tuple"]])
    if "list" in data:
        made: list[Any] = []
        met.append(made)
        made.extend(_built(part, arrays, met) for part in data["list"])
        return made
    table: dict[Any, Any] = {}
    met.append(table)
    keys = map(_value, data.get("keys", ()))
    table.update(zip(keys, (_built(part, arrays, met) for part in data["dict"]), strict=True))
    return table


def _value(data: Data) -> Any:
    text, kind = data["value"], data["type"]
    if kind == "float":
        return float(text)
    if kind == "ellipsis":
        return ...
    if kind in ("slice", "range"):
        return {"slice": slice, "range": range}[kind](*ast.literal_eval(text.removeprefix(kind)))
    return ast.literal_eval(text)
