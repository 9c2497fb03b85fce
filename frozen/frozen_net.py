"""A frozen net: calls with NumPy's arrays, checked and run by native code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.frozen.program import LoadedProgram
from blockfuse.frozen.structure import are_in_order, built, form_of, is_arrays_by_position
from blockfuse.ir.errors import UsageError

Data = Any  # of JSON


class FrozenCall:
    """The calls of one form, and the program that runs them."""

    def __init__(self, data: Data, program: LoadedProgram) -> None:
        self.form, self._gives, self._types = data["takes"], data["gives"], data["types"]
        self._sizes, self._results, self._why = data["sizes"], data["results"], data["refuses"]
        self._program, self.entry = program, program.entry
        self.is_direct = is_arrays_by_position(self.form)
        self.in_order = are_in_order(self._gives, self._results)
        if self._sizes is not None:
            least, most = self._sizes
            for items in range(least, min(most + 1, data["size_slots"])):
                program.admit(items)

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
        items = self._batch(arrays) if self._sizes is not None else None
        ready = [numpy.require(a, a.dtype.newbyteorder("="), ["C", "A"]).reshape(a.shape) for a in arrays]
        if items is not None:
            self._admit(items)
        result = self.entry(*ready)
        while result is NotImplemented and items is not None and not self._program.admits(items):
            self._admit(items)  # another thread has admitted another size in its place
            result = self.entry(*ready)
        if result is NotImplemented:
            raise UsageError(self._why)
        return self.finished(result)

    def _admit(self, items: int) -> None:
        """Let the entry run this size of the batch, if the file is for it."""
        least, most = self._sizes
        if not least <= items <= most:
            raise UsageError(
                f"a batch of {items}: the file is for {least} to {most}; freeze(net, path, max_batch=...) makes more"
            )
        self._program.admit(items)

    def finished(self, result: Any) -> Any:
        """What the net returned, of what native code gave."""
        if self.in_order:
            return result
        arrays = [result] if self._results == 1 else list(result)
        return built(self._gives, arrays.__getitem__)

    def __str__(self) -> str:
        shown = (f"{d}[{', '.join('any' if n is None else str(n) for n in s)}]" for d, s in self._types)
        limits = "" if self._sizes is None else f" up to any = {self._sizes[1]}"
        return f"({', '.join(shown)}){limits}"


class FrozenNet:
    """What ``frozen.load`` gives: a function of NumPy's arrays, for the calls that the net was given before it was frozen.

    It computes what the hybridized net computed in predict mode when it was frozen, to the bit on such a machine, from any
    thread, and never compiles. Parameters cannot be changed; a new file takes the place of an old one by another ``load``.

    path, threads: those of ``load``. identity: the hash of the image. calls: what the file has.

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

    def __init__(self, path: str, threads: int | None, identity: str, calls: Sequence[FrozenCall]) -> None:
        self._path, self._threads, self._identity, self._calls = path, threads, identity, tuple(calls)
        # What calls with arrays alone ask first, and what is then to be done with a result, if anything.
        self._direct: tuple[tuple[Callable[..., Any], Callable[[Any], Any] | None], ...] = tuple(
            (call.entry, None if call.in_order else call.finished) for call in calls if call.is_direct
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            for entry, finished in self._direct:
                result = entry(*args)
                if result is not NotImplemented:
                    return result if finished is None else finished(result)
        return self._checked(args, kwargs)

    def _checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of another form, of arrays that lie otherwise, or one that the net does not take."""
        given: list[Any] = []
        form = form_of((args, kwargs), given)
        arrays = [numpy.asarray(value) for value in given]
        for call in self._calls:
            if call.form == form and call.takes(arrays):
                return call.run(arrays)
        found = ", ".join(f"{a.dtype}[{', '.join(map(str, a.shape))}]" for a in arrays)
        known = " or ".join(map(str, self._calls))
        raise UsageError(
            f"{self._path} is for calls with {known}; this one has ({found}){_other(form, self._calls)}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        from blockfuse.frozen.loading import loaded

        return loaded, (self._path, self._threads, self._identity)

    def __copy__(self) -> FrozenNet:
        return self

    def __deepcopy__(self, memo: Any) -> FrozenNet:
        """Itself, as nothing of it can be changed, and its file may be another one now."""
        return self

    def __repr__(self) -> str:
        return f"<frozen net of {self._path}: {' or '.join(map(str, self._calls))}>"


def _other(form: Data, calls: Sequence[FrozenCall]) -> str:
    """What to say where not the arrays are wrong, but what stands around them."""
    return (
        "" if any(call.form == form for call in calls) else ", in another form (names, containers or values)"
    )
