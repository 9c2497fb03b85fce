"""A frozen net: calls with NumPy's arrays, checked and run by native code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.frozen.program import LoadedProgram
from blockfuse.frozen.structure import (
    Arguments,
    Arrangement,
    Names,
    are_in_order,
    built,
    form_of,
    is_arrays_by_position,
    shown,
)
from blockfuse.ir.errors import UsageError

Data = Any  # of JSON


Direct = tuple[
    Callable[..., Any], Callable[[Any], Any] | None
]  # native code, and what is done with its result


class Call(ABC):
    """The calls of one form: which arrays they take, checked before anything runs."""

    def __init__(self, data: Data) -> None:
        self.form, self._types, self._sizes = data["takes"], data["types"], data["sizes"]
        self._why = data["refuses"]
        self._names = None if data["names"] is None else Names.of_data(data["names"])
        self._arrangement = Arrangement.of_form(self.form)

    @property
    def direct(self) -> Direct | None:
        """What may be asked before anything is checked, if anything."""
        return None

    @abstractmethod
    def _result(self, arrays: Sequence[numpy.ndarray]) -> Any:
        """For arrays that are checked, and lie as native code reads them."""

    def arranged(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        """The same arguments by position and by name as in these calls; None where they are not given otherwise."""
        return None if self._names is None else self._names.arranged(args, kwargs, self._arrangement)

    def takes(self, arrays: Sequence[numpy.ndarray]) -> bool:
        """Whether arrays have the dtypes and shapes of these calls, of any size of the batch."""
        return len(arrays) == len(self._types) and self._batch(arrays) is not None

    def _batch(self, arrays: Sequence[numpy.ndarray]) -> int | None:
        """The size of the batch, 0 where there is none; None where arrays do not fit."""
        found = set[int]()
        for array, (dtype, sizes) in zip(arrays, self._types, strict=True):
            pairs = list(zip(array.shape, sizes, strict=False))
            if array.dtype.newbyteorder("=") != dtype or array.ndim != len(sizes):
                return None
            if any(wanted not in (None, size) for size, wanted in pairs):
                return None
            found |= {size for size, wanted in pairs if wanted is None}
        return None if len(found) > 1 else (found or {0}).pop()

    def run(self, arrays: Sequence[numpy.ndarray]) -> Any:
        """The result for arrays that ``takes`` is true of, however they lie in memory."""
        if len(set(map(id, arrays))) < len(arrays):
            raise UsageError("an array is passed twice, as in no call that was frozen: pass a copy of it")
        ready = [numpy.require(a, a.dtype.newbyteorder("="), ["C", "A"]).reshape(a.shape) for a in arrays]
        self._require_size(arrays)
        return self._result(ready)

    def _items(self, arrays: Sequence[numpy.ndarray]) -> int | None:
        """The size of the batch; None where there is none."""
        return None if self._sizes is None else self._batch(arrays)

    def _require_size(self, arrays: Sequence[numpy.ndarray]) -> None:
        """Raises UsageError unless the file is for this size of the batch."""
        items, (least, most) = self._items(arrays), self._sizes or (0, 0)
        if items is not None and not least <= items <= most:
            raise UsageError(
                f"a batch of {items}: the file is for {least} to {most}; freeze(net, path, max_batch=...) makes more"
            )

    def __str__(self) -> str:
        arrays = [f"{d}[{', '.join('any' if n is None else str(n) for n in s)}]" for d, s in self._types]
        limits = "" if self._sizes is None else f" up to any = {self._sizes[1]}"
        return f"{shown(self.form, arrays)}{limits}"


class NativeCall(Call):
    """Calls that a program of the file runs."""

    def __init__(self, data: Data, program: LoadedProgram) -> None:
        super().__init__(data)
        self._gives, self._results, self._program = data["gives"], data["results"], program
        self._in_order = are_in_order(self._gives, self._results)
        if self._sizes is not None:
            least, most = self._sizes
            for items in range(least, min(most + 1, data["size_slots"])):
                program.admit(items)

    @property
    def direct(self) -> Direct | None:
        """The entry, for calls with arrays alone."""
        if not is_arrays_by_position(self.form):
            return None
        return self._program.entry, None if self._in_order else self._finished

    def _result(self, arrays: Sequence[numpy.ndarray]) -> Any:
        items = self._items(arrays)
        if items is not None:
            self._program.admit(items)
        result = self._program.entry(*arrays)
        while result is NotImplemented and items is not None and not self._program.admits(items):
            self._program.admit(items)  # another thread has admitted another size in its place
            result = self._program.entry(*arrays)
        if result is NotImplemented:
            raise UsageError(self._why)
        return self._finished(result)

    def _finished(self, result: Any) -> Any:
        """What the net returned, of what native code gave."""
        if self._in_order:
            return result
        arrays = [result] if self._results == 1 else list(result)
        return built(self._gives, arrays.__getitem__)


@dataclass(frozen=True)
class Source:
    """Where a net was loaded from, and how: what a pickle of it holds."""

    path: str
    threads: int | None  # of large launches
    allow_compile: bool  # where the native code does not run
    identity: str | None = None  # of the image that is wanted; None: of any


class FrozenNet:
    """What ``frozen.load`` gives: a function of NumPy's arrays, for the calls that the net was given before it was frozen.

    It computes what the hybridized net computed in predict mode when it was frozen, to the bit on such a machine, from any
    thread; to rounding where ``load`` was allowed to compile it anew. Parameters cannot be changed; a new file takes the
    place of an old one by another ``load``.

    source: what ``load`` was given, and the hash of the image. calls: what the file has.

    Raises UsageError for calls of other forms, dtypes, shapes and sizes, and where data lead a way that no call had taken.

    >>> import tempfile
    >>> import blockfuse
    >>> import numpy
    >>> doubled = blockfuse.hybridize(lambda x: x * 2)
    >>> doubled.warm_up((3,))
    ()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frozen = blockfuse.frozen.load(blockfuse.freeze(doubled, f"{folder}/doubled"))
    >>> frozen(numpy.ones(3, "float32")).tolist()
    [2.0, 2.0, 2.0]
    """

    def __init__(self, source: Source, calls: Sequence[Call]) -> None:
        self._source, self._calls = source, tuple(calls)
        self._direct = tuple(direct for call in calls if (direct := call.direct))  # what is asked first

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            for entry, finished in self._direct:
                result = entry(*args)
                if result is not NotImplemented:
                    return result if finished is None else finished(result)
        return self._checked(args, kwargs)

    def _checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of another form, of arrays that lie otherwise, or one that the net does not take."""
        as_given = _taken_apart(args, kwargs)
        for call in self._calls:
            arranged = call.arranged(args, kwargs)
            form, arrays = as_given if arranged is None else _taken_apart(*arranged)
            if call.form == form and call.takes(arrays):
                return call.run(arrays)
        form, arrays = as_given
        found = shown(form, [f"{a.dtype}[{', '.join(map(str, a.shape))}]" for a in arrays])
        known = " or ".join(map(str, self._calls))
        other = "" if any(call.form == form for call in self._calls) else ", in another form"
        raise UsageError(f"{self._source.path} is for calls with {known}; this one has {found}{other}")

    def __reduce__(self) -> tuple[Any, ...]:
        from blockfuse.frozen.loading import loaded

        return loaded, (self._source,)

    def __copy__(self) -> FrozenNet:
        return self

    def __deepcopy__(self, memo: Any) -> FrozenNet:
        """Itself, as nothing of it can be changed, and its file may be another one now."""
        return self

    def __repr__(self) -> str:
        return f"<frozen net of {self._source.path}: {' or '.join(map(str, self._calls))}>"


def _taken_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Data, list[numpy.ndarray]]:
    given: list[Any] = []
    form = form_of((args, kwargs), given)
    return form, [numpy.asarray(value) for value in given]
