"""All that can be seen of a Python object: two pictures are compared to find out whether anybody could tell them apart."""

from __future__ import annotations

import re
import types
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array import history, stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.nn import Block, Parameter
from blockfuse.nn.hooks import HookHandle
from blockfuse.runtime.audit.rounding import distance

LIMITS = {"float16": 2e-2, "float32": 4e-5, "float64": 1e-9}  # of the largest element; finer by noise
_ATOMS = (bool, int, str, bytes, complex, type(None), type(Ellipsis), slice, range)
_HIDDEN = Block.__untracked__ | {"_forward_hooks", "_forward_pre_hooks"}
_NAMED = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, types.ModuleType, HookHandle)


@dataclass(frozen=True)
class Difference:
    """kind: what to tell it by from others. place: which array of the pictures differs, by ``size`` at most."""

    kind: str
    shown: str
    place: int | None = None
    size: float = 0.0

    def __str__(self) -> str:
        return self.shown


class Picture:
    """``text`` says everything but the values of arrays and floats; an object that is met again is its first place."""

    def __init__(self, value: Any) -> None:
        self.text: list[str] = []
        self.values: list[numpy.ndarray] = []
        self.places: list[str] = []
        self._met: dict[int, tuple[str, Any]] = {}
        self._memory: list[tuple[str, numpy.ndarray]] = []
        self._visit(value, "")
        self._see_sharing()

    def distance(self, other: Picture, place: int) -> float:
        return distance(self.values[place], other.values[place])

    def _say(self, path: str, what: str) -> None:
        self.text.append(f"{path or 'everything'} is {what}")

    def _visit(self, value: Any, path: str) -> None:
        if isinstance(value, _ATOMS):
            self._say(path, f"{type(value).__name__} {value!r}")
        elif isinstance(value, float):
            self._say(path, "a float")
            self._keep(path, numpy.asarray(value))
        elif isinstance(value, numpy.generic):
            self._say(path, f"{type(value).__name__}")
            self._keep(path, numpy.asarray(value))
        elif isinstance(value, _NAMED):
            self._say(path, f"{type(value).__name__} {getattr(value, '__qualname__', '')}")
        elif id(value) in self._met:
            self._say(path, f"the same object as {self._met[id(value)][0]}")
        else:
            self._met[id(value)] = path, value
            self._look_into(value, path)

    def _look_into(self, value: Any, path: str) -> None:
        if isinstance(value, ndarray | numpy.ndarray):
            data = value._data if isinstance(value, ndarray) else value
            kind = "array" if isinstance(value, ndarray) else "NumPy array"
            self._say(path, f"a {kind} {data.dtype.str}{list(data.shape)}, writeable {data.flags.writeable}")
            self._keep(path, data)
            self._memory.append((path, data))
            if isinstance(value, ndarray):
                self._look_at_gradient(value, path)
        elif isinstance(value, BaseException):
            self._say(path, f"{type(value).__name__}: {_unnumbered(str(value))}")
        elif isinstance(value, dict):
            self._say(path, f"{type(value).__name__} of {[_text(k) for k in value]}")
            for key, item in value.items():
                self._visit(item, f"{path}[{_text(key)}]")
        elif isinstance(value, list | tuple):
            self._say(path, f"{type(value).__name__} of {len(value)}")
            for number, item in enumerate(value):
                self._visit(item, f"{path}[{number}]")
        elif isinstance(value, set | frozenset):
            self._say(path, f"{type(value).__name__} {sorted(map(repr, value))}")
        else:
            self._look_at_instance(value, path)

    def _look_at_gradient(self, array: ndarray, path: str) -> None:
        """One that nobody has asked for yet counts as zeros."""
        variable = history.variable_of(array)
        if variable is not None:
            self._say(path, f"asked for gradients: {variable.requirement}, new: {variable.fresh}")
            grad = variable.grad
            self._visit(ndarray(numpy.zeros_like(array._data)) if grad is None else grad, f"{path}.grad")

    def _look_at_instance(self, value: Any, path: str) -> None:
        self._say(path, f"a {type(value).__name__}")
        for name, item in sorted(getattr(value, "__dict__", {}).items()):
            if not (isinstance(value, Block | Parameter) and name in _HIDDEN):
                self._visit(item, f"{path}.{name}")

    def _keep(self, path: str, data: numpy.ndarray) -> None:
        self.places.append(path)
        self.values.append(numpy.array(data, data.dtype.newbyteorder("=")))

    def _see_sharing(self) -> None:
        """Which arrays see the same memory."""
        owners: dict[int, list[tuple[str, numpy.ndarray]]] = {}
        for path, data in self._memory:
            owners.setdefault(id(stamps.owner_of(data)), []).append((path, data))
        pairs = ((a, b) for group in owners.values() for n, a in enumerate(group) for b in group[:n])
        self.text += [
            f"{a[0]} shares memory with {b[0]}" for a, b in pairs if numpy.shares_memory(a[1], b[1])
        ]


def compared(found: Picture, wanted: Picture, exact: bool) -> Difference | None:
    """What differs first; values of floats by more than rounding, or at all if ``exact``."""
    if found.text != wanted.text:
        lines = [f"- {line}" for line in wanted.text if line not in found.text]
        lines += [f"+ {line}" for line in found.text if line not in wanted.text]
        kind = " ".join(lines[0].split()[1:4] + lines[-1].split()[1:4])
        return Difference(kind, "plain (-) and hybridized (+) differ:\n" + "\n".join(lines[:12]))
    for place, (a, b) in enumerate(zip(found.values, wanted.values, strict=True)):
        size = distance(a, b)
        scale = float(numpy.abs(b[numpy.isfinite(b)]).max(initial=0.0)) if b.dtype.kind == "f" else 0.0
        if size > (0.0 if exact else LIMITS.get(b.dtype.name, 0.0) * scale):
            shown = f"{wanted.places[place]} differs by {size:.3g} ({'exact' if exact else 'rounded'}):\n"
            return Difference("values", f"{shown}plain {b!r}\nhybridized {a!r}", place, size)
    return None


def _text(key: Any) -> str:
    return repr(key) if isinstance(key, _ATOMS) else type(key).__name__


def _unnumbered(text: str) -> str:
    """Without the numbers in names of blocks, which count all blocks of the process, addresses, and names of files."""
    text = re.sub(r"\S+\.npz", "file", text)
    return re.sub(r"0x[0-9a-f]+", "0x", re.sub(r"\b([a-z]+)\d+\b", r"\1", text))
